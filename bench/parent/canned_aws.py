"""
An AWS with canned responses: notifications of one image, and success for every write.

Requests that it has no response for, for example those at startup, are forwarded to an emulated AWS.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from aiohttp import web

from worker.aws.checksums import encoded_crc32

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

_USERS: Final = 50
_S3_HEADERS: Final = {"x-amz-request-id": "canned", "ETag": '"canned"'}
_FORWARDED_HEADERS: Final = frozenset(
    {"content-type", "x-amz-request-id", "x-amzn-requestid", "x-amz-bucket-region"}
)


class CannedAws:
    """
    HTTP server with responses to the requests of `image-worker run`.

    Args:
        content: Content of every upload.
        bucket: Name of the upload bucket.
        backend_url: Endpoint of the emulated AWS that other requests are forwarded to.
        session: HTTP session for those requests.

    Attributes:
        endpoint_url: Endpoint of this server.
    """

    def __init__(
        self, content: bytes, *, bucket: str, backend_url: str, session: aiohttp.ClientSession
    ) -> None:
        self._content, self._bucket = content, bucket
        self._checksum = encoded_crc32(content)
        self._backend_url, self._session = backend_url, session
        self._queue: asyncio.Queue[MessageTypeDef] = asyncio.Queue()
        self._sent = self._deleted = 0
        self._all_deleted = asyncio.Event()
        self.endpoint_url = ""

    @classmethod
    @asynccontextmanager
    async def serve(
        cls, content: bytes, *, bucket: str, backend_url: str, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Self]:
        """Serve on a free port during the body, by HTTPS if there is a TLS context."""
        async with aiohttp.ClientSession() as session:
            aws = cls(content, bucket=bucket, backend_url=backend_url, session=session)
            async with aws._listen(tls):
                yield aws

    async def deliver(self, images: int) -> None:
        """Send a notification for each image, and wait until all messages have been deleted."""
        self._all_deleted.clear()
        for number in range(self._sent, self._sent + images):
            self._queue.put_nowait(_message(number, self._bucket))
        self._sent += images
        await self._all_deleted.wait()

    @asynccontextmanager
    async def _listen(self, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", self._respond)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            host, port = runner.addresses[0][:2]
            self.endpoint_url = f"{'https' if tls else 'http'}://{host}:{port}"
            yield
        finally:
            await runner.cleanup()

    async def _respond(self, request: web.Request) -> web.Response:
        body = await request.read()
        match request.method:
            case "GET":
                headers = {
                    **_S3_HEADERS,
                    "Last-Modified": "Tue, 24 Nov 2026 12:00:00 GMT",
                    "x-amz-checksum-crc32": self._checksum,
                }
                return web.Response(body=self._content, content_type="image/jpeg", headers=headers)
            case "PUT":
                return web.Response(headers=_S3_HEADERS)
            case "POST":
                operation = request.headers["x-amz-target"].rpartition(".")[2]
                result = await self._call(operation, json.loads(body))
                if result is not None:
                    return web.Response(body=json.dumps(result), content_type="application/x-amz-json-1.0")
        return await self._forward(request, body)

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        url = self._backend_url + request.path_qs
        async with self._session.request(request.method, url, headers=request.headers, data=body) as response:
            headers = {
                name: value for name, value in response.headers.items() if name.lower() in _FORWARDED_HEADERS
            }
            return web.Response(body=await response.read(), status=response.status, headers=headers)

    async def _call(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, object] | None:
        """Return the canned response to an operation of SQS or DynamoDB; None if there is none."""
        match operation:
            case "UpdateItem" | "TransactWriteItems":
                return {}
            case "ReceiveMessage":
                return {
                    "Messages": await self._receive(
                        parameters["MaxNumberOfMessages"], wait_s=parameters["WaitTimeSeconds"]
                    )
                }
            case "ChangeMessageVisibilityBatch":  # leases are renewed on a busy machine
                return {"Successful": [{"Id": entry["Id"]} for entry in parameters["Entries"]], "Failed": []}
            case "DeleteMessageBatch":
                self._deleted += len(parameters["Entries"])
                if self._deleted == self._sent:
                    self._all_deleted.set()
                return {"Successful": [{"Id": entry["Id"]} for entry in parameters["Entries"]], "Failed": []}
        return None

    async def _receive(self, max_messages: int, *, wait_s: float) -> "list[MessageTypeDef]":
        try:
            messages = [await asyncio.wait_for(self._queue.get(), wait_s)]
        except TimeoutError:
            return []
        while len(messages) < max_messages and not self._queue.empty():
            messages.append(self._queue.get_nowait())
        return messages


def _message(number: int, bucket: str) -> "MessageTypeDef":
    now = datetime.now(UTC)
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "s3": {
            "bucket": {"name": bucket},
            "object": {
                "key": f"uploads/user-{number % _USERS:02d}/img_{number:016x}.jpg",
                "eTag": "canned",
                "sequencer": f"{number:016X}",
            },
        },
    }
    return {
        "MessageId": str(number),
        "ReceiptHandle": str(number),
        "Body": json.dumps({"Records": [record]}),
        "Attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(round(now.timestamp() * 1000)),
        },
    }
