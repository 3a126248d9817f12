"""
Send a page its snapshots as server-sent events, one stream for each open page.

Every event replaces a whole part of the page, and its id is the position of the page after it. A page whose
stream broke, or that slept, is complete again after the first event of its next stream.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

import structlog
from aiohttp import hdrs, web

from worker.console.live.latest import Latest
from worker.domain.printable import printable

PROBLEM: Final = "problem"
"""Name of the event with why the page is not up to date at present; empty when it is again."""

AFTER: Final = "after"
"""Parameter of the query with the position of the page that opens its first stream."""

_RETRY_MS: Final = 2000
_SEPARATOR: Final = "."
_LINE_ENDS: Final = str.maketrans({"\r": None})
_MAX_POSITION_DIGITS: Final = 15

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed(Generic[T]):
    """
    A part of a page, and the value that it shows.

    Attributes:
        name: Name of its events.
        latest: The value, as a poller publishes it.
        render: Returns the part as HTML.
        position: Returns how far a value is: a page at the same position is not sent it again if it is final.
        is_final: Returns whether a value stays as it is until its position changes.
        problem: Returns why the value is not up to date at present, as a sentence; None if it is.
    """

    name: str
    latest: Latest[T]
    render: Callable[[T], str]
    position: Callable[[T], int]
    is_final: Callable[[T], bool] = lambda _: False
    problem: Callable[[T], str | None] = lambda _: None


class Streams:
    """
    The open streams: a limited number, none of which waits for another, and all of which end on shutdown.

    Args:
        max_streams: How many can be open; a page that gets none polls.
        keep_alive_s: Time without an event after which a comment shows that the stream is alive.
        check_s: How often a stream without events finds out whether its page is closed.
        write_timeout_s: How long a page may take to receive an event.
        max_age_s: How long a stream lasts before its page has to open another, and prove again who it is.
    """

    def __init__(
        self,
        *,
        max_streams: int = 200,
        keep_alive_s: float = 15.0,
        check_s: float = 1.0,
        write_timeout_s: float = 30.0,
        max_age_s: float = 600.0,
    ) -> None:
        self._max_streams, self._keep_alive_s = max_streams, keep_alive_s
        self._check_s, self._write_timeout_s = check_s, write_timeout_s
        self._max_age_s = max_age_s
        self._open: set[asyncio.Timeout] = set()
        self._is_closed = False

    @property
    def open(self) -> int:
        """Number of open streams."""
        return len(self._open)

    async def send(self, request: web.Request, feeds: Sequence[Feed[Any]]) -> web.StreamResponse:
        """Send the parts of a page whenever they change, until the page is closed or the console ends."""
        if self._is_closed or self.open >= self._max_streams:
            return web.Response(
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                headers={hdrs.RETRY_AFTER: "10"},
                text=f"{self.open:,} live pages are open, which is the limit; this page polls instead\n",
            )
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
                hdrs.CACHE_CONTROL: "no-store",
                "X-Accel-Buffering": "no",  # nginx would collect the events
            }
        )
        stream = _Stream(request, response, feeds, write_timeout_s=self._write_timeout_s)
        try:
            async with asyncio.timeout(self._max_age_s) as lifetime:
                self._open.add(lifetime)
                try:
                    await stream.run(keep_alive_s=self._keep_alive_s, check_s=self._check_s)
                finally:
                    self._open.discard(lifetime)
        except TimeoutError:
            # The console ends, or the stream or one event took too long. The next stream has what is missing.
            transport = request.transport
            if isinstance(transport, asyncio.WriteTransport) and transport.get_write_buffer_size():
                transport.abort()
        except ConnectionError as error:
            log.debug("console.stream_lost", reason=str(error))
        return response

    def close(self) -> None:
        """End all streams, and accept no more."""
        self._is_closed = True
        now_s = asyncio.get_running_loop().time()
        for lifetime in self._open:
            lifetime.reschedule(now_s)


class _Stream:
    """One stream: what its page has been sent."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        feeds: Sequence[Feed[Any]],
        *,
        write_timeout_s: float,
    ) -> None:
        self._request, self._response, self._feeds = request, response, feeds
        self._write_timeout_s = write_timeout_s
        self._versions = [0] * len(feeds)
        self._sent = [0] * len(feeds)  # hashes, since pages are large
        self._known = _positions(request, len(feeds))
        self._positions = list(self._known or [0] * len(feeds))
        self._problem: str | None = None

    async def run(self, *, keep_alive_s: float, check_s: float) -> None:
        """Send events until the page is closed."""
        changed = asyncio.Event()
        with ExitStack() as stack:
            for feed in self._feeds:
                stack.enter_context(feed.latest.notifying(changed))
            await self._response.prepare(self._request)
            await self._write(f"retry: {_RETRY_MS}\n\n")
            silent_s = 0.0
            while self._is_connected():
                changed.clear()
                if await self._send_changes():
                    silent_s = 0.0
                try:
                    async with asyncio.timeout(check_s):
                        await changed.wait()
                except TimeoutError:
                    silent_s += check_s
                if silent_s >= keep_alive_s:
                    await self._write(": the stream is alive\n\n")
                    silent_s = 0.0

    def _is_connected(self) -> bool:
        transport = self._request.transport
        return transport is not None and not transport.is_closing()

    async def _send_changes(self) -> bool:
        """Send the parts that have changed; return whether there were any."""
        has_sent = False
        for number, feed in enumerate(self._feeds):
            value, version = feed.latest.value, feed.latest.version
            if version == self._versions[number]:
                continue
            is_first = self._versions[number] == 0
            self._versions[number] = version
            position = self._positions[number] = feed.position(value)
            if is_first and self._known and self._known[number] == position and feed.is_final(value):
                continue
            html = feed.render(value)
            if (digest := hash(html)) != self._sent[number]:
                self._sent[number] = digest
                await self._write_event(feed.name, html)
                has_sent = True
        return await self._send_problem() or has_sent

    async def _send_problem(self) -> bool:
        values = [(feed, feed.latest.value) for feed in self._feeds if feed.latest.version]
        problem = next(filter(None, (feed.problem(value) for feed, value in values)), None)
        if problem == self._problem:
            return False
        self._problem = problem
        await self._write_event(PROBLEM, escape(printable(problem or "")))
        return True

    async def _write_event(self, name: str, data: str) -> None:
        lines = data.translate(_LINE_ENDS).split("\n")
        fields = [f"id: {position_text(self._positions)}", f"event: {name}"]
        fields += [f"data: {line}" for line in lines]
        await self._write("\n".join(fields) + "\n\n")

    async def _write(self, text: str) -> None:
        async with asyncio.timeout(self._write_timeout_s):
            await self._response.write(text.encode())


def position_text(positions: Iterable[int]) -> str:
    """Return the id of an event: how far each part of the page is."""
    return _SEPARATOR.join(map(str, positions))


def _positions(request: web.Request, count: int) -> list[int] | None:
    """Return how far each part of the page is, from the id of its last event or its URL; None if unknown."""
    text = request.headers.get("Last-Event-ID") or request.query.get(AFTER, "")
    parts = text.split(_SEPARATOR)
    if len(parts) != count or not all(p.isascii() and p.isdecimal() for p in parts):
        return None
    return [int(part[:_MAX_POSITION_DIGITS]) for part in parts]
