"""Let only operators act."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from worker.console.security.identity import identity_of, is_operator
from worker.console.security.routes import LOGOUT, SAFE_METHODS, route_name


def check_role() -> Middleware:
    """Return a middleware that rejects every request of a viewer that could change something."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in SAFE_METHODS and route_name(request) != LOGOUT and not is_operator(request):
            identity = identity_of(request)
            name = identity.name if identity else "an unknown user"
            raise web.HTTPForbidden(
                text=f"{name} is a viewer, and only operators may do this. "
                "Ask an operator, or add the name to WORKER_CONSOLE_OPERATORS."
            )
        return await handler(request)

    return middleware
