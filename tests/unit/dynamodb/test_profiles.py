import asyncio
from typing import Any

import pytest

from tests.support.builders import NOON, after
from worker.aws.retry import RetryPolicy
from worker.domain.errors import TransientError
from worker.domain.profile import Preferences, Profile, Statistics
from worker.dynamodb.attributes import encode_map
from worker.dynamodb.profiles import CachedProfiles, ProfileStore, profile_from_item
from worker.dynamodb.table import Table

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

UNEXPIRED = ITEM | {"ttl": 2**40}


def test_the_example_is_read() -> None:
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


def test_a_profile_with_statistics_only_is_read() -> None:
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
def test_preferences_of_an_unexpected_type_count_as_missing(name: str, value: object) -> None:
    assert profile_from_item(ITEM | {name: value}).preferences == Preferences()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statistics", None),
        ("statistics", "none"),
        ("statistics", {"lastUploadAt": "yesterday"}),
        ("statistics", {"lastUploadAt": 7}),
    ],
    ids=["null", "text", "not a time", "a number"],
)
def test_statistics_of_an_unexpected_type_count_as_missing(name: str, value: object) -> None:
    assert profile_from_item(ITEM | {name: value}).statistics == Statistics()


@pytest.mark.parametrize("name", ["createdAt", "updatedAt"])
@pytest.mark.parametrize("value", [None, "yesterday", 1_704_110_400])
def test_times_in_an_unexpected_form_count_as_missing(name: str, value: object) -> None:
    profile = profile_from_item(ITEM | {name: value})

    assert (profile.created_at if name == "createdAt" else profile.updated_at) is None


class FakeTable:
    """A DynamoDB client with one profile; its reads can be made to wait or to fail."""

    def __init__(self) -> None:
        self.item: dict[str, Any] | None = UNEXPIRED
        self.keys: list[Any] = []
        self.open = asyncio.Event()
        self.open.set()
        self.errors: list[Exception] = []

    async def get_item(self, *, TableName: str, Key: Any, **_: Any) -> dict[str, Any]:
        assert TableName == "table"
        self.keys.append(Key)
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        return {"Item": encode_map(self.item)} if self.item else {}


def a_cache(table: Any, *, cache_s: float = 60) -> CachedProfiles:
    retry = RetryPolicy(attempts=2, timeout_s=9, wait_initial_s=0)
    store = ProfileStore(table, table=Table("table", index_shards=8), retry=retry)
    return CachedProfiles(store, cache_s=cache_s, monotonic=lambda: 1000.0)


async def test_a_profile_is_read_by_its_reserved_id() -> None:
    table = FakeTable()

    profile = await a_cache(table).get("user_1")

    assert profile == profile_from_item(UNEXPIRED)
    assert table.keys == [{"imageId": {"S": "user_profile"}, "userId": {"S": "user_1"}}]


async def test_a_missing_profile_is_cached_too() -> None:
    table = FakeTable()
    table.item = None
    cache = a_cache(table)

    assert [await cache.get("user_1"), await cache.get("user_1")] == [None, None]
    assert len(table.keys) == 1


async def test_an_expired_profile_counts_as_missing() -> None:
    table = FakeTable()
    table.item = ITEM

    assert await a_cache(table).get("user_1") is None


async def test_with_a_cache_of_0_seconds_each_request_reads_the_table() -> None:
    table = FakeTable()
    cache = a_cache(table, cache_s=0)

    await cache.get("user_1")
    await cache.get("user_1")

    assert len(table.keys) == 2


async def test_concurrent_requests_share_one_read_for_each_user() -> None:
    table = FakeTable()
    cache = a_cache(table)

    await asyncio.gather(*(cache.get(f"user_{number % 2}") for number in range(10)))

    assert len(table.keys) == 2


async def test_a_failed_read_is_not_cached() -> None:
    table = FakeTable()
    table.errors = [ConnectionResetError(), ConnectionResetError()]
    cache = a_cache(table)

    results = await asyncio.gather(*(cache.get("user_1") for _ in range(3)), return_exceptions=True)

    assert {type(result) for result in results} == {TransientError}
    assert await cache.get("user_1") == profile_from_item(UNEXPIRED)


async def test_closing_waits_for_the_reads_in_flight() -> None:
    table = FakeTable()
    table.open.clear()
    cache = a_cache(table)
    request = asyncio.create_task(cache.get("user_1"))
    await asyncio.sleep(0)

    closing = asyncio.create_task(cache.close())
    await asyncio.sleep(0)
    closed_early = closing.done()
    table.open.set()
    await closing

    assert not closed_early
    assert await request == profile_from_item(UNEXPIRED)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("watermarkText", "x" * 70_000, "it has 70,000 characters, above the limit of 200"),
        ("watermarkText", "two\nlines", "it contains a control character or a line break"),
        ("watermarkText", "\x1b[31mred", "it contains a control character or a line break"),
        ("watermarkText", "two\u2028lines", "it contains a control character or a line break"),
        ("watermarkText", 7, "it is not text"),
        ("watermarkImage", "k" * 1100, "it has 1,100 characters, above the limit of 1,024"),
        ("watermarkImage", ["logo.png"], "it is not text"),
        ("watermarkEnabled", "yes", "it is neither true nor false"),
        ("defaultImageSize", "s" * 201, "it has 201 characters, above the limit of 200"),
    ],
    ids=[
        "long text",
        "line break",
        "escape",
        "line separator",
        "number as text",
        "long logo key",
        "list",
        "text as switch",
        "long size",
    ],
)
def test_an_unusable_preference_is_ignored_with_the_reason(name: str, value: object, reason: str) -> None:
    preferences = profile_from_item(ITEM | {"profile": {"preferences": {name: value}}}).preferences

    assert (preferences, preferences.ignored) == (Preferences(), {name: reason})
