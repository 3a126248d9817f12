"""Names of the routes that security treats in another way than the rest."""

from typing import Final

from aiohttp import web

HEALTH: Final = "healthz"
"""Health checks of load balancers and orchestrators, which send an address as `Host`."""

LOGIN: Final = "login"
LOGOUT: Final = "logout"
STATIC: Final = "static"

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
"""Methods that change nothing; the console has no use for OPTIONS and TRACE."""


def route_name(request: web.Request) -> str | None:
    """Return the name of the route of a request; None if no route matches its path and method."""
    return request.match_info.route.name
