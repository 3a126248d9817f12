"""Turn errors into pages with one sentence and what to do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias

import structlog
from aiohttp import hdrs, web
from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.error_explanation import explain, explanation_of
from worker.console.page import respond
from worker.domain.errors import (
    ConfigurationError,
    ImageWorkerError,
    PageTokenError,
    RejectedError,
    TransientError,
    UnreadableRecordError,
)
from worker.domain.mask import mask_secrets

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """What a page about an error says: its status, what is wrong, and what to do."""

    status: HTTPStatus
    message: str
    advice: str


_BEGUN: Final = web.RequestKey("begun", bool)

_ADVICE: Final = {
    HTTPStatus.BAD_REQUEST: "Go back, correct the input and send it again.",
    HTTPStatus.UNAUTHORIZED: "Open the link that the console printed when it started.",
    HTTPStatus.FORBIDDEN: "Ask an operator of this console, or sign in under another name.",
    HTTPStatus.NOT_FOUND: "Check the address, or search for the image, user or file name.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Go back and use the links and buttons of the page.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Send less at once; for a larger upload, raise WORKER_MAX_BYTES.",
}
_MESSAGES: Final = {
    HTTPStatus.BAD_REQUEST: "The request is incomplete or malformed.",
    HTTPStatus.UNAUTHORIZED: "You are not signed in.",
    HTTPStatus.FORBIDDEN: "Your role does not allow this.",
    HTTPStatus.NOT_FOUND: "There is no such page.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This page cannot be used in this way.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The request is too large.",
}


@web.middleware
async def error_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond to a request whose handler fails with a page about the error, and never with a traceback."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        response = _respond(request, _of_http(error))
        for name in (hdrs.ALLOW, hdrs.WWW_AUTHENTICATE, hdrs.RETRY_AFTER, "Refresh"):
            if name in error.headers:
                response.headers[name] = error.headers[name]
        return response
    except (ImageWorkerError, ClientError, BotoCoreError, TimeoutError) as error:
        found = page_for(error)
        log.warning(
            "console.request_failed", path=request.path, status=int(found.status), reason=found.message
        )
        return _respond(request, found)
    except Exception as error:
        is_gone = request.transport is None or request.transport.is_closing()
        if isinstance(error, ConnectionError) and is_gone:  # the client's connection
            raise
        log.exception("console.request_crashed", path=request.path)
        return _respond(
            request,
            ErrorPage(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "The console failed to make this page.",
                "This is a bug: please report it with the traceback in the console's log.",
            ),
        )


def page_for(error: Exception) -> ErrorPage:
    """Return the page for an expected error."""
    cause = error.__cause__
    if isinstance(error, TransientError):
        if isinstance(cause, ClientError | BotoCoreError):
            return page_for(cause)
        return ErrorPage(HTTPStatus.SERVICE_UNAVAILABLE, _sentence(str(error)), "Try again in a moment.")
    if isinstance(error, ClientError | BotoCoreError):
        explanation = explanation_of(error)
        advice = _sentence(explanation.remedy) if explanation.remedy else "Try again in a moment."
        is_permanent = explanation.is_configuration_error
        status = HTTPStatus.BAD_GATEWAY if is_permanent else HTTPStatus.SERVICE_UNAVAILABLE
        return ErrorPage(status, _sentence(explanation.reason if advice else explain(error)), advice)
    if isinstance(error, TimeoutError):
        return ErrorPage(
            HTTPStatus.SERVICE_UNAVAILABLE, "AWS did not respond in time.", "Try again in a moment."
        )
    if isinstance(error, PageTokenError):
        message, _, _ = str(error).partition("; ")
        return ErrorPage(HTTPStatus.BAD_REQUEST, _sentence(message), "Start again from the first page.")
    if isinstance(error, RejectedError):
        message, _, fix = str(error).rpartition("; ")
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        return ErrorPage(status, _sentence(message or fix), _sentence(fix if message else ""))
    if isinstance(error, UnreadableRecordError):
        message, _, fix = str(error).partition("; ")
        return ErrorPage(HTTPStatus.BAD_GATEWAY, _sentence(message), _sentence(fix))
    if isinstance(error, ConfigurationError):
        message, _, fix = str(error).rpartition(": ")
        return ErrorPage(HTTPStatus.BAD_GATEWAY, _sentence(message or fix), _sentence(fix if message else ""))
    return ErrorPage(HTTPStatus.BAD_GATEWAY, _sentence(str(error)), "Try again in a moment.")


def _of_http(error: web.HTTPException) -> ErrorPage:
    status = HTTPStatus(error.status)
    given = error.text if error.text and error.text != f"{error.status}: {error.reason}" else ""
    message, stop, advice = given.partition(". ")
    if not message:
        message = _MESSAGES.get(status, f"{status.phrase}.")
    return ErrorPage(
        status, f"{message}{stop.strip()}", advice or _ADVICE.get(status, "Go back and try again.")
    )


async def mark_begun(request: web.Request, _: web.StreamResponse) -> None:
    """Remember that the response to a request has begun: no page about an error can follow."""
    request[_BEGUN] = True


def _respond(request: web.Request, page: ErrorPage) -> web.StreamResponse:
    if request.get(_BEGUN):
        if request.transport is not None:
            request.transport.abort()
        message = "the response was cut short"
        raise ConnectionResetError(message)
    content = {"error": {"status": page.status, "message": page.message, "advice": page.advice}}
    return respond(request, "error.html", content, status=page.status)


def _sentence(text: str) -> str:
    """Return the text as a sentence, with secrets masked."""
    text = mask_secrets(text).strip() or "run `image-worker check`"
    first, _, _ = text.partition(" ")
    start = text[:1] if "://" in first else text[:1].upper()
    return f"{start}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"
