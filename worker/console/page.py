"""Respond with a page, or with the same content as JSON."""

import json
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, NoReturn, TypeAlias

from aiohttp import hdrs, web
from jinja2 import Environment

from worker.console.security import identity_of
from worker.console.urls import Query, url
from worker.domain import clock

Content: TypeAlias = Mapping[str, Any]
"""What a page shows, as JSON-ready values under the names of the record's attributes."""

TEMPLATES: Final = web.AppKey("templates", Environment)
"""Key of the templates in the application."""

_JSON: Final = "application/json"
_COMPRESSED_FROM: Final = 1024
"""Shorter bodies are sent as they are."""


def respond(
    request: web.Request, template: str, content: Content, *, status: int = HTTPStatus.OK
) -> web.Response:
    """
    Return the content as an HTML page, or as JSON when the client prefers it.

    Args:
        request: The request.
        template: File name of the template, which gets the content's entries as variables.
        content: What the page shows.
        status: HTTP status.
    """
    if prefers_json(request):
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, default=_plain)
        response = web.Response(text=text, content_type=_JSON, status=status)
    else:
        text = render(request, template, content)
        response = web.Response(text=text, content_type="text/html", status=status)
    response.headers[hdrs.VARY] = f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}"
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    if len(text) >= _COMPRESSED_FROM:
        response.enable_compression()
    return response


def render(request: web.Request, template: str, content: Content) -> str:
    """Return the content as HTML, for a page or a part of one."""
    identity = identity_of(request)
    return (
        request.app[TEMPLATES]
        .get_template(template)
        .render(
            **content,
            path=request.rel_url.raw_path,
            route=request.match_info.route.resource.name if request.match_info.route.resource else None,
            identity=identity,
            is_operator=identity is not None and identity.is_operator,
        )
    )


def see_other(request: web.Request, route: str, /, *, query: Query | None = None, **parts: str) -> NoReturn:
    """
    End a POST by redirecting to a page, with the arguments of `url`.

    Raises:
        HTTPSeeOther: Always.
    """
    raise web.HTTPSeeOther(url(request, route, query=query, **parts))


def prefers_json(request: web.Request) -> bool:
    """Return whether the client ranks `application/json` above `text/html` in `Accept`."""
    ranks = {"text/html": 0.0, _JSON: 0.0}
    for part in request.headers.get(hdrs.ACCEPT, "").lower().split(","):
        kind, _, parameters = part.partition(";")
        if kind.strip() in ranks:
            ranks[kind.strip()] = _quality(parameters)
    return ranks[_JSON] > ranks["text/html"]


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _plain(value: object) -> str:
    return clock.to_text(value) if isinstance(value, datetime) else str(value)
