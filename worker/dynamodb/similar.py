"""Find near duplicates among the images of a user, by their recorded perceptual hashes."""

import re
from dataclasses import dataclass
from typing import Final

from worker.domain.image import Image, ImageSummary
from worker.domain.status import StepName
from worker.dynamodb.queries import Queries

MAX_SEARCHED: Final = 1000
"""Images of the user that are compared: the newest ones."""

_PAGE_SIZE: Final = 100
_HASH: Final = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Similar:
    """An image with the number of bits in which its hash differs: 0 to 64."""

    image: ImageSummary
    distance: int


@dataclass(frozen=True, slots=True)
class Search:
    """The near duplicates that were found, nearest first, and how many images were compared."""

    found: tuple[Similar, ...]
    searched: int


def perceptual_hash(image: Image) -> int | None:
    """Return the perceptual hash of an image; None if it was never completed."""
    digits = image.detail_of(StepName.RESIZE).get("perceptualHash")
    return int(digits, 16) if isinstance(digits, str) and _HASH.fullmatch(digits) else None


async def similar_images(queries: Queries, image: Image, *, max_distance: int) -> Search:
    """
    Return the images of the same user whose hashes differ in few bits from that of an image.

    Reads the records of the newest `MAX_SEARCHED` images of the user, one hundred at a time.

    Args:
        queries: Reads images.
        image: An image with a perceptual hash.
        max_distance: Maximum number of bits that differ; ten for copies in another size or quality.

    Raises:
        TransientError: The table is unavailable.
    """
    wanted = perceptual_hash(image)
    found: list[Similar] = []
    searched, token = 0, None
    while wanted is not None and searched < MAX_SEARCHED:
        page = await queries.images_of_user(image.user_id, limit=_PAGE_SIZE, token=token)
        others = {each.image_id: each for each in page.images if each.image_id != image.image_id}
        for other in await queries.images((image_id, image.user_id) for image_id in others):
            searched += 1
            if (hashed := perceptual_hash(other)) is not None:
                distance = (hashed ^ wanted).bit_count()
                found += [Similar(others[other.image_id], distance)] if distance <= max_distance else []
        if (token := page.next_token) is None:
            break
    found.sort(key=lambda each: (each.distance, each.image.created_at))
    return Search(tuple(found), searched)
