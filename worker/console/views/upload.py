"""`/try`: upload images, and watch each of them from its upload to its end."""

from collections.abc import Iterable
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from worker.console.context import CONTEXT
from worker.console.live.image_pollers import TooManyWatchedError, Watched
from worker.console.live.journey import Stage, stages_of
from worker.console.live.live import LIVE
from worker.console.live.receive import Field, ReceivedFile, received_parts
from worker.console.live.recent_uploads import RecentUpload
from worker.console.live.streams import Feed, position_text
from worker.console.page import prefers_json, render, respond, see_other
from worker.console.record import is_key
from worker.console.security.actions import log_action
from worker.console.security.identity import identity_of
from worker.domain.errors import InvalidUploadError, TransientError
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES, ImageStatus
from worker.presentation.words import what_to_do

MAX_IMAGES: Final = 20
"""Files of one form, and images that one page watches."""

_MAX_ATTEMPTS: Final = 10
"""Attempts that are shown: the last ones."""

_DEFAULT_USER: Final = "demo"
_PART: Final = "_journey.html"


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app.router.add_get("/try", show, name="upload")
    app.router.add_post("/try", upload, name="upload")  # the same route: its body is streamed
    app.router.add_get("/try/events", events, name="upload-events", allow_head=False)


async def show(request: web.Request) -> web.Response:
    """Return the form, and the images that were uploaded with it."""
    user_id = _user_of(request)
    image_ids = _image_ids_of(request.query.get("images", ""), user_id)
    content = await _content(request, user_id, image_ids)
    return respond(request, "upload.html", content)


async def events(request: web.Request) -> web.StreamResponse:
    """Stream the images of the page."""
    live, user_id = request.app[LIVE], _user_of(request)
    with ExitStack() as stack:
        feeds: list[Feed[Any]] = []
        for number, image_id in enumerate(_image_ids_of(request.query.get("images", ""), user_id)):
            try:
                latest = stack.enter_context(live.images.watching(image_id, user_id))
            except TooManyWatchedError as error:
                raise web.HTTPServiceUnavailable(text=f"{error}.") from error
            feeds.append(
                Feed(
                    name=f"image-{number}",
                    latest=latest,
                    render=partial(_render_journey, request, image_id, user_id),
                    position=lambda watched: watched.position,
                    is_final=lambda watched: watched.has_ended and not watched.problem,
                    problem=lambda watched: watched.problem,
                )
            )
        return await live.streams.send(request, feeds)


@dataclass(slots=True)
class _Outcome:
    """The results for the files of a form."""

    user_id: str
    image_ids: list[str] = field(default_factory=list)
    stored: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    problem: str | None = None

    def reject(self, file_name: str, reason: str) -> None:
        """Note why a file was not stored."""
        self.rejected.append({"fileName": file_name, "reason": reason})


async def upload(request: web.Request) -> web.Response:
    """Store the files of the form, and show the images that they become."""
    outcome = _Outcome(_user_of(request))
    try:
        await _store_files(request, outcome)
    finally:
        if outcome.stored and (identity := identity_of(request)) is not None:
            log_action(
                by=identity.name,
                action="upload",
                filter={"user_id": outcome.user_id},
                count=len(outcome.stored),
            )
    if not outcome.stored and not outcome.rejected:
        outcome.reject("", "no file was chosen; choose one or several images")
    status = HTTPStatus.CREATED
    if outcome.rejected:
        status = HTTPStatus.SERVICE_UNAVAILABLE if outcome.problem else HTTPStatus.UNPROCESSABLE_ENTITY
    if prefers_json(request):
        return respond(request, "", {"images": outcome.stored, "rejected": outcome.rejected}, status=status)
    image_ids = outcome.image_ids[-MAX_IMAGES:]
    if not outcome.rejected:
        see_other(request, "upload", query={"user": outcome.user_id, "images": ",".join(image_ids)})
    content = await _content(request, outcome.user_id, image_ids)
    return respond(request, "upload.html", {**content, "rejected": outcome.rejected}, status=status)


async def _store_files(request: web.Request, outcome: _Outcome) -> None:
    max_bytes = request.app[CONTEXT].max_bytes
    count = 0
    async with aclosing(received_parts(request, max_bytes=max_bytes)) as parts:
        async for part in parts:
            match part:
                case Field("user", value):
                    outcome.user_id = value.strip()
                case Field("images", value):
                    outcome.image_ids = _image_ids_of(value, outcome.user_id)
                case ReceivedFile(name="", size_bytes=0):
                    pass  # what browsers send if no file was chosen
                case ReceivedFile():
                    count += 1
                    reason = _objection(part, count, max_bytes=max_bytes) or outcome.problem
                    reason = reason or await _store(request, part, outcome)
                    if reason:
                        outcome.reject(part.name, reason)


def _objection(file: ReceivedFile, number: int, *, max_bytes: int) -> str | None:
    """Return why a file is not uploaded at all, and what to do; None if it is."""
    if number > MAX_IMAGES:
        return f"it is file {number} of the form, which takes {MAX_IMAGES} at once; upload it next"
    if file.content is None:
        return (
            f"it has {file.size_bytes:,} bytes, above the limit of {max_bytes:,}; "
            "choose a smaller file, or raise WORKER_MAX_BYTES"
        )
    return None if file.size_bytes else "it is empty; choose a file with an image"


async def _store(request: web.Request, file: ReceivedFile, outcome: _Outcome) -> str | None:
    """Store a file; return why that was not possible, or None."""
    assert file.content is not None  # noqa: S101 - its size was checked
    try:
        stored = await request.app[CONTEXT].uploads.store(
            file.content, file_name=file.name, user_id=outcome.user_id
        )
    except InvalidUploadError as error:
        return str(error)
    except TransientError as error:
        outcome.problem = f"{error}; upload it again when S3 is available"
        return outcome.problem
    request.app[LIVE].uploads.add(
        stored.image_id, stored.user_id, RecentUpload(stored.file_name, file.size_bytes)
    )
    outcome.image_ids.append(stored.image_id)
    outcome.stored.append(
        {"file": file.name, "imageId": stored.image_id, "userId": stored.user_id, "key": stored.key}
    )
    return None


def _user_of(request: web.Request) -> str:
    return request.query.get("user") or request.app[CONTEXT].upload_keys.constant_user or _DEFAULT_USER


def _image_ids_of(text: str, user_id: str) -> list[str]:
    """Return the image ids in a list with commas, each once, at most as many as a page watches."""
    ids = (each for each in text.split(",") if is_key(image_id=each, user_id=user_id))
    return list(dict.fromkeys(ids))[-MAX_IMAGES:]


async def _content(request: web.Request, user_id: str, image_ids: Iterable[str]) -> dict[str, Any]:
    """Return the content of the page: the form's values, and each image with its journey."""
    context, image_ids = request.app[CONTEXT], list(image_ids)
    found = await context.queries.images([(each, user_id) for each in image_ids], consistent=True)
    by_id = {image.image_id: image for image in found}
    watched = [Watched(by_id.get(image_id)) for image_id in image_ids]
    return {
        "userId": user_id,
        "images": [
            journey_content(request, image_id, user_id, each.image)
            for image_id, each in zip(image_ids, watched, strict=True)
        ],
        "after": position_text([each.position for each in watched]),
        "imageIds": ",".join(image_ids),
        "maxBytes": context.max_bytes,
        "maxImages": MAX_IMAGES,
        "rejected": [],
    }


def _render_journey(request: web.Request, image_id: str, user_id: str, watched: Watched) -> str:
    return render(request, _PART, {"image": journey_content(request, image_id, user_id, watched.image)})


def journey_content(request: web.Request, image_id: str, user_id: str, image: Image | None) -> dict[str, Any]:
    """
    Return an image's way through the worker as JSON-ready values.

    Args:
        request: The request, for URLs.
        image_id: Id of the image.
        user_id: Id of its owner.
        image: Its record; None before a worker claims it.
    """
    recent = request.app[LIVE].uploads.get(image_id, user_id)
    attempts = stages_of(image)[-_MAX_ATTEMPTS:]
    has_ended = image is not None and image.status in TERMINAL_STATUSES
    size_bytes = image.file_size if image else (recent.size_bytes if recent else None)
    return {
        "imageId": image_id,
        "userId": user_id,
        "originalFileName": recent.file_name if recent else (image.file_name if image else image_id),
        "originalFileSize": size_bytes,
        "status": str(image.status) if image else "uploaded",
        "hasEnded": has_ended,
        "attempts": [
            {
                "attempt": attempt.number,
                "worker": attempt.worker,
                "outcome": attempt.outcome,
                "elapsedMs": attempt.elapsed_ms,
                "stages": [_stage(stage) for stage in attempt.stages],
            }
            for attempt in attempts
        ],
        "elapsedMs": attempts[-1].elapsed_ms if has_ended else None,
        "error": _error(image) if image else None,
        "result": _result(image) if image else None,
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {"stage": stage.key, "name": stage.name, "status": stage.status, "elapsedMs": stage.elapsed_ms}


def _error(image: Image) -> dict[str, Any] | None:
    if image.error is None or image.status is ImageStatus.COMPLETED:
        return None
    return {
        "code": image.error.code,
        "message": image.error.message,
        "advice": what_to_do(image.error, image.status),
    }


def _result(image: Image) -> dict[str, Any] | None:
    """Return the main result of a completed image; its saving in percent is negative if it is larger."""
    if image.status is not ImageStatus.COMPLETED:
        return None
    for size, rendition in image.renditions.items():
        if rendition.key == image.processed_key:
            original = image.file_size
            return {
                "size": size,
                "width": rendition.width,
                "height": rendition.height,
                "format": rendition.format,
                "bytes": rendition.size_bytes,
                "savingPercent": round(100 * (1 - rendition.size_bytes / original)) if original else None,
            }
    return None
