"""Let only operators act."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from worker.console.security.identity import is_operator
from worker.console.security.routes import LOGOUT, SAFE_METHODS, route_name


def check_role() -> Middleware:
    """Return a middleware that rejects every request of a viewer that could change something."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in SAFE_METHODS and route_name(request) != LOGOUT and not is_operator(request):
            raise web.HTTPForbidden(
                text="Only operators may do this, and you are a viewer. "
                "Ask an operator, or have your name added to WORKER_CONSOLE_OPERATORS."
            )
        return await handler(request)

    return middleware
