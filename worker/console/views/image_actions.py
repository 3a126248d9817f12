"""Actions on one image: retry it, reprocess it, or set its retention."""

from collections import Counter

from aiohttp import web

from worker.console.context import CONTEXT
from worker.console.forms import number, text
from worker.console.page import see_other
from worker.console.security.actions import log_action
from worker.console.views.operations import by
from worker.domain.errors import ImageBusyError
from worker.domain.image import Image
from worker.domain.requester import CONSOLE, Requester
from worker.repair.context import DEFAULT_RATE_PER_S
from worker.repair.reprocess import reprocess_images, retry_image
from worker.repair.retention import DAY_S, MAX_DAYS, set_retention


class _Result:
    """Implements `repair.context.Reporter` for one image."""

    def __init__(self) -> None:
        self.changed = 0
        self.reasons: Counter[str] = Counter()

    def done(self, action: str, *, image_id: str, user_id: str) -> None:  # noqa: ARG002 - of the protocol
        """Count the image."""
        self.changed += 1

    def skipped(self, reason: str) -> None:
        """Keep why the image needs no repair."""
        self.reasons[f"the image is {reason}" if reason.startswith("already") else reason] += 1

    def failed(self, subject: str, message: str) -> None:  # noqa: ARG002 - of the protocol
        """Keep why the image could not be repaired."""
        self.reasons[message] += 1


def add_routes(app: web.Application) -> None:
    """Add the routes of these actions."""
    app.router.add_post("/images/{image_id:[^/]+}/retry", retry, name="image-retry")
    app.router.add_post("/images/{image_id:[^/]+}/reprocess", reprocess, name="image-reprocess")
    app.router.add_post("/images/{image_id:[^/]+}/retention", retention, name="image-retention")


async def retry(request: web.Request) -> web.Response:
    """Retry a failed image, and redirect to its page."""
    return await _repair(request, "images retry")


async def reprocess(request: web.Request) -> web.Response:
    """Reprocess a completed or failed image, and redirect to its page."""
    return await _repair(request, "images reprocess")


async def retention(request: web.Request) -> web.Response:
    """Set how long the record of an image is kept, and redirect to its page."""
    context, requester = request.app[CONTEXT], _requester(request, "images retention")
    days = number(await request.post(), "days", low=1, high=MAX_DAYS)
    image = await _find(request)
    ttl = None if days is None else int(context.clock().timestamp()) + days * DAY_S
    async with context.open_repairs(
        requester=requester, reporter=_Result(), rate_per_s=DEFAULT_RATE_PER_S
    ) as repairs:
        try:
            written = await set_retention(repairs.queries, repairs.writes, image, ttl=ttl)
        except ImageBusyError as error:
            raise web.HTTPConflict(text=_sentence(str(error))) from error
    if written is None:
        raise _missing(request)
    log_action(by=requester.by, action=requester.command, filter={**_key(image), "days": days}, count=1)
    see_other(request, "image", image_id=image.image_id, query={"user": image.user_id})


async def _repair(request: web.Request, command: str) -> web.Response:
    requester, result = _requester(request, command), _Result()
    image = await _find(request)
    async with request.app[CONTEXT].open_repairs(
        requester=requester, reporter=result, rate_per_s=DEFAULT_RATE_PER_S
    ) as repairs:
        if command == "images retry":
            await retry_image(repairs, image)
        else:
            await reprocess_images(repairs, [image], before=None, recipe_changed=False)
    log_action(by=requester.by, action=command, filter=_key(image), count=result.changed)
    if not result.changed:
        reason = "; ".join(result.reasons) or "nothing was changed"
        raise web.HTTPConflict(text=_sentence(f"the image was not put back in the queue: {reason}"))
    see_other(request, "image", image_id=image.image_id, query={"user": image.user_id})


async def _find(request: web.Request) -> Image:
    user_id = text(request.query, "user")
    if user_id is None:
        raise web.HTTPBadRequest(text="The address does not name the owner of the image.")
    image = await request.app[CONTEXT].queries.image(request.match_info["image_id"], user_id, consistent=True)
    if image is None:
        raise _missing(request)
    return image


def _missing(request: web.Request) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=f"Image {request.match_info['image_id']} does not exist.")


def _requester(request: web.Request, command: str) -> Requester:
    return Requester(by=by(request), via=CONSOLE, command=command)


def _key(image: Image) -> dict[str, object]:
    return {"image_id": image.image_id, "user_id": image.user_id}


def _sentence(message: str) -> str:
    return f"{message[:1].upper()}{message[1:]}."
