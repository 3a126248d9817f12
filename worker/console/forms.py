"""Read the forms of requests, and reject those that cannot be read."""

from typing import Final

from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler

from worker.console.security.routes import route_name

_STREAMED_ROUTES: Final = frozenset({"upload"})
"""Routes whose handlers read the body as it arrives."""


@web.middleware
async def read_forms(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Parse the form of a request, so that `request.post()` in its handler cannot fail."""
    if request.method == hdrs.METH_POST and route_name(request) not in _STREAMED_ROUTES:
        try:
            await request.post()
        except (ValueError, LookupError, web.RequestPayloadError, HttpProcessingError) as error:
            raise web.HTTPBadRequest(text="The form cannot be read.") from error
    return await handler(request)
