"""`/images/{image_id}/similar`: near duplicates of an image among those of its user."""

import asyncio
import re
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from worker.console.context import CONTEXT
from worker.console.page import respond
from worker.console.record import find_image, summary_of
from worker.domain.image import Image
from worker.dynamodb.items import summary_to_map
from worker.dynamodb.similar import MAX_SEARCHED, Search, perceptual_hash, similar_images

DEFAULT_DISTANCE: Final = 10
MAX_DISTANCE: Final = 64
_TIMEOUT_S: Final = 30.0
_NUMBER: Final = re.compile("[0-9]{1,2}")
_SEARCHING: Final = web.AppKey("searching", asyncio.Lock)
"""Held during a search, which reads up to a thousand records: by one request at a time."""


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app[_SEARCHING] = asyncio.Lock()
    app.router.add_get("/images/{image_id:[^/]+}/similar", similar, name="similar")


async def similar(request: web.Request) -> web.Response:
    """Show the near duplicates of an image, nearest first."""
    distance = _distance(request.query.get("distance", ""))
    # Fields of forms do not keep every character of an id.
    user_id = request.query.get("user") or unquote(request.query.get("quoted_user", ""))
    image = await find_image(request, image_id=request.match_info["image_id"], user_id=user_id)
    search = Search((), 0)
    if perceptual_hash(image) is not None:
        try:
            async with asyncio.timeout(_TIMEOUT_S), request.app[_SEARCHING]:
                search = await similar_images(request.app[CONTEXT].queries, image, max_distance=distance)
        except TimeoutError as error:
            text = f"The search took longer than {_TIMEOUT_S:g} s. Try again in a moment."
            raise web.HTTPServiceUnavailable(text=text) from error
    return respond(request, "similar.html", similar_content(image, search, max_distance=distance))


def similar_content(image: Image, search: Search, *, max_distance: int) -> dict[str, Any]:
    """Return what the page shows of a search."""
    return {
        "image": summary_to_map(summary_of(image)),
        "hasHash": perceptual_hash(image) is not None,
        "images": [{**summary_to_map(each.image), "distance": each.distance} for each in search.found],
        "maxDistance": max_distance,
        "searched": search.searched,
        "bound": f"Compared with {search.searched:,} other images of this user, at most the newest "
        f"{MAX_SEARCHED:,}: up to {max_distance} of the 64 bits of the perceptual hash differ",
    }


def _distance(text: str) -> int:
    if not text:
        return DEFAULT_DISTANCE
    if not _NUMBER.fullmatch(text) or int(text) > MAX_DISTANCE:
        raise web.HTTPBadRequest(text=f"The distance {text[:20]!r} is not a number from 0 to {MAX_DISTANCE}.")
    return int(text)
