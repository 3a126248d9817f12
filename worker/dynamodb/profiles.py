"""Read, cache and change user profiles."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.aws.single_flight import SingleFlightCache
from worker.domain import clock
from worker.domain.errors import TransientError
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.domain.profile import Profile, Statistics, preferences_from
from worker.domain.step import Json
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.conditional_update import Applied, conditional_update, raise_if_item_rejected
from worker.dynamodb.expressions import UpdateExpression
from worker.dynamodb.items import Item
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

T = TypeVar("T")

_MAX_CACHED = 10_000
_MAX_ROUNDS = 20
"""How often a change of preferences is repeated because the profile changed between read and write."""


def profile_from_item(item: Mapping[str, Any]) -> Profile:
    """Return the profile that an item describes; values of an unexpected type count as missing."""
    profile = _value(item, "profile", dict) or {}
    preferences = _value(profile, "preferences", dict) or {}
    statistics = _value(item, "statistics", dict) or {}
    return Profile(
        user_id=item["userId"],
        preferences=preferences_from(preferences),
        statistics=Statistics(
            total_images=_value(statistics, "totalImages", int) or 0,
            total_storage_used=_value(statistics, "totalStorageUsed", int) or 0,
            last_upload_at=_time(statistics, "lastUploadAt"),
        ),
        email=_value(item, "email", str),
        personal={name: value for name, value in profile.items() if name != "preferences"},
        created_at=_time(item, "createdAt"),
        updated_at=_time(item, "updatedAt"),
        ttl=_value(item, "ttl", int),
    )


def _time(values: Mapping[str, Any], name: str) -> datetime | None:
    try:
        return clock.from_text(_value(values, name, str) or "")
    except ValueError:
        return None


def _value(values: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = values.get(name)
    return value if isinstance(value, kind) else None


class ProfileStore:
    """
    Reads and changes profiles in the table.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
    """

    def __init__(self, client: "DynamoDBClient", *, table: Table, retry: RetryPolicy) -> None:
        self._client, self._table, self._retry = client, table, retry

    async def get(self, user_id: str, *, consistent: bool = False) -> Item | None:
        """
        Return a user's profile item; None if there is none or it has expired.

        Raises:
            RecordRejectedError: DynamoDB rejected the key.
            TransientError: The table was unavailable.
        """
        try:
            response = await call_with_retry(
                lambda: self._client.get_item(
                    TableName=self._table.name,
                    Key={"imageId": {"S": PROFILE_IMAGE_ID}, "userId": {"S": user_id}},
                    ConsistentRead=consistent,
                ),
                self._retry,
                what="read the profile",
            )
        except TransientError as error:
            raise_if_item_rejected(error, what="read the profile")
            raise
        item = decode_map(response["Item"]) if "Item" in response else None
        is_expired = item is not None and isinstance(ttl := item.get("ttl"), int) and ttl <= time.time()
        return None if is_expired else item

    async def set_preferences(self, user_id: str, changes: Mapping[str, Json], *, now: datetime) -> Item:
        """
        Change some of a user's preferences; the rest of the profile stays as it is.

        Args:
            user_id: Id of the user; the profile is created if there is none.
            changes: New values by attribute name; None removes the preference.
            now: The current time.

        Returns:
            The profile item after the change.

        Raises:
            TransientError: The table was unavailable, or the profile kept changing.
        """
        for _ in range(_MAX_ROUNDS):
            item = await self.get(user_id, consistent=True) or {}
            stored = item.get("profile")
            profile = _value(item, "profile", dict) or {}
            preferences = {**(_value(profile, "preferences", dict) or {}), **changes}
            for name in [name for name, value in changes.items() if value is None]:
                del preferences[name]
            expression = UpdateExpression()
            expression.set("profile", {**profile, "preferences": preferences})
            expression.set("updatedAt", clock.to_text(now))
            expression.set_if_absent("createdAt", clock.to_text(now))
            expression.require_equal("profile", stored)
            request = expression.request(self._table, image_id=PROFILE_IMAGE_ID, user_id=user_id)
            result = await conditional_update(self._client, request, self._retry, what="write the profile")
            if isinstance(result, Applied):
                return await self.get(user_id, consistent=True) or {}
        message = f"the profile of {user_id} changed {_MAX_ROUNDS} times while it was being updated"
        raise TransientError(message)


class CachedProfiles:
    """
    Reads and caches profiles with eventual consistency; implements `worker.delivery.ports.Profiles`.

    Args:
        store: Reads the profiles.
        cache_s: How old a profile may be, in seconds; 0 reads it each time.
        monotonic: Clock, in seconds.
    """

    def __init__(
        self, store: ProfileStore, *, cache_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._cache = SingleFlightCache[Profile | None](
            self._load, ttl_s=cache_s, max_size=_MAX_CACHED, name="load profile", monotonic=monotonic
        )

    async def get(self, user_id: str) -> Profile | None:
        """
        Return a user's profile, at most `cache_s` old; None if there is none.

        Raises:
            TransientError: The table was unavailable.
        """
        return await self._cache.get(user_id)

    async def close(self) -> None:
        """Wait for the reads in flight."""
        await self._cache.close()

    async def _load(self, user_id: str, _: Profile | None) -> Profile | None:
        item = await self._store.get(user_id)
        return profile_from_item(item) if item else None
