"""Read the forms of requests, and reject those that cannot be read."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler

from worker.console.security.routes import route_name

Choice = TypeVar("Choice", bound=StrEnum)

_MAX_CHARACTERS: Final = 1024

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


def text(form: Mapping[str, Any], name: str) -> str | None:
    """
    Return the value of a field; None if it is missing or empty.

    Raises:
        HTTPBadRequest: It is a file, or too long.
    """
    value = form.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
        raise web.HTTPBadRequest(
            text=f"The field {name} is not a text of at most {_MAX_CHARACTERS} characters."
        )
    return value


def choice(form: Mapping[str, Any], name: str, choices: type[Choice]) -> Choice | None:
    """
    Return the choice in a field; None if it is missing or empty.

    Raises:
        HTTPBadRequest: It is none of the choices.
    """
    value = text(form, name)
    if value is None:
        return None
    try:
        return choices(value)
    except ValueError as error:
        allowed = ", ".join(choices)
        raise web.HTTPBadRequest(text=f"The field {name} is {value!r}, not one of {allowed}.") from error


def number(form: Mapping[str, Any], name: str, *, low: int, high: int) -> int | None:
    """
    Return the whole number in a field; None if it is missing or empty.

    Raises:
        HTTPBadRequest: It is not a whole number between the bounds.
    """
    value = text(form, name)
    if value is None:
        return None
    if not value.isascii() or not value.isdecimal() or not low <= int(value[:20]) <= high:
        message = f"The field {name} is {value!r}: write a whole number from {low:,} to {high:,}."
        raise web.HTTPBadRequest(text=message)
    return int(value)


def is_checked(form: Mapping[str, Any], name: str) -> bool:
    """Return whether a checkbox is checked."""
    return bool(form.get(name))
