"""`/images` and `/search`: the newest images by status, day and user, and the search by id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from worker.console.context import CONTEXT, ConsoleContext
from worker.console.page import respond
from worker.console.record import is_key, summary_of
from worker.console.urls import url
from worker.domain.errors import UnreadableMessageError, UnreadableRecordError
from worker.domain.image import Image, ImageSummary
from worker.domain.status import ImageStatus
from worker.dynamodb.items import summary_to_map
from worker.dynamodb.queries import Page

PAGE_SIZE: Final = 50
RECENT_DAYS: Final = 7
"""Days of uploads that the list has without a filter."""

SEARCHED_NAMES: Final = 200
"""File names that a search looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """
    The filters of the list; None and empty text are no filter.

    Attributes:
        status: Status of the images.
        day: Day of the upload, in UTC.
        user: Id of the owner.
        name: Part of the file name, in any case.
    """

    status: ImageStatus | None = None
    day: date | None = None
    user: str = ""
    name: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Filters":
        """
        Return the filters of a request.

        Raises:
            HTTPBadRequest: A filter has a value that does not exist.
        """
        status, day = query.get("status", ""), query.get("day", "")
        try:
            return cls(
                status=ImageStatus(status) if status else None,
                day=date.fromisoformat(day) if day else None,
                # Fields do not keep every character of an id, and act on some: see the template.
                user=query.get("user") or unquote(query.get("quoted_user", "")),
                name=query.get("name", "").strip(),
            )
        except ValueError as error:
            text = (
                f"The status {status!r} or the day {day!r} does not exist. "
                "Choose a status of the list, and write a day as in 2024-01-31."
            )
            raise web.HTTPBadRequest(text=text) from error

    def as_query(self) -> dict[str, str]:
        """Return the filters as query parameters, without the page token."""
        return {
            "status": self.status or "",
            "day": self.day.isoformat() if self.day else "",
            "user": self.user,
            "name": self.name,
        }

    def match(self, image: ImageSummary) -> bool:
        """Return whether an image matches all filters; the index may be older than the image."""
        return (
            self.status in {None, image.status}
            and self.day in {None, image.created_at.date()}
            and self.user in {"", image.user_id}
            and self.name.casefold() in image.file_name.casefold()
        )


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app.router.add_get("/images", images, name="images")
    app.router.add_get("/search", search, name="search")


async def images(request: web.Request) -> web.Response:
    """Show a page of images."""
    filters = Filters.from_query(request.query)
    token = request.query.get("token")
    page = await _page(request.app[CONTEXT], filters, token)
    return respond(request, "images.html", images_content(page, filters, token=token))


async def _page(context: ConsoleContext, filters: Filters, token: str | None) -> Page:
    """Return the page of the most selective query; the other filters apply to what is on it."""
    queries = context.queries
    if filters.user:
        if not is_key(user_id=filters.user):
            return Page((), None)
        return await queries.images_of_user(filters.user, limit=PAGE_SIZE, token=token)
    if filters.day:
        return await queries.recent_images(filters.day, filters.day, limit=PAGE_SIZE, token=token)
    if filters.status:
        return await queries.images_by_status(filters.status, limit=PAGE_SIZE, token=token)
    first, today = _recent_days(context)
    return await queries.recent_images(first, today, limit=PAGE_SIZE, token=token)


def images_content(page: Page, filters: Filters, *, token: str | None = None) -> dict[str, Any]:
    """Return what the list shows of a page."""
    found = [image for image in page.images if filters.match(image)]
    return {
        "images": list(map(summary_to_map, found)),
        "nextToken": page.next_token,
        "unreadable": unreadable_content(page.unreadable),
        "filters": filters.as_query(),
        "token": token,
        "statuses": [status.value for status in ImageStatus],
        "bound": _bound(page, filters, shown=len(found)),
    }


def unreadable_content(errors: Sequence[UnreadableRecordError]) -> list[dict[str, str]]:
    """Return what a list shows of records that cannot be read."""
    return [
        {"imageId": error.image_id, "userId": error.user_id, "reason": error.reason, "message": str(error)}
        for error in errors
    ]


def _bound(page: Page, filters: Filters, *, shown: int) -> str:
    """Return the sentence that states which images the list has."""
    on_page = len(page.images)
    of = f"of user {filters.user}" if filters.user else ""
    if not filters.user and filters.day:
        of = f"uploaded on {filters.day}"
    elif not filters.user and filters.status:
        of = f"with status {filters.status}"
    elif not filters.user:
        of = f"of the last {RECENT_DAYS} days"
    if page.next_token:
        text = f"A page of {on_page} images {of}, newest first"
    else:
        text = f"{on_page} image{'' if on_page == 1 else 's'} {of}, newest first; there are no more"
    return text if shown == on_page else f"{text}. {shown} on this page match all filters"


async def search(request: web.Request) -> web.Response:
    """Show the images and the user with an id or key; redirect to the only image found."""
    query = request.query.get("q", "").strip()
    content = await _search(request.app[CONTEXT], query)
    found = content["images"]
    if len(found) == 1 and not content["users"] and not content["unreadable"]:
        (image,) = found
        raise web.HTTPSeeOther(
            url(request, "image", image_id=image["imageId"], query={"user": image["userId"]})
        )
    return respond(request, "search.html", content)


async def _search(context: ConsoleContext, query: str) -> dict[str, Any]:
    """Return what is found by an image id, a user id, the key or URL of an upload, or part of a file name."""
    unreadable: list[UnreadableRecordError] = []
    images: list[Image | ImageSummary] = []
    users: list[str] = []
    if is_key(image_id=query):
        try:
            images += await context.queries.images_with_id(query)
        except UnreadableRecordError as error:
            unreadable.append(error)
    images += await context.queries.images(_keys_of_upload(query, context))
    if is_key(user_id=query):
        page = await context.queries.images_of_user(query, limit=1)
        if page.images or page.unreadable or await context.profiles.get(query) is not None:
            users.append(query)
    if query and not images:
        first, today = _recent_days(context)
        page = await context.queries.recent_images(first, today, limit=SEARCHED_NAMES)
        images += [image for image in page.images if Filters(name=query).match(image)][:PAGE_SIZE]
    by_key = {(image.image_id, image.user_id): image for image in images}
    return {
        "query": query,
        "images": [summary_to_map(summary_of(image)) for image in by_key.values()],
        "users": [{"userId": user} for user in users],
        "unreadable": unreadable_content(unreadable),
        "bound": "Ids and keys are compared as a whole; if none matches, file names in part, those of the "
        f"newest {SEARCHED_NAMES} images of the last {RECENT_DAYS} days",
    }


def _keys_of_upload(query: str, context: ConsoleContext) -> list[tuple[str, str]]:
    """Return the keys of the records that the upload of an S3 key or URL can have."""
    key = query.removeprefix(f"s3://{context.bucket}/")
    try:
        user_id = context.upload_keys.parse_key(key).user_id
        found = [(image_id, user_id) for image_id in context.upload_keys.image_ids(key)]
    except UnreadableMessageError:
        return []
    return [(image_id, user_id) for image_id, user_id in found if is_key(image_id=image_id, user_id=user_id)]


def _recent_days(context: ConsoleContext) -> tuple[date, date]:
    today = context.clock().date()
    return today - timedelta(days=RECENT_DAYS - 1), today
