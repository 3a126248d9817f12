"""`/failures`: the newest failed images by error code, with what to do about each group."""

from typing import Final

from aiohttp import web

from worker.console.context import CONTEXT
from worker.console.failure_groups import FRESH_S, FailureGroups
from worker.console.page import Content, prefers_json, respond
from worker.domain.image import FailedImage
from worker.presentation.words import error_words
from worker.repair.failures import MAX_GROUPED, FailureGroup, Failures, find_failures

FAILURES: Final = web.AppKey("failures", FailureGroups)
"""Key of the failure groups in the application."""

_SAMPLES: Final = 6
_LISTED: Final = 100
_RELOAD_S: Final = 1


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    context = app[CONTEXT]

    async def load() -> Failures:
        return await find_failures(context.queries)

    app[FAILURES] = FailureGroups(load)
    app.on_cleanup.append(_close)
    app.router.add_get("/failures", failures, name="failures")
    app.router.add_get("/failures/{code:[^/]+}", failure, name="failure")


async def _close(app: web.Application) -> None:
    await app[FAILURES].close()


async def failures(request: web.Request) -> web.Response:
    """Show the failure groups, the largest first."""
    read = await _read(request)
    if read is None:
        return reading(request)
    found, age_s = read
    return respond(
        request,
        "failures.html",
        {"groups": [group_content(group, listed=_SAMPLES) for group in found.groups], **bounds(found, age_s)},
    )


async def failure(request: web.Request) -> web.Response:
    """Show a failure group with its last failed images, and offer to process them again."""
    code = request.match_info["code"]
    read = await _read(request)
    if read is None:
        return reading(request)
    found, age_s = read
    group = found.group(code)
    words = error_words(code)
    empty = {"code": code, "count": 0, "cause": words.cause, "advice": words.advice, "images": []}
    content = {
        "group": group_content(group, listed=_LISTED) if group else empty,
        **bounds(found, age_s),
        "listed": _LISTED,
    }
    return respond(request, "failure.html", content)


async def _read(request: web.Request) -> tuple[Failures, float] | None:
    """Return the groups and their age; None if a page would have to wait for them."""
    groups = request.app[FAILURES]
    return await groups.get() if prefers_json(request) else await groups.get_soon()


def reading(request: web.Request) -> web.Response:
    """Return a page that loads itself again, while the failed images are being read for the first time."""
    response = respond(request, "failures_reading.html", {"limit": MAX_GROUPED})
    response.headers["Refresh"] = str(_RELOAD_S)
    return response


def bounds(found: Failures, age_s: float) -> Content:
    """Return what the pages state about the images that they do not show, and about the age of the groups."""
    return {
        "ageSeconds": round(age_s) if age_s > FRESH_S else 0,
        "count": found.count,
        "hasMore": found.has_more,
        "limit": MAX_GROUPED,
        "unreadable": found.unreadable,
    }


def group_content(group: FailureGroup, *, listed: int) -> Content:
    """Return a group with the last failed of its images."""
    words = error_words(group.code)
    return {
        "code": group.code,
        "count": len(group.images),
        "firstAt": group.first_at,
        "lastAt": group.last_at,
        "cause": words.cause,
        "advice": words.advice,
        "images": [_image(image) for image in group.images[:listed]],
    }


def _image(image: FailedImage) -> Content:
    return {
        "imageId": image.image_id,
        "userId": image.user_id,
        "message": image.message,
        "failedAt": image.failed_at,
        "createdAt": image.created_at,
        "originalFileName": image.file_name,
        "originalFileSize": image.file_size,
        "hasResult": image.has_result,
    }
