"""Reads of the table, against every emulator."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.builders import NOON, a_claimant, a_job, after
from tests.support.emulators import client, create_table, unique_settings
from tests.support.listing import ids_of_all_pages, newest_first
from worker.bootstrap import RETRY_POLICIES, build_profile_store, table_of
from worker.domain.claim import Claimed, decide
from worker.domain.errors import PageTokenError
from worker.domain.image import Image, ImageSummary
from worker.domain.status import ImageStatus
from worker.dynamodb.batches import put_items
from worker.dynamodb.items import Item, to_item
from worker.dynamodb.profiles import ProfileStore, profile_from_item
from worker.dynamodb.queries import Page, Queries
from worker.dynamodb.table import Table
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

NOON_S = NOON.timestamp()


@dataclass
class TableUnderTest:
    """A table in an emulator, and the adapters that read it."""

    dynamodb: "DynamoDBClient"
    settings: Settings

    @property
    def table(self) -> Table:
        return table_of(self.settings)

    @property
    def queries(self) -> Queries:
        return Queries(self.dynamodb, table=self.table, retry=RETRY_POLICIES.table, now_s=lambda: NOON_S)

    @property
    def profiles(self) -> ProfileStore:
        return build_profile_store(self.dynamodb, self.settings)

    async def put_images(self, *images: Image) -> None:
        await self.put_items(*(to_item(image, self.table) for image in images))

    async def put_items(self, *items: Item) -> None:
        await put_items(self.dynamodb, self.table, RETRY_POLICIES.table, items)


@pytest.fixture(params=["ministack", "moto"])
async def table(
    request: pytest.FixtureRequest, ministack_endpoint: str, moto_endpoint: str
) -> AsyncIterator[TableUnderTest]:
    settings = unique_settings(ministack_endpoint if request.param == "ministack" else moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
        yield TableUnderTest(dynamodb, settings)


def an_image(number: int, *, user_id: str = "user_1", status: str = "completed", day: int = 0) -> Image:
    """Return an image uploaded a number of seconds after noon of a day."""
    at = after(number) + timedelta(days=day)
    decision = decide(None, a_job(f"img_{number:05d}", user_id, uploaded_at=at), a_claimant())
    assert isinstance(decision, Claimed)
    return replace(decision.image, status=ImageStatus(status))


async def test_a_user_s_images_come_newest_first_page_by_page(table: TableUnderTest) -> None:
    images = [an_image(number) for number in range(11)]
    await table.put_images(*images, an_image(99, user_id="user_2"))

    ids = await ids_of_all_pages(lambda token: table.queries.images_of_user("user_1", limit=3, token=token))

    assert ids == newest_first(images)


async def test_the_images_of_a_status_come_newest_first_across_shards(table: TableUnderTest) -> None:
    images = [an_image(number, status="failed") for number in range(23)]
    await table.put_images(*images, *(an_image(number) for number in range(50, 60)))

    ids = await ids_of_all_pages(
        lambda token: table.queries.images_by_status(ImageStatus.FAILED, limit=4, token=token)
    )

    assert ids == newest_first(images)


async def test_recent_images_come_newest_first_across_days(table: TableUnderTest) -> None:
    images = [an_image(number, day=number % 3) for number in range(20)]
    await table.put_images(*images, an_image(90, day=5), an_image(91, day=-1))
    first, last = date(2024, 1, 1), date(2024, 1, 3)

    ids = await ids_of_all_pages(lambda token: table.queries.recent_images(first, last, limit=3, token=token))

    assert ids == newest_first(images)


async def test_a_page_holds_summaries(table: TableUnderTest) -> None:
    image = an_image(1)
    await table.put_images(image)

    page = await table.queries.images_of_user("user_1")

    assert page == Page(
        images=(
            ImageSummary(
                image_id="img_00001",
                user_id="user_1",
                status=ImageStatus.COMPLETED,
                created_at=image.created_at,
                processed_at=None,
                file_name="img_00001.jpg",
                file_size=image.file_size,
                key=image.key,
                processed_key=None,
                ttl=None,
            ),
        ),
        next_token=None,
    )


async def test_a_page_leaves_out_the_profile_and_is_filled_nevertheless(table: TableUnderTest) -> None:
    images = [an_image(number) for number in (1, 2, 5, 6)]
    await table.put_images(*images)
    await table.profiles.set_preferences("user_1", {"watermarkEnabled": False}, now=after(3))

    page = await table.queries.images_of_user("user_1", limit=4)

    assert [image.image_id for image in page.images] == newest_first(images)


async def test_an_expired_image_is_in_no_result_even_if_it_is_still_stored(
    table: TableUnderTest,
) -> None:
    expired = replace(an_image(1), ttl=int(NOON_S))
    kept = replace(an_image(2), ttl=int(NOON_S) + 1)
    await table.put_images(expired, kept)
    queries = table.queries

    assert await ids_of_all_pages(lambda token: queries.images_of_user("user_1", token=token)) == [
        kept.image_id
    ]
    assert await queries.image(expired.image_id, "user_1", consistent=True) is None
    assert await queries.images_with_id(expired.image_id) == []
    assert await queries.images([(expired.image_id, "user_1"), (kept.image_id, "user_1")]) == [kept]


async def test_a_damaged_token_is_rejected(table: TableUnderTest) -> None:
    await table.put_images(*(an_image(number) for number in range(5)))
    page = await table.queries.images_of_user("user_1", limit=2)
    token = page.next_token
    assert token

    changed = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
    for damaged in (token[:-2], token + "A", changed, "nonsense", "\u00e9"):
        with pytest.raises(PageTokenError):
            await table.queries.images_of_user("user_1", token=damaged)


async def test_a_token_of_another_query_is_rejected(table: TableUnderTest) -> None:
    await table.put_images(*(an_image(number) for number in range(5)))
    page = await table.queries.images_of_user("user_1", limit=2)

    with pytest.raises(PageTokenError):
        await table.queries.images_of_user("user_2", token=page.next_token)
    with pytest.raises(PageTokenError):
        await table.queries.images_by_status(ImageStatus.COMPLETED, token=page.next_token)


async def test_a_token_is_safe_on_a_command_line(table: TableUnderTest) -> None:
    await table.put_images(*(an_image(number) for number in range(30)))

    page = await table.queries.images_by_status(ImageStatus.COMPLETED, limit=9)

    assert page.next_token
    assert page.next_token.replace("_", "").replace("-", "").isalnum()
    assert not page.next_token.startswith("-")


async def test_images_added_between_pages_neither_repeat_nor_hide_others(table: TableUnderTest) -> None:
    images = [an_image(number) for number in range(40)]
    await table.put_images(*images)
    arrivals = iter(range(100, 200))

    async def read(token: str | None) -> Page:
        page = await table.queries.images_by_status(ImageStatus.COMPLETED, limit=7, token=token)
        await table.put_images(*(an_image(next(arrivals)) for _ in range(5)))
        return page

    assert await ids_of_all_pages(read) == newest_first(images)


async def test_many_images_are_written_and_read_in_batches(table: TableUnderTest) -> None:
    images = [an_image(number) for number in range(130)]
    random.Random(1).shuffle(images)
    await table.put_images(*images)

    images_read = await table.queries.images(
        [*((image.image_id, "user_1") for image in images), ("img_none", "user_1"), ("img_00001", "user_1")]
    )

    assert sorted(image.image_id for image in images_read) == sorted(image.image_id for image in images)


async def test_changing_preferences_leaves_the_rest_of_the_profile_as_it_is(
    table: TableUnderTest,
) -> None:
    item: Item = {
        "imageId": "user_profile",
        "userId": "user_1",
        "email": "user@example.com",
        "profile": {"firstName": "John", "preferences": {"defaultImageSize": "small"}},
        "statistics": {"totalImages": 3, "totalStorageUsed": 30},
    }
    await table.put_items(item)

    await table.profiles.set_preferences("user_1", {"watermarkText": "John's Photos"}, now=NOON)
    await table.profiles.set_preferences("user_1", {"defaultImageSize": None}, now=NOON)

    stored = await table.profiles.get("user_1", consistent=True)
    assert stored
    profile = profile_from_item(stored)
    assert (profile.email, profile.personal) == ("user@example.com", {"firstName": "John"})
    assert (profile.preferences.default_image_size, profile.preferences.watermark_text) == (
        None,
        "John's Photos",
    )
    assert profile.statistics.total_images == 3
