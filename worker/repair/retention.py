"""Set when the record of an image expires: reads ignore it from then on, and DynamoDB deletes it."""

from typing import Final

from worker.domain.errors import TransientError
from worker.domain.image import Image
from worker.dynamodb.queries import Queries
from worker.dynamodb.repair_writes import RepairWrites

DAY_S: Final = 24 * 60 * 60
MAX_DAYS: Final = 36_500

_MAX_ROUNDS: Final = 5
"""How often the image is read again because it changed between the read and the write."""


async def set_retention(
    queries: Queries, writes: RepairWrites, image: Image, *, ttl: int | None
) -> Image | None:
    """
    Set when the record of an image expires.

    Args:
        queries: Reads the image again when it has changed.
        writes: Writes the change, with its requester, to the history.
        image: The image, as it was read.
        ttl: Seconds since 1970; None keeps the record forever.

    Returns:
        The image as it is stored now; None if it no longer exists.

    Raises:
        ImageBusyError: A worker is processing the image.
        TransientError: The table was unavailable, or the image kept changing.
    """
    seen: Image | None = image
    for _ in range(_MAX_ROUNDS):
        if seen is None:
            return None
        written = await writes.set_retention(seen, ttl=ttl)
        if written is not None:
            return written
        seen = await queries.image(image.image_id, image.user_id, consistent=True)
    message = (
        f"{image.image_id} changed {_MAX_ROUNDS} times while its retention was being set: set it again later"
    )
    raise TransientError(message, is_dependency_failure=False)
