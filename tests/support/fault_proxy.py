"""A reverse proxy between workers and their AWS that throttles, fails, drops, stalls and cuts, by a seed."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import aiohttp
from aiohttp import web
from yarl import URL

_OF_ONE_HOP = {
    "connection",
    "content-length",
    "date",
    "expect",
    "keep-alive",
    "server",
    "transfer-encoding",
}
STALL_S = 6.0
"""Longer than one attempt at the table or the queue may take."""


class Trouble(StrEnum):
    """What may become of a request."""

    THROTTLED = "throttled"
    FAILED = "answered 500"
    DROPPED_BEFORE = "dropped before it was forwarded"
    DROPPED_AFTER = "dropped after it landed"
    STALLED = "stalled"
    CUT = "body cut"
    HALTED = "body halted"
    EXPIRED = "told that its credentials have expired"


WEIGHTS: Mapping[Trouble, float] = {
    Trouble.THROTTLED: 0.05,
    Trouble.FAILED: 0.03,
    Trouble.DROPPED_BEFORE: 0.03,
    Trouble.DROPPED_AFTER: 0.05,
    Trouble.STALLED: 0.004,
    Trouble.CUT: 0.15,  # of the reads of objects alone
}
"""How likely each is; one request meets at the most one."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One request as it came; `target` is its `X-Amz-Target`, empty for S3."""

    method: str
    path: str
    target: str
    headers: Mapping[str, str]
    content: bytes


class Witness(Protocol):
    """Sees every call that reaches the AWS, and its true answer, whatever the caller is told."""

    def forwarded(self, call: Call) -> None:
        """See a call on its way out."""

    def answered(self, call: Call, status: int, body: bytes) -> None:
        """See what the AWS said."""


@dataclass
class FaultProxy:
    """
    Forwards to one AWS; makes trouble only while it is told to.

    Attributes:
        target: Where requests go.
        dice: Decides which request meets which trouble.
        planned: What the next objects that are read meet, before any dice are thrown.
        always: What every request to `service` meets while it is set.
        service: How the `X-Amz-Target` of that service begins; all, if empty.
        weights: How likely each trouble is.
        stall_s: How long a stalled request waits before it is forwarded.
        witness: Sees all that is forwarded.
        met: How many requests met each trouble.
        forwarded: How many requests reached the target.
    """

    target: str
    dice: random.Random
    endpoint_url: str = ""
    is_making_trouble: bool = False
    planned: deque[Trouble] = field(default_factory=deque)
    always: Trouble | None = None
    service: str = ""
    weights: Mapping[Trouble, float] = field(default_factory=lambda: WEIGHTS)
    stall_s: float = STALL_S
    witness: Witness | None = None
    met: Counter[Trouble] = field(default_factory=Counter)
    forwarded: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Forward one request, or do to it what the dice say."""
        try:
            content = await request.read()
        except ConnectionResetError:  # the caller is dead
            return _dropped(request)
        trouble = self._draw(request)
        match trouble:
            case Trouble.THROTTLED | Trouble.FAILED | Trouble.EXPIRED:
                return _refusal(request, trouble)
            case Trouble.DROPPED_BEFORE:
                return _dropped(request)
            case Trouble.STALLED:
                await asyncio.sleep(self.stall_s)
        status, kept, body = await self._forward(request, content)
        if trouble is Trouble.DROPPED_AFTER:
            return _dropped(request)
        if request.method == "HEAD":
            return web.Response(status=status, headers=kept)
        if trouble in {Trouble.CUT, Trouble.HALTED} and len(body) > 1:
            half = web.StreamResponse(status=status, headers=kept | {"Content-Length": str(len(body))})
            with suppress(ConnectionResetError):  # the caller is dead
                await half.prepare(request)
                await half.write(body[: len(body) // 2])
            while trouble is Trouble.HALTED and not _is_gone(request):  # noqa: ASYNC110 - a socket tells nobody
                await asyncio.sleep(0.02)
            return _dropped(request)
        return web.Response(status=status, headers=kept, body=body)

    async def _forward(self, request: web.Request, content: bytes) -> tuple[int, dict[str, str], bytes]:
        """Make the call; return its status, its headers without those of one hop, and its body."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_ONE_HOP}
        call = Call(
            method=request.method,
            path=request.path,
            target=request.headers.get("X-Amz-Target", ""),
            headers=request.headers,
            content=content,
        )
        self.forwarded += 1
        if self.witness is not None:
            self.witness.forwarded(call)
        session: aiohttp.ClientSession = request.app[_SESSION]
        async with session.request(
            request.method,
            URL(self.target + request.raw_path, encoded=True),
            data=content or None,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            body = await answer.read()
        if self.witness is not None:
            self.witness.answered(call, answer.status, body)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_ONE_HOP}
        if request.method == "HEAD":
            kept["Content-Length"] = answer.headers.get("Content-Length", "0")
        return answer.status, kept, body

    def _draw(self, request: web.Request) -> Trouble | None:
        drawn = self.dice.random()
        is_object_read = request.method == "GET" and "x-amz-target" not in request.headers
        if is_object_read and self.planned:
            planned = self.planned.popleft()
            self.met[planned] += 1
            return planned
        is_of_service = request.headers.get("X-Amz-Target", "").startswith(self.service)
        if self.always is not None and is_of_service:
            self.met[self.always] += 1
            return self.always
        if not self.is_making_trouble:
            return None
        for trouble, weight in self.weights.items():
            if trouble in {Trouble.CUT, Trouble.HALTED} and not is_object_read:
                continue
            drawn -= weight
            if drawn < 0:
                self.met[trouble] += 1
                return trouble
        return None


_SESSION = web.AppKey("session", aiohttp.ClientSession)


_CODES: Mapping[Trouble, tuple[str, str, str]] = {
    Trouble.THROTTLED: ("ProvisionedThroughputExceededException", "RequestThrottled", "SlowDown"),
    Trouble.FAILED: ("InternalServerError", "InternalFailure", "InternalError"),
    Trouble.EXPIRED: ("ExpiredTokenException", "ExpiredTokenException", "ExpiredToken"),
}
"""What DynamoDB, SQS and S3 call it."""


def _refusal(request: web.Request, trouble: Trouble) -> web.Response:
    """Return the refusal in the form that the service called has for it."""
    target = request.headers.get("X-Amz-Target", "")
    of_dynamodb, of_sqs, of_s3 = _CODES[trouble]
    status = 500 if trouble is Trouble.FAILED else 400
    if not target:
        body = "" if request.method == "HEAD" else f"<Error><Code>{of_s3}</Code></Error>"
        status = 503 if trouble is Trouble.THROTTLED else status
        return web.Response(status=status, text=body, content_type="application/xml")
    code = of_dynamodb if target.startswith("DynamoDB") else of_sqs
    return web.Response(
        status=status,
        text=f'{{"__type": "com.amazonaws#{code}", "message": "trouble"}}',
        content_type="application/x-amz-json-1.0",
    )


async def _go_on(request: web.Request) -> None:
    """Answer `Expect: 100-continue`, unless the caller is dead by now."""
    with suppress(ConnectionResetError):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer itself has not begun


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _dropped(request: web.Request) -> web.Response:
    """Close the connection without a further word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def fault_proxy(target: str, *, seed: int) -> AsyncIterator[FaultProxy]:
    """Run a proxy before the AWS at `target`, on a port of its own."""
    proxy = FaultProxy(target=target, dice=random.Random(seed))
    application = web.Application(client_max_size=2**28)
    application.router.add_route("*", "/{path:.*}", proxy.answer, expect_handler=_go_on)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
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
