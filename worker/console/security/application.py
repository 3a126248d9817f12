"""Put the rules of security in front of every view of the console."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from worker.console.security.csrf import check_site
from worker.console.security.headers import add_headers
from worker.console.security.hosts import check_host
from worker.console.security.identity import IDENTITY, Authentication
from worker.console.security.roles import check_role
from worker.console.security.routes import HEALTH, LOGIN, LOGOUT, SAFE_METHODS, STATIC, route_name
from worker.console.security.token import TokenAuthentication

_OPEN_ROUTES: Final = frozenset({HEALTH, LOGIN, STATIC})


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """
    Who may reach the console; `build_security` makes it.

    Attributes:
        hosts: Each accepted value of `Host`, in lower case, with the origin of its pages.
        authentication: Finds out who sends a request.
        base_url: URL of the console for browsers, prefix included, without a slash at its end.
    """

    hosts: Mapping[str, str]
    authentication: Authentication
    base_url: str

    @property
    def middlewares(self) -> Sequence[Middleware]:
        """
        The middlewares, in the order in which a request passes them.

        They come after the middleware that renders errors, and before any that reads a body.
        """
        return (check_host(self.hosts), authenticate(self.authentication), check_role(), check_site())

    def add_routes(self, app: web.Application) -> None:
        """Add the routes for signing in and out, and the headers of all responses."""
        if isinstance(self.authentication, TokenAuthentication):
            app.router.add_get("/login", self.authentication.sign_in, name=LOGIN, allow_head=False)
            app.router.add_post("/logout", self.authentication.sign_out, name=LOGOUT)
        app.on_response_prepare.append(add_headers)
        app.cleanup_ctx.append(self._closed)

    async def _closed(self, _: web.Application) -> AsyncIterator[None]:
        yield
        await self.authentication.close()


def authenticate(authentication: Authentication) -> Middleware:
    """Return a middleware that rejects unknown users, and adds the user of an action to its logs."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if route_name(request) in _OPEN_ROUTES:
            return await handler(request)
        identity = await authentication.identify(request)
        if identity is None:
            raise web.HTTPUnauthorized(text=authentication.hint)
        request[IDENTITY] = identity
        # Tasks that a request starts inherit these; one that a GET starts may serve several users.
        by = {} if request.method in SAFE_METHODS else {"by": identity.name}
        with structlog.contextvars.bound_contextvars(via="console", **by):
            return await handler(request)

    return middleware
