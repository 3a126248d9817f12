import asyncio
from typing import Any

import pytest

from tests.support.builders import NOON, after
from worker.aws.retry import RetryPolicy
from worker.domain.errors import TransientError
from worker.domain.profile import Preferences, Profile, Statistics
from worker.dynamodb import profiles as profiles_module
from worker.dynamodb.attributes import encode_map
from worker.dynamodb.profiles import CachedProfiles, profile_from_item

ITEM: dict[str, Any] = {
    "imageId": "user_profile",
    "userId": "user_1",
    "email": "user@example.com",
    "profile": {
        "firstName": "John",
        "lastName": "Doe",
        "avatar": "avatars/user_1.jpg",
        "preferences": {
            "defaultImageSize": "medium",
            "watermarkEnabled": True,
            "watermarkText": "John's Photos",
        },
    },
    "statistics": {
        "totalImages": 150,
        "totalStorageUsed": 1_073_741_824,
        "lastUploadAt": "2024-01-01T12:00:00Z",
    },
    "createdAt": "2024-01-01T12:00:01Z",
    "updatedAt": "2024-01-01T12:00:02Z",
    "ttl": 1_735_689_600,
}
"""The example in dynamodb.md."""

LIVING = ITEM | {"ttl": 2**40}
"""A profile whose ttl is in a future that no clock of a test reaches."""


def test_the_profile_of_the_document_is_read() -> None:
    assert profile_from_item(ITEM) == Profile(
        user_id="user_1",
        preferences=Preferences(
            default_image_size="medium", watermark_enabled=True, watermark_text="John's Photos"
        ),
        statistics=Statistics(total_images=150, total_storage_used=1_073_741_824, last_upload_at=NOON),
        email="user@example.com",
        personal={"firstName": "John", "lastName": "Doe", "avatar": "avatars/user_1.jpg"},
        created_at=after(1),
        updated_at=after(2),
        ttl=1_735_689_600,
    )


def test_a_profile_that_only_the_statistics_made_is_read() -> None:
    item = {name: ITEM[name] for name in ("imageId", "userId", "statistics")}

    assert profile_from_item(item) == Profile(
        user_id="user_1",
        statistics=Statistics(total_images=150, total_storage_used=1_073_741_824, last_upload_at=NOON),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("profile", None),
        ("profile", "John"),
        ("profile", {"preferences": None}),
        ("profile", {"preferences": "none"}),
        ("profile", {"preferences": []}),
        ("profile", {"preferences": {"defaultImageSize": 7, "watermarkEnabled": "yes", "watermarkText": []}}),
    ],
    ids=["null profile", "text", "null preferences", "text preferences", "list preferences", "other types"],
)
def test_wishes_of_another_type_than_ours_are_taken_as_not_said(name: str, value: object) -> None:
    assert profile_from_item(ITEM | {name: value}).preferences == Preferences()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statistics", None),
        ("statistics", "none"),
        ("statistics", {"lastUploadAt": "yesterday"}),
        ("statistics", {"lastUploadAt": 7}),
    ],
    ids=["null", "text", "no moment", "a number"],
)
def test_statistics_of_another_type_than_ours_are_taken_as_not_said(name: str, value: object) -> None:
    assert profile_from_item(ITEM | {name: value}).statistics == Statistics()


@pytest.mark.parametrize("name", ["createdAt", "updatedAt"])
@pytest.mark.parametrize("value", [None, "yesterday", 1_704_110_400])
def test_moments_of_another_form_than_ours_are_taken_as_not_said(name: str, value: object) -> None:
    profile = profile_from_item(ITEM | {name: value})

    assert (profile.created_at if name == "createdAt" else profile.updated_at) is None


class Table:
    """A client of DynamoDB that holds one profile and can keep its readers waiting."""

    def __init__(self) -> None:
        self.item: dict[str, Any] | None = LIVING
        self.keys: list[Any] = []
        self.open = asyncio.Event()
        self.open.set()
        self.errors: list[Exception] = []

    async def get_item(self, *, TableName: str, Key: Any, **_: Any) -> dict[str, Any]:  # noqa: ANN401, N803
        assert TableName == "table"
        self.keys.append(Key)
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        return {"Item": encode_map(self.item)} if self.item else {}


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def a_cache(table: Table, seconds: Seconds | None = None, *, cache_s: float = 60) -> CachedProfiles:
    return CachedProfiles(
        table,  # type: ignore[arg-type]
        table="table",
        cache_s=cache_s,
        monotonic=seconds or Seconds(),
    )


async def test_a_profile_is_read_by_its_reserved_id() -> None:
    table = Table()

    profile = await a_cache(table).get("user_1")

    assert profile == profile_from_item(LIVING)
    assert table.keys == [{"imageId": {"S": "user_profile"}, "userId": {"S": "user_1"}}]


async def test_a_user_without_profile_has_none_and_is_not_asked_for_again_soon() -> None:
    table = Table()
    table.item = None
    cache = a_cache(table)

    assert [await cache.get("user_1"), await cache.get("user_1")] == [None, None]
    assert len(table.keys) == 1


async def test_a_profile_past_its_ttl_is_gone_although_the_table_still_holds_it() -> None:
    table = Table()
    table.item = ITEM

    assert await a_cache(table).get("user_1") is None


@pytest.mark.parametrize(("age_s", "reads"), [(0, 1), (59.9, 1), (60, 2), (3600, 2)])
async def test_an_answer_is_used_for_as_long_as_it_may_be_old(age_s: float, reads: int) -> None:
    table, seconds = Table(), Seconds()
    cache = a_cache(table, seconds)
    await cache.get("user_1")

    seconds.now += age_s
    await cache.get("user_1")

    assert len(table.keys) == reads


async def test_without_a_cache_each_profile_is_read_each_time() -> None:
    table = Table()
    cache = a_cache(table, cache_s=0)

    await cache.get("user_1")
    await cache.get("user_1")

    assert len(table.keys) == 2


async def test_those_who_ask_at_the_same_time_share_one_read_of_each_user() -> None:
    table = Table()
    cache = a_cache(table)

    await asyncio.gather(*(cache.get(f"user_{number % 2}") for number in range(10)))

    assert len(table.keys) == 2


async def test_one_who_asks_no_longer_does_not_take_the_answer_from_the_others() -> None:
    table = Table()
    table.open.clear()
    cache = a_cache(table)
    first, second = (asyncio.create_task(cache.get("user_1")) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.wait([first])
    table.open.set()

    assert await second == profile_from_item(LIVING)
    assert len(table.keys) == 1


async def test_a_read_that_failed_fails_for_all_who_share_it_and_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        profiles_module, "TABLE", RetryPolicy(attempts=2, timeout_s=9, attempt_timeout_s=9, wait_initial_s=0)
    )
    table = Table()
    table.errors = [ConnectionResetError(), ConnectionResetError()]
    cache = a_cache(table)

    results = await asyncio.gather(*(cache.get("user_1") for _ in range(3)), return_exceptions=True)

    assert {type(result) for result in results} == {TransientError}
    assert await cache.get("user_1") == profile_from_item(LIVING)


async def test_closing_waits_for_the_reads_that_are_under_way() -> None:
    table = Table()
    table.open.clear()
    cache = a_cache(table)
    asking = asyncio.create_task(cache.get("user_1"))
    await asyncio.sleep(0)

    closing = asyncio.create_task(cache.close())
    await asyncio.sleep(0)
    closed_early = closing.done()
    table.open.set()
    await closing

    assert not closed_early
    assert await asking == profile_from_item(LIVING)


async def test_the_cache_drops_the_user_who_was_asked_for_longest_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profiles_module, "_MOST_CACHED", 2)
    table = Table()
    cache = a_cache(table)

    for user in ("a", "b", "a", "c", "a", "b"):
        await cache.get(user)

    assert [key["userId"]["S"] for key in table.keys] == ["a", "b", "c", "b"]
