"""An application with the security of the console and small views, and requests to it byte by byte."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from aiohttp import web
from multidict import CIMultiDict

from tests.support.emulators import a_free_port
from worker.console.security import (
    Role,
    Security,
    SecurityOptions,
    TokenAuthentication,
    attachment,
    build_security,
    identity_of,
    is_operator,
)
from worker.telemetry.http_server import http_server

Headers = Sequence[tuple[str, str]]

SAME_ORIGIN: Headers = (("Sec-Fetch-Site", "same-origin"),)


@dataclass(frozen=True)
class Response:
    """A response as it was received."""

    status: int
    headers: CIMultiDict[str]
    text: str


@dataclass(frozen=True)
class RawClient:
    """Sends requests to a port of 127.0.0.1, byte by byte."""

    port: int

    async def send(self, request: bytes, *, source: str = "127.0.0.1") -> Response:
        """Send bytes, and return the response, which ends with the connection; of a stream, only its head."""
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
            try:
                writer.write(request)
                head = bytearray()
                while not head.endswith(b"\r\n\r\n") and (line := await reader.readline()):
                    head += line
                is_stream = b"text/event-stream" in head
                return parsed(bytes(head) + (b"" if is_stream else await reader.read()))
            finally:
                writer.close()

    async def request(
        self,
        method: str = "GET",
        target: str = "/",
        headers: Headers = (),
        *,
        host: str | None = None,
        source: str = "127.0.0.1",
    ) -> Response:
        """Send a request without a body."""
        host = host or f"127.0.0.1:{self.port}"
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        return await self.send("\r\n".join([*lines, "", ""]).encode(), source=source)


@dataclass(frozen=True)
class Secured(RawClient):
    """A running application."""

    security: Security

    async def signed_in(self, role: Role = Role.OPERATOR) -> Headers:
        """Open a link with a token; return the header with the cookie of the session."""
        assert isinstance(self.security.authentication, TokenAuthentication)
        response = await self.request(target=self.security.authentication.start_link("", role=role))
        assert response.status == 303
        return (("Cookie", response.headers["Set-Cookie"].partition(";")[0]),)


def parsed(response: bytes) -> Response:
    """Return a response from its bytes."""
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = CIMultiDict((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Response(int(status.split()[1]) if response else 0, headers, body.decode("utf-8", "replace"))


@asynccontextmanager
async def secured(
    options: SecurityOptions | None = None,
    *,
    alb_key_url: str | None = None,
    clock: Callable[[], float] | None = None,
    on_sign_in: Callable[[Role], None] | None = None,
) -> AsyncIterator[Secured]:
    """Serve the application on a free port of 127.0.0.1."""
    port = a_free_port()
    options = replace(options or SecurityOptions(), port=port)
    security = build_security(options, user="alice", alb_key_url=alb_key_url, on_sign_in=on_sign_in)
    if clock is not None:
        authentication = TokenAuthentication(name="alice", prefix=options.prefix, clock=clock)
        security = replace(security, authentication=authentication)
    async with http_server(application(security), host="127.0.0.1", port=port):
        yield Secured(port, security)


def application(security: Security) -> web.Application:
    """Return the application."""

    async def view(request: web.Request) -> web.Response:
        identity = identity_of(request)
        return web.Response(text=f"{identity.name if identity else None} {is_operator(request)}")

    async def download(request: web.Request) -> web.Response:
        disposition = attachment(request.match_info["name"])
        return web.Response(body=b"\x89PNG", headers={"Content-Disposition": disposition})

    async def crash(_: web.Request) -> web.Response:
        message = "a view failed"
        raise RuntimeError(message)

    async def private(_: web.Request) -> web.Response:
        return web.Response(text="bytes", headers={"Cache-Control": "private, max-age=60"})

    async def cached(_: web.Request) -> web.Response:
        return web.Response(text="body{}", headers={"Cache-Control": "public, max-age=60"})

    app = web.Application(middlewares=security.middlewares)
    security.add_routes(app)
    app.router.add_get("/", view, name="home")
    app.router.add_get("/healthz", view, name="healthz")
    app.router.add_get("/static/console.css", cached, name="static")
    app.router.add_get("/images/{image_id}", view, name="image")
    app.router.add_get("/files/{name}", download, name="file")
    app.router.add_get("/private", private, name="private")
    app.router.add_get("/public", cached, name="public")
    app.router.add_get("/crash", crash, name="crash")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        app.router.add_route(method, "/act", view, name=f"act-{method.lower()}")
    return app
