"""Read lists page by page, and sort images as lists do."""

from collections.abc import Awaitable, Callable, Iterable

from worker.domain.image import Image
from worker.dynamodb.queries import Page


async def ids_of_all_pages(
    get_page: Callable[[str | None], Awaitable[Page]], *, max_page_size: int | None = None
) -> list[str]:
    """
    Read all pages; return the image ids in their order.

    Args:
        get_page: Returns the page of a token; None is the first page.
        max_page_size: Assert that no page is larger.
    """
    ids: list[str] = []
    token: str | None = None
    while True:
        page = await get_page(token)
        assert max_page_size is None or len(page.images) <= max_page_size
        ids += [image.image_id for image in page.images]
        token = page.next_token
        if token is None:
            return ids


def newest_first(images: Iterable[Image]) -> list[str]:
    """Return the image ids in the order of lists: the newest image first."""

    return [image.image_id for image in sorted(images, key=lambda image: image.created_at, reverse=True)]
