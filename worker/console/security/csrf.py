"""Accept actions only from the console's own pages."""

from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from worker.console.security.hosts import ORIGIN
from worker.console.security.routes import HEALTH, SAFE_METHODS, route_name

_SITE: Final = "Sec-Fetch-Site"
_MODE: Final = "Sec-Fetch-Mode"
_DESTINATION: Final = "Sec-Fetch-Dest"


def check_site() -> Middleware:
    """
    Return a middleware that rejects requests which pages of other sites make in a user's browser.

    Requests that may change something must be from the console's own pages. Others may also be navigations: a
    link to an image works everywhere, but no other page can embed or load anything.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method in SAFE_METHODS:
            is_accepted = route_name(request) == HEALTH or _is_own(request) or _is_navigation(request)
        else:
            is_accepted = is_from_own_page(request)
        if not is_accepted:
            raise web.HTTPForbidden(
                text="The request does not come from a page of this console. "
                "Open the console in this browser and repeat the action there."
            )
        return await handler(request)

    return middleware


def is_from_own_page(request: web.Request) -> bool:
    """
    Return whether a browser confirms that a page of the console made the request.

    Browsers set `Sec-Fetch-Site`, and pages cannot. Older browsers send only `Origin`. It is `null` in forms
    of pages with the referrer policy `no-referrer`, such as the console's own.
    """
    sites, origins = request.headers.getall(_SITE, []), request.headers.getall(hdrs.ORIGIN, [])
    is_own_origin = origins == [request.get(ORIGIN)]
    if sites:
        return sites == ["same-origin"] and (is_own_origin or origins in ([], ["null"]))
    return is_own_origin


def _is_own(request: web.Request) -> bool:
    """Return whether the console's own page, the user or a program that is not a browser made the request."""
    return all(site in {"same-origin", "none"} for site in request.headers.getall(_SITE, []))


def _is_navigation(request: web.Request) -> bool:
    return request.headers.getall(_MODE, []) == ["navigate"] and request.headers.getall(_DESTINATION, []) == [
        "document"
    ]
