"""
Serve an aiohttp application with limits that one client cannot exhaust for the others.

aiohttp has no limit of connections or of the time to receive a request, and asyncio logs every failed
`accept`. Here, the number of connections is bounded. A further one closes the longest idle connection of the
client address that has the most, so that a health check succeeds while an attacker holds all others.
"""

import asyncio
import resource
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final, TypeAlias, cast

import structlog
from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ACCEPTED_SHARE: Final = 16
"""In each turn of the loop, one in so many connections is accepted; a request is read within six turns."""

_BACKLOG: Final = 1024
_ACCEPT_PAUSE_S: Final = 0.5
"""Pause after a failed `accept`, which would fail again at once."""

_LOG_INTERVAL_S: Final = 60.0

_HEADERS: Final = {
    hdrs.SERVER: "image-worker",  # aiohttp's default has its version and that of Python
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """
    Limits of the HTTP server.

    Attributes:
        connections: Maximum number of open connections; at most a quarter of the process's open files.
        request_s: How long a client may take to send a request, its body included.
        keepalive_s: How long a connection may stay open between requests.
        body_s: How long a client may take to send a body that the handler reads as it arrives; None to
            receive each body before its handler runs, within `request_s`.
    """

    connections: int = 256
    request_s: float = 10.0
    keepalive_s: float = 75.0
    body_s: float | None = None

    def max_connections(self) -> int:
        """Return the maximum number of connections, which leaves most files to the rest of the process."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self.connections if soft == resource.RLIM_INFINITY else min(self.connections, soft // 4)


class _Connection(web.RequestHandler):
    """A connection that reports when it opens, closes, waits for a request and handles one."""

    def __init__(self, server: web.Server, connections: "_Connections", limits: HttpLimits) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # None turns it off, as in `AppRunner`
            keepalive_timeout=limits.keepalive_s,
            lingering_time=0,
            auto_decompress=False,
        )
        self._connections, self._limits = connections, limits
        self._deadline: asyncio.TimerHandle | None = None
        self._is_receiving = False
        self.client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time for the first request."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if peer else ""
        self._connections.opened(self)
        self._close_after(self._limits.request_s)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._connections.closed(self)
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the time for the rest of a request with its first bytes."""
        if self._deadline is not None and not self._is_receiving:
            self._is_receiving = True
            self._close_after(self._limits.request_s)
        super().data_received(data)

    @contextmanager
    def handling(self, request: web.Request) -> Iterator[None]:
        """Keep the connection open while the body handles a request, or receives it within its time."""
        self._stop_deadline()
        if self._limits.body_s is not None and not request.content.is_eof():
            self._close_after(self._limits.body_s)
            request.content.on_eof(partial(self._stop_deadline, self._deadline))
        self._connections.busy(self)
        try:
            yield
        finally:
            self._is_receiving = False
            if self.transport is not None:
                self._connections.idle(self)
                self._close_after(self._limits.keepalive_s)

    def abort(self) -> None:
        """Close the connection without sending what is left."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - quotes the request
    ) -> web.StreamResponse:
        """Return the response to an invalid request, or to one whose handler failed; log only the latter."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, None)
        response = web.Response(status=status, text=f"{status} {HTTPStatus(status).phrase}\n")
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response, with the headers of every response."""
        resp.headers.update(_HEADERS)
        return await super().finish_response(request, resp, start_time)

    def _close_after(self, seconds: float) -> None:
        self._stop_deadline()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _stop_deadline(self, deadline: asyncio.TimerHandle | None = None) -> None:
        """Stop the present deadline; if one is given, only if it is the present one."""
        if self._deadline is not None and deadline in (None, self._deadline):
            self._deadline.cancel()
            self._deadline = None


class _Connections:
    """The open connections of each client address: the idle ones, and those with a request in progress."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.accepted_at_once = max(1, limit // _ACCEPTED_SHARE)
        self._idle: defaultdict[str, dict[_Connection, None]] = defaultdict(dict)  # longest idle first
        self._busy: defaultdict[str, dict[_Connection, None]] = defaultdict(dict)
        self._count = 0
        self._evicted = 0
        self._next_log_s = 0.0

    def opened(self, connection: _Connection) -> None:
        self._count += 1
        self._idle[connection.client][connection] = None

    def closed(self, connection: _Connection) -> None:
        if _remove(self._idle, connection) or _remove(self._busy, connection):
            self._count -= 1

    def busy(self, connection: _Connection) -> None:
        if _remove(self._idle, connection):  # otherwise it has just been closed
            self._busy[connection.client][connection] = None

    def idle(self, connection: _Connection) -> None:
        if _remove(self._busy, connection):
            self._idle[connection.client][connection] = None

    def make_room(self) -> None:
        """Close connections until there is room for another one: first those that are idle."""
        while self._count >= self._limit:
            self.evict("too many connections")

    def evict(self, reason: str) -> None:
        """Close the oldest connection of the client that has the most; log that at most once a minute."""
        most = max((self._idle or self._busy).values(), key=len, default={})
        if (oldest := next(iter(most), None)) is not None:
            self.closed(oldest)
            oldest.abort()
        self._evicted += 1
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._next_log_s:
            self._next_log_s = now_s + _LOG_INTERVAL_S
            log.warning("http.connections_closed", reason=reason, closed=self._evicted)
            self._evicted = 0


def _remove(connections: dict[str, dict[_Connection, None]], connection: _Connection) -> bool:
    """Remove a connection; return whether it was there."""
    of_client = connections.get(connection.client, {})
    if connection not in of_client:
        return False
    del of_client[connection]
    if not of_client:
        del connections[connection.client]
    return True


class _Listener:
    """Accepts the connections of one listening socket, a few at a time."""

    def __init__(
        self, listening: socket.socket, connections: _Connections, protocol: Callable[[], _Connection]
    ) -> None:
        self._listening, self._connections, self._protocol = listening, connections, protocol
        self._loop = asyncio.get_running_loop()
        self._accepting: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._resume()

    async def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._listening)
        if self._pause is not None:
            self._pause.cancel()
        self._listening.close()
        await asyncio.gather(*self._accepting, return_exceptions=True)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(self._connections.accepted_at_once):
            try:
                accepted, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of files or memory
                self._connections.evict(f"cannot accept a connection: {error.strerror}")
                self._loop.remove_reader(self._listening)
                self._pause = self._loop.call_later(_ACCEPT_PAUSE_S, self._resume)
                return
            self._connections.make_room()
            accepted.setblocking(False)
            task = self._loop.create_task(
                self._loop.connect_accepted_socket(self._protocol, accepted), name="accept HTTP connection"
            )
            self._accepting.add(task)
            task.add_done_callback(self._on_accepted)

    def _on_accepted(self, task: asyncio.Task[object]) -> None:
        self._accepting.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.debug("http.accept_failed", reason=str(error))


@asynccontextmanager
async def http_server(
    app: web.Application, *, host: str, port: int, limits: HttpLimits | None = None
) -> AsyncIterator[None]:
    """
    Serve an application while the body runs.

    Args:
        app: The application; its handlers get requests whose body has been read, unless the limits have a
            time for bodies.
        host: Address to listen on.
        port: Port to listen on.
        limits: Limits of the server.

    Raises:
        OSError: The address or port is not available.
    """
    limits = limits or HttpLimits()
    app.middlewares.insert(0, _receive_body if limits.body_s is None else _stream_body)
    app.on_response_prepare.append(_add_headers)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    server = cast("web.Server", runner.server)  # it exists from now on
    connections = _Connections(limits.max_connections())

    def protocol() -> _Connection:
        return _Connection(server, connections, limits)

    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        for listening in await _listen(host, port):
            stack.push_async_callback(_Listener(listening, connections, protocol).close)
        yield


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of the host."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listening: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            listening.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            listening[-1].setblocking(False)
    except OSError:
        for each in listening:
            each.close()
        raise
    return listening


@web.middleware
async def _receive_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Receive the body of a request before its handler runs, while the time of the request counts."""
    if request.body_exists:
        try:
            await request.read()
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError) as error:
            raise web.HTTPBadRequest from error
    with cast("_Connection", request.protocol).handling(request):
        return await handler(request)


@web.middleware
async def _stream_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the handler read the body of a request as it arrives."""
    with cast("_Connection", request.protocol).handling(request):
        return await handler(request)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
