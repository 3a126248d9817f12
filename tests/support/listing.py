"""Lists read page by page, and what they should say."""

from collections.abc import Awaitable, Callable, Iterable

from worker.domain.image import Image
from worker.dynamodb.queries import Page


async def walked(ask: Callable[[str | None], Awaitable[Page]], *, most: int | None = None) -> list[str]:
    """Return the ids of all pages, in the order in which they came; no page has more than `most`."""
    ids: list[str] = []
    token: str | None = None
    while True:
        page = await ask(token)
        assert most is None or len(page.images) <= most
        ids += [image.image_id for image in page.images]
        token = page.next_token
        if token is None:
            return ids


def newest_first(images: Iterable[Image]) -> list[str]:
    """Return the ids in the order in which lists show them."""
    return [image.image_id for image in sorted(images, key=lambda image: image.created_at, reverse=True)]
