"""Read the record that a URL names."""

from dataclasses import fields
from typing import TypeAlias

from aiohttp import web

from worker.console.context import CONTEXT
from worker.domain.errors import UnreadableRecordError
from worker.domain.image import Image, ImageSummary
from worker.domain.keys import RESERVED_IMAGE_IDS

Found: TypeAlias = Image | UnreadableRecordError

_MAX_IMAGE_ID_BYTES = 2048
_MAX_USER_ID_BYTES = 1024
"""Limits of DynamoDB for a hash key and a range key."""


def is_key(*, image_id: str = "image", user_id: str = "user") -> bool:
    """Return whether an image and a user can have these ids, so that DynamoDB accepts them in a request."""
    return (
        image_id not in RESERVED_IMAGE_IDS
        and _fits(image_id, _MAX_IMAGE_ID_BYTES)
        and _fits(user_id, _MAX_USER_ID_BYTES)
    )


def _fits(text: str, max_bytes: int) -> bool:
    try:
        return 0 < len(text.encode()) <= max_bytes
    except UnicodeEncodeError:  # half of a surrogate pair, which the table cannot contain
        return False


async def find_image(request: web.Request, *, image_id: str, user_id: str) -> Image:
    """
    Return the image of a user.

    Raises:
        HTTPNotFound: It does not exist.
        UnreadableRecordError: Its record cannot be read.
        TransientError: The table was unavailable.
    """
    context = request.app[CONTEXT]
    if is_key(image_id=image_id, user_id=user_id):
        image = await context.queries.image(image_id, user_id)
        if image is not None:
            return image
    raise web.HTTPNotFound(text=f"Image {image_id} of user {user_id} does not exist in {context.table.name}.")


def summary_of(image: Image | ImageSummary) -> ImageSummary:
    """Return what lists show of an image."""
    return ImageSummary(**{field.name: getattr(image, field.name) for field in fields(ImageSummary)})
