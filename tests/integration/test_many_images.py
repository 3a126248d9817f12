"""Three hundred images of five users, listed page by page, also while others are added."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support.builders import a_claimant, a_job, after
from tests.support.emulators import client, create_table, unique_settings
from tests.support.listing import ids_of_all_pages, newest_first
from worker.bootstrap import RETRY_POLICIES, build_queries, table_of
from worker.domain.claim import Claimed, decide
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.dynamodb.batches import put_items
from worker.dynamodb.items import to_item
from worker.dynamodb.queries import Page, Queries
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

IMAGES, USERS, DAYS, PAGE = 300, 5, 5, 7
FIRST_DAY = date(2024, 1, 1)
STATUSES = (ImageStatus.COMPLETED, ImageStatus.COMPLETED, ImageStatus.COMPLETED, ImageStatus.FAILED)

ReadPage = Callable[[str | None], Coroutine[Any, Any, Page]]


def an_image(number: int, *, second: int) -> Image:
    """Return an image of one of the users, uploaded a number of seconds after noon of one of the days."""
    at = after(second) + timedelta(days=number % DAYS)
    job = a_job(f"img_{number:05d}", f"user_{number // DAYS % USERS}", uploaded_at=at)
    decision = decide(None, job, a_claimant())
    assert isinstance(decision, Claimed)
    return replace(decision.image, status=STATUSES[number // 7 % len(STATUSES)], history=())


@dataclass
class FullTable:
    """A table that holds all images."""

    dynamodb: "DynamoDBClient"
    settings: Settings
    images: list[Image]

    @property
    def queries(self) -> Queries:
        return build_queries(self.dynamodb, self.settings)

    async def put(self, images: list[Image]) -> None:
        table = table_of(self.settings)
        items = [to_item(image, table) for image in images]
        await put_items(self.dynamodb, table, RETRY_POLICIES.table, items)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def full(ministack_endpoint: str) -> AsyncIterator[FullTable]:
    settings = unique_settings(ministack_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
        table = FullTable(dynamodb, settings, [an_image(number, second=number) for number in range(IMAGES)])
        await table.put(table.images)
        yield table


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_images_of_each_user_are_listed_once_and_in_order(full: FullTable) -> None:
    for number in range(USERS):
        user_id = f"user_{number}"

        ids = await ids_of_all_pages(
            lambda token, user_id=user_id: full.queries.images_of_user(user_id, limit=PAGE, token=token),  # type: ignore[misc]  # binds the loop variable
            max_page_size=PAGE,
        )

        assert ids == newest_first([image for image in full.images if image.user_id == user_id])


async def test_the_images_of_a_status_are_listed_once_and_in_order(full: FullTable) -> None:
    failed = [image for image in full.images if image.status is ImageStatus.FAILED]

    ids = await ids_of_all_pages(
        lambda token: full.queries.images_by_status(ImageStatus.FAILED, limit=PAGE, token=token),
        max_page_size=PAGE,
    )

    assert ids == newest_first(failed)


async def test_the_images_of_all_days_are_listed_once_and_in_order(full: FullTable) -> None:
    last_day = FIRST_DAY + timedelta(days=DAYS - 1)

    ids = await ids_of_all_pages(
        lambda token: full.queries.recent_images(FIRST_DAY, last_day, limit=PAGE, token=token),
        max_page_size=PAGE,
    )

    assert ids == newest_first(full.images)


async def test_images_added_during_a_listing_hide_and_repeat_none_of_the_others(
    full: FullTable,
) -> None:
    added = [an_image(number, second=number) for number in range(IMAGES, IMAGES + 50)]
    user = [image for image in full.images if image.user_id == "user_3"]
    failed = [image for image in full.images if image.status is ImageStatus.FAILED]
    day = [image for image in full.images if image.created_at.date() == FIRST_DAY]
    before = {image.image_id for image in full.images}

    async def add() -> None:
        for start in range(0, len(added), 5):
            await full.put(added[start : start + 5])

    adding = asyncio.create_task(add())
    listings: list[tuple[ReadPage, list[Image]]] = [
        (lambda token: full.queries.images_of_user("user_3", limit=PAGE, token=token), user),
        (lambda token: full.queries.images_by_status(ImageStatus.FAILED, limit=PAGE, token=token), failed),
        (lambda token: full.queries.recent_images(FIRST_DAY, FIRST_DAY, limit=PAGE, token=token), day),
    ]
    listed = await asyncio.gather(
        *(ids_of_all_pages(read_page, max_page_size=PAGE) for read_page, _ in listings)
    )
    await adding

    for ids, (_, images) in zip(listed, listings, strict=True):
        assert [image_id for image_id in ids if image_id in before] == newest_first(images)
        assert len(ids) == len(set(ids))
