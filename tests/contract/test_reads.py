"""What every table promises to those who ask."""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.builders import NOON, a_claimant, a_job, after
from tests.support.emulators import client, create_table, unique_settings
from tests.support.listing import newest_first, walked
from worker.domain.claim import Claimed, decide
from worker.domain.errors import PageTokenError
from worker.domain.image import Image, ImageSummary
from worker.domain.status import ImageStatus
from worker.dynamodb import batches
from worker.dynamodb.items import to_item
from worker.dynamodb.profiles import profile_from_item, read_profile, set_preferences
from worker.dynamodb.queries import Page, Queries
from worker.dynamodb.retention import set_ttl
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

NOON_S = NOON.timestamp()


@dataclass
class TableUnderTest:
    """A table, and its read side."""

    dynamodb: "DynamoDBClient"
    settings: Settings

    @property
    def queries(self) -> Queries:
        return Queries(
            self.dynamodb,
            table=self.settings.table_name,
            index_shards=self.settings.index_shards,
            now_s=lambda: NOON_S,
        )

    async def store(self, *images: Image) -> None:
        items = [to_item(image, index_shards=self.settings.index_shards) for image in images]
        await batches.put_all(self.dynamodb, self.settings.table_name, items)


@pytest.fixture(params=["ministack", "moto"])
async def table(
    request: pytest.FixtureRequest, ministack_endpoint: str, moto_endpoint: str
) -> AsyncIterator[TableUnderTest]:
    settings = unique_settings(ministack_endpoint if request.param == "ministack" else moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
        yield TableUnderTest(dynamodb, settings)


def an_image(number: int, *, user_id: str = "user_1", status: str = "completed", day: int = 0) -> Image:
    """Return an image that was uploaded so many seconds after noon of a day."""
    at = after(number) + timedelta(days=day)
    answer = decide(None, a_job(f"img_{number:05d}", user_id, uploaded_at=at), a_claimant())
    assert isinstance(answer, Claimed)
    return replace(answer.image, status=ImageStatus(status))


async def test_a_user_s_images_come_newest_first_page_by_page(table: TableUnderTest) -> None:
    images = [an_image(number) for number in range(11)]
    await table.store(*images, an_image(99, user_id="user_2"))

    ids = await walked(lambda token: table.queries.images_of_user("user_1", limit=3, token=token))

    assert ids == newest_first(images)


async def test_a_status_is_listed_over_all_its_shards_in_order(table: TableUnderTest) -> None:
    images = [an_image(number, status="failed") for number in range(23)]
    await table.store(*images, *(an_image(number) for number in range(50, 60)))

    ids = await walked(lambda token: table.queries.images_by_status(ImageStatus.FAILED, limit=4, token=token))

    assert ids == newest_first(images)


async def test_recent_images_go_back_from_day_to_day(table: TableUnderTest) -> None:
    images = [an_image(number, day=number % 3) for number in range(20)]
    await table.store(*images, an_image(90, day=5), an_image(91, day=-1))
    first, last = date(2024, 1, 1), date(2024, 1, 3)

    ids = await walked(lambda token: table.queries.recent_images(first, last, limit=3, token=token))

    assert ids == newest_first(images)


async def test_a_list_shows_what_it_was_promised_to(table: TableUnderTest) -> None:
    image = an_image(1)
    await table.store(image)

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


async def test_a_profile_is_no_image_and_the_page_is_filled_all_the_same(table: TableUnderTest) -> None:
    images = [an_image(number) for number in (1, 2, 5, 6)]
    await table.store(*images)
    await set_preferences(
        table.dynamodb, table.settings.table_name, "user_1", {"watermarkEnabled": False}, now=after(3)
    )

    page = await table.queries.images_of_user("user_1", limit=4)

    assert [image.image_id for image in page.images] == newest_first(images)


async def test_what_is_past_its_ttl_is_gone_from_every_list_although_it_is_present(
    table: TableUnderTest,
) -> None:
    gone = replace(an_image(1), ttl=int(NOON_S))
    kept = replace(an_image(2), ttl=int(NOON_S) + 1)
    await table.store(gone, kept)
    queries = table.queries

    assert await walked(lambda token: queries.images_of_user("user_1", token=token)) == [kept.image_id]
    assert await queries.image(gone.image_id, "user_1", consistent=True) is None
    assert await queries.images_with_id(gone.image_id) == []
    assert await queries.images([(gone.image_id, "user_1"), (kept.image_id, "user_1")]) == [kept]


async def test_retention_is_set_and_cleared_and_needs_an_image(table: TableUnderTest) -> None:
    image = an_image(1)
    await table.store(image)
    name = table.settings.table_name

    assert await set_ttl(table.dynamodb, name, image_id=image.image_id, user_id="user_1", ttl=2_000_000_000)
    (kept,) = await table.queries.images_with_id(image.image_id)
    assert await set_ttl(table.dynamodb, name, image_id=image.image_id, user_id="user_1", ttl=None)
    (cleared,) = await table.queries.images_with_id(image.image_id)
    missing = await set_ttl(table.dynamodb, name, image_id="img_none", user_id="user_1", ttl=None)

    assert (kept.ttl, cleared.ttl, missing) == (2_000_000_000, None, False)


@pytest.mark.parametrize(
    "damage",
    [
        lambda token: token[:-2],
        lambda token: token + "A",
        lambda token: token[:10] + ("A" if token[10] != "A" else "B") + token[11:],
        lambda _: "nonsense",
        lambda _: "",
        lambda _: "é",
    ],
)
async def test_a_damaged_token_is_refused(table: TableUnderTest, damage: Callable[[str], str]) -> None:
    await table.store(*(an_image(number) for number in range(5)))
    page = await table.queries.images_of_user("user_1", limit=2)
    assert page.next_token
    token = damage(page.next_token)

    if token:
        with pytest.raises(PageTokenError):
            await table.queries.images_of_user("user_1", token=token)


async def test_a_token_of_another_query_is_refused(table: TableUnderTest) -> None:
    await table.store(*(an_image(number) for number in range(5)))
    page = await table.queries.images_of_user("user_1", limit=2)

    with pytest.raises(PageTokenError):
        await table.queries.images_of_user("user_2", token=page.next_token)
    with pytest.raises(PageTokenError):
        await table.queries.images_by_status(ImageStatus.COMPLETED, token=page.next_token)


async def test_a_token_survives_a_command_line(table: TableUnderTest) -> None:
    await table.store(*(an_image(number) for number in range(30)))

    page = await table.queries.images_by_status(ImageStatus.COMPLETED, limit=9)

    assert page.next_token
    assert page.next_token.replace("_", "").replace("-", "").isalnum()
    assert not page.next_token.startswith("-")


async def test_images_that_arrive_between_pages_neither_repeat_nor_hide_any(table: TableUnderTest) -> None:
    images = [an_image(number) for number in range(40)]
    await table.store(*images)
    arrivals = iter(range(100, 200))

    async def ask(token: str | None) -> Page:
        page = await table.queries.images_by_status(ImageStatus.COMPLETED, limit=7, token=token)
        await table.store(*(an_image(next(arrivals)) for _ in range(5)))
        return page

    assert await walked(ask) == newest_first(images)


async def test_any_number_of_images_is_read_and_written_in_batches(table: TableUnderTest) -> None:
    images = [an_image(number) for number in range(260)]
    random.Random(1).shuffle(images)
    await table.store(*images)

    found = await table.queries.images(
        [*((image.image_id, "user_1") for image in images), ("img_none", "user_1"), ("img_00001", "user_1")]
    )

    assert sorted(image.image_id for image in found) == sorted(image.image_id for image in images)


async def test_preferences_are_changed_one_by_one_and_the_rest_of_the_profile_stays(
    table: TableUnderTest,
) -> None:
    name = table.settings.table_name
    item = {
        "imageId": "user_profile",
        "userId": "user_1",
        "email": "user@example.com",
        "profile": {"firstName": "John", "preferences": {"defaultImageSize": "small"}},
        "statistics": {"totalImages": 3, "totalStorageUsed": 30},
    }
    await batches.put_all(table.dynamodb, name, [item])

    await set_preferences(table.dynamodb, name, "user_1", {"watermarkText": "John's Photos"}, now=NOON)
    await set_preferences(table.dynamodb, name, "user_1", {"defaultImageSize": None}, now=NOON)

    stored = await read_profile(table.dynamodb, name, "user_1", consistent=True)
    assert stored
    profile = profile_from_item(stored)
    assert (profile.email, profile.personal) == ("user@example.com", {"firstName": "John"})
    assert (profile.preferences.default_image_size, profile.preferences.watermark_text) == (
        None,
        "John's Photos",
    )
    assert profile.statistics.total_images == 3
