"""Build the URLs of the console's own pages, with its path prefix and everything percent-encoded."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias
from urllib.parse import quote, urlencode

from aiohttp import web

Query: TypeAlias = Mapping[str, str | int | float | None]


def url(
    source: web.Request | web.Application, route: str, /, *, query: Query | None = None, **parts: str
) -> str:
    """
    Return the URL of a route: `url(request, "image", image_id="img_1", query={"user": "alice"})`.

    Args:
        source: The request that is answered, or the application.
        route: Name of the route.
        query: Query parameters; those that are None or empty are left out.
        **parts: Variable parts of the path; they may have any characters, slashes too.

    Raises:
        KeyError: No route has this name, or a part is missing.
    """
    app = source.app if isinstance(source, web.Request) else source
    path = app.router.named_resources()[route].canonical.format_map(
        {name: quote(value, safe="", errors="replace") for name, value in parts.items()}
    )
    given = {name: str(value) for name, value in (query or {}).items() if value is not None and value != ""}
    return f"{path}?{urlencode(given, quote_via=quote, errors='replace')}" if given else path


def add_prefix(app: web.Application, prefix: str) -> None:
    """Put all routes of an application under a path prefix, such as `/images/console`."""
    router = app.router
    resources: Iterable[web.AbstractResource] = list(router.resources())
    for resource in resources:
        router.unindex_resource(resource)
        resource.add_prefix(prefix)
        router.index_resource(resource)
