"""
An AWS that keeps nothing: it hands out notifications of one picture, and says yes to every write.

What is asked at the start, or now and then, it passes on to an emulated AWS.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

_USERS: Final = 50
_OF_S3: Final = {"x-amz-request-id": "canned", "ETag": '"canned"'}
_PASSED_ON: Final = frozenset({"content-type", "x-amz-request-id", "x-amzn-requestid", "x-amz-bucket-region"})


class CannedAws:
    """
    Answers what `image-worker run` asks.

    Args:
        picture: The content of every upload.
        bucket: That they lie in.
        behind: Where the emulated AWS listens that has everything else.

    Attributes:
        endpoint_url: Where it listens.
    """

    def __init__(self, picture: bytes, *, bucket: str, behind: str, session: aiohttp.ClientSession) -> None:
        self._picture, self._bucket = picture, bucket
        self._behind, self._session = behind, session
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._announced = self._deleted = 0
        self._all_deleted = asyncio.Event()
        self.endpoint_url = ""

    @classmethod
    @asynccontextmanager
    async def serving(cls, picture: bytes, *, bucket: str, behind: str) -> AsyncIterator[Self]:
        """Listen on a free port while the body runs."""
        async with aiohttp.ClientSession() as session:
            aws = cls(picture, bucket=bucket, behind=behind, session=session)
            async with aws._listening():
                yield aws

    async def deliver(self, pictures: int) -> None:
        """Announce so many uploads, and wait until the message of each has been deleted."""
        self._all_deleted.clear()
        for number in range(self._announced, self._announced + pictures):
            self._waiting.put_nowait(_message(number, self._bucket))
        self._announced += pictures
        await self._all_deleted.wait()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            self.endpoint_url = f"http://{host}:{port}"
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        asked = await request.read()
        match request.method:
            case "GET":
                headers = {**_OF_S3, "Last-Modified": "Tue, 24 Nov 2026 12:00:00 GMT"}
                return web.Response(body=self._picture, content_type="image/jpeg", headers=headers)
            case "PUT":
                return web.Response(headers=_OF_S3)
            case "POST":
                operation = request.headers["x-amz-target"].rpartition(".")[2]
                answer = await self._say(operation, json.loads(asked))
                if answer is not None:
                    return web.Response(body=json.dumps(answer), content_type="application/x-amz-json-1.0")
        url = self._behind + request.path_qs
        async with self._session.request(
            request.method, url, headers=request.headers, data=asked
        ) as answered:
            kept = {name: value for name, value in answered.headers.items() if name.lower() in _PASSED_ON}
            return web.Response(body=await answered.read(), status=answered.status, headers=kept)

    async def _say(self, operation: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        match operation:
            case "UpdateItem" | "TransactWriteItems":
                return {}
            case "ReceiveMessage":
                return {"Messages": await self._received(asked["MaxNumberOfMessages"])}
            case "DeleteMessageBatch":
                self._deleted += len(asked["Entries"])
                if self._deleted == self._announced:
                    self._all_deleted.set()
                return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]], "Failed": []}
        return None

    async def _received(self, most: int) -> list[dict[str, Any]]:
        received = [await self._waiting.get()]
        while len(received) < most and not self._waiting.empty():
            received.append(self._waiting.get_nowait())
        return received


def _message(number: int, bucket: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    upload = {
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
        "Body": json.dumps({"Records": [upload]}),
        "Attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(round(now.timestamp() * 1000)),
        },
    }
