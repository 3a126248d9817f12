"""A reverse proxy between workers and AWS that injects faults at random, determined by a seed."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import aiohttp
from aiohttp import web
from yarl import URL

_HOP_BY_HOP_HEADERS = {
    "connection",
    "content-length",
    "date",
    "expect",
    "keep-alive",
    "server",
    "transfer-encoding",
}
_REJECTION = b"<Error><Code>%s</Code><Message>rejected for this object</Message></Error>"
STALL_S = 6.0
"""Delay of a stalled request: longer than one attempt of a DynamoDB or SQS call may take."""


class ProxyFault(StrEnum):
    """A fault that a request may get."""

    THROTTLED = "throttled"
    FAILED = "failed with 500"
    DROPPED_BEFORE = "dropped before it was forwarded"
    DROPPED_AFTER = "dropped after it landed"
    STALLED = "stalled"
    CUT = "body truncated"
    HALTED = "body stalled"
    EXPIRED = "rejected with expired credentials"


WEIGHTS: Mapping[ProxyFault, float] = {
    ProxyFault.THROTTLED: 0.05,
    ProxyFault.FAILED: 0.03,
    ProxyFault.DROPPED_BEFORE: 0.03,
    ProxyFault.DROPPED_AFTER: 0.05,
    ProxyFault.STALLED: 0.004,
    ProxyFault.CUT: 0.15,  # for GetObject only
}
"""Probability of each fault; a request gets at most one."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One request as received; `target` is its `X-Amz-Target`, empty for S3."""

    method: str
    path: str
    target: str
    headers: Mapping[str, str]
    content: bytes


class Witness(Protocol):
    """Receives every forwarded call and its true response, also when the caller gets a fault."""

    def forwarded(self, call: Call) -> None:
        """Receive a call before it is forwarded."""

    def responded(self, call: Call, status: int, body: bytes) -> None:
        """Receive the response to a call."""


@dataclass
class FaultProxy:
    """
    Forwards requests to one AWS endpoint, and injects faults while enabled.

    Attributes:
        target: URL of the AWS endpoint.
        rng: Chooses which request gets which fault.
        planned: Faults of the next object reads, before any random ones.
        rejected_reads: Part of an object's key -> status and error code of every request to read it.
        always: Fault of every request to `service` while it is set.
        service: Prefix of `X-Amz-Target` of that service; all services if empty.
        weights: Probability of each fault.
        responds: Returns the bytes to send in place of the target's response; None forwards the call.
        stall_s: How long a stalled request waits before it is forwarded.
        witness: Receives all forwarded calls.
        met: Number of requests per fault.
        forwarded: Number of requests that reached the target.
    """

    target: str
    rng: random.Random
    endpoint_url: str = ""
    is_injecting_faults: bool = False
    planned: deque[ProxyFault] = field(default_factory=deque)
    rejected_reads: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    always: ProxyFault | None = None
    service: str = ""
    weights: Mapping[ProxyFault, float] = field(default_factory=lambda: WEIGHTS)
    responds: Callable[[Call], bytes | None] = lambda _: None
    stall_s: float = STALL_S
    witness: Witness | None = None
    met: Counter[ProxyFault] = field(default_factory=Counter)
    forwarded: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forward one request, or inject a fault."""
        try:
            content = await request.read()
        except ConnectionResetError:  # the caller was killed
            return _drop_connection(request)
        call = _call(request, content)
        raw = self.responds(call)
        if raw is not None:
            return _send_raw(request, raw)
        fault = self._draw(request)
        match fault:
            case ProxyFault.THROTTLED | ProxyFault.FAILED | ProxyFault.EXPIRED:
                return _error_response(request, fault)
            case ProxyFault.DROPPED_BEFORE:
                return _drop_connection(request)
            case ProxyFault.STALLED:
                await asyncio.sleep(self.stall_s)
        status, kept, body = await self._forward(request, call)
        if fault is ProxyFault.DROPPED_AFTER:
            return _drop_connection(request)
        if request.method == "HEAD":
            return web.Response(status=status, headers=kept)
        if fault in {ProxyFault.CUT, ProxyFault.HALTED} and len(body) > 1:
            half = web.StreamResponse(status=status, headers=kept | {"Content-Length": str(len(body))})
            with suppress(ConnectionResetError):  # the caller was killed
                await half.prepare(request)
                await half.write(body[: len(body) // 2])
            while fault is ProxyFault.HALTED and not _is_disconnected(request):
                await asyncio.sleep(0.02)
            return _drop_connection(request)
        return web.Response(status=status, headers=kept, body=body)

    async def _forward(self, request: web.Request, call: Call) -> tuple[int, dict[str, str], bytes]:
        """Forward a call; return its status, end-to-end headers and body."""
        for part, (status, code) in self.rejected_reads.items():
            if request.method == "GET" and part in request.path:
                return status, {"Content-Type": "application/xml"}, _REJECTION % code.encode()
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP_HEADERS
        }
        self.forwarded += 1
        if self.witness is not None:
            self.witness.forwarded(call)
        session: aiohttp.ClientSession = request.app[_SESSION]
        async with session.request(
            request.method,
            URL(self.target + request.raw_path, encoded=True),
            data=call.content or None,
            headers=headers,
            allow_redirects=False,
        ) as handle:
            body = await handle.read()
        if self.witness is not None:
            self.witness.responded(call, handle.status, body)
        kept = {
            name: value for name, value in handle.headers.items() if name.lower() not in _HOP_BY_HOP_HEADERS
        }
        if request.method == "HEAD":
            kept["Content-Length"] = handle.headers.get("Content-Length", "0")
        return handle.status, kept, body

    def _draw(self, request: web.Request) -> ProxyFault | None:
        drawn = self.rng.random()
        is_object_read = request.method == "GET" and "x-amz-target" not in request.headers
        if is_object_read and self.planned:
            planned = self.planned.popleft()
            self.met[planned] += 1
            return planned
        matches_service = request.headers.get("X-Amz-Target", "").startswith(self.service)
        if self.always is not None and matches_service:
            self.met[self.always] += 1
            return self.always
        if not self.is_injecting_faults:
            return None
        for fault, weight in self.weights.items():
            if fault in {ProxyFault.CUT, ProxyFault.HALTED} and not is_object_read:
                continue
            drawn -= weight
            if drawn < 0:
                self.met[fault] += 1
                return fault
        return None


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return a response as it is sent, after which the connection is closed."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def s3_error(code: str, message: str = "", *, status: int = 400) -> bytes:
    """Return an error of S3 as it is sent."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return http(body.encode(), "Content-Type: application/xml", "x-amz-request-id: 1", status=f"{status} X")


def json_error(code: str, message: str = "", *, status: int = 400) -> bytes:
    """Return an error of DynamoDB or SQS as it is sent."""
    body = f'{{"__type": "com.amazonaws#{code}", "message": "{message}"}}'
    return http(body.encode(), "Content-Type: application/x-amz-json-1.0", status=f"{status} X")


def _call(request: web.Request, content: bytes) -> Call:
    return Call(
        method=request.method,
        path=request.path,
        target=request.headers.get("X-Amz-Target", ""),
        headers=request.headers,
        content=content,
    )


def _send_raw(request: web.Request, raw: bytes) -> web.Response:
    """Send bytes as the response, and close the connection."""
    if request.transport is not None:
        request.transport.write(raw)
        request.transport.close()
    return web.Response()


_SESSION = web.AppKey("session", aiohttp.ClientSession)


_CODES: Mapping[ProxyFault, tuple[str, str, str]] = {
    ProxyFault.THROTTLED: ("ProvisionedThroughputExceededException", "RequestThrottled", "SlowDown"),
    ProxyFault.FAILED: ("InternalServerError", "InternalFailure", "InternalError"),
    ProxyFault.EXPIRED: ("ExpiredTokenException", "ExpiredTokenException", "ExpiredToken"),
}
"""Error codes of DynamoDB, SQS and S3."""


def _error_response(request: web.Request, fault: ProxyFault) -> web.Response:
    """Return the error in the format of the service."""
    target = request.headers.get("X-Amz-Target", "")
    dynamodb_code, sqs_code, s3_code = _CODES[fault]
    status = 500 if fault is ProxyFault.FAILED else 400
    if not target:
        body = "" if request.method == "HEAD" else f"<Error><Code>{s3_code}</Code></Error>"
        status = 503 if fault is ProxyFault.THROTTLED else status
        return web.Response(status=status, text=body, content_type="application/xml")
    code = dynamodb_code if target.startswith("DynamoDB") else sqs_code
    return web.Response(
        status=status,
        text=f'{{"__type": "com.amazonaws#{code}", "message": "injected fault"}}',
        content_type="application/x-amz-json-1.0",
    )


async def _send_continue(request: web.Request) -> None:
    """Respond to `Expect: 100-continue`, unless the caller was killed."""
    with suppress(ConnectionResetError):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the response itself has not begun


def _is_disconnected(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _drop_connection(request: web.Request) -> web.Response:
    """Close the connection without a response."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def fault_proxy(target: str, *, seed: int) -> AsyncIterator[FaultProxy]:
    """Run a proxy for the AWS endpoint at `target` on a free port."""
    proxy = FaultProxy(target=target, rng=random.Random(seed))
    application = web.Application(client_max_size=2**28)
    application.router.add_route("*", "/{path:.*}", proxy.handle, expect_handler=_send_continue)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, max_headers=4096, max_field_size=65_536
    ) as session:
        application[_SESSION] = session
        runner = web.AppRunner(application, access_log=None, handler_cancellation=False, shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            proxy.endpoint_url = f"http://{host}:{port}"
            yield proxy
        finally:
            await runner.cleanup()
