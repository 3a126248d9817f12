"""Users' profiles: the item, and a short-lived cache with one load in flight for each user."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from worker.aws.retry import TABLE, call_with_retry
from worker.domain import clock
from worker.domain.errors import TransientError
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.domain.profile import Preferences, Profile, Statistics
from worker.domain.step import Json
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.items import Item
from worker.dynamodb.writes import Expression, lands

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

_MOST_CACHED = 10_000
_ROUNDS = 20
"""How often a change of preferences looks again when others keep changing the profile."""


def profile_from_item(item: Mapping[str, Any]) -> Profile:
    """Read a profile; whatever is missing or of another type than ours is taken as not said."""
    profile = _said(item, "profile", dict) or {}
    statistics, wishes = _said(item, "statistics", dict) or {}, _said(profile, "preferences", dict) or {}
    return Profile(
        user_id=item["userId"],
        preferences=Preferences(
            default_image_size=_said(wishes, "defaultImageSize", str),
            watermark_enabled=_said(wishes, "watermarkEnabled", bool),
            watermark_text=_said(wishes, "watermarkText", str),
            watermark_image=_said(wishes, "watermarkImage", str),
        ),
        statistics=Statistics(
            total_images=_said(statistics, "totalImages", int) or 0,
            total_storage_used=_said(statistics, "totalStorageUsed", int) or 0,
            last_upload_at=_moment(statistics, "lastUploadAt"),
        ),
        email=_said(item, "email", str),
        personal={name: value for name, value in profile.items() if name != "preferences"},
        created_at=_moment(item, "createdAt"),
        updated_at=_moment(item, "updatedAt"),
        ttl=_said(item, "ttl", int),
    )


def _moment(values: Mapping[str, Any], name: str) -> datetime | None:
    try:
        return clock.from_text(_said(values, name, str) or "")
    except ValueError:
        return None


def _said(values: Mapping[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 - of the given kind
    value = values.get(name)
    return value if isinstance(value, kind) else None


async def read_profile(
    client: "DynamoDBClient", table: str, user_id: str, *, consistent: bool = False
) -> Item | None:
    """
    Return a user's profile item; None when there is none, or its ttl has passed.

    Raises:
        TransientError: The table cannot be reached within its retries.
    """
    answer = await call_with_retry(
        lambda: client.get_item(
            TableName=table,
            Key={"imageId": {"S": PROFILE_IMAGE_ID}, "userId": {"S": user_id}},
            ConsistentRead=consistent,
        ),
        TABLE,
        what="read the profile",
    )
    item = decode_map(answer["Item"]) if "Item" in answer else None
    is_gone = item is not None and isinstance(ttl := item.get("ttl"), int) and ttl <= time.time()
    return None if is_gone else item


async def set_preferences(
    client: "DynamoDBClient", table: str, user_id: str, changes: Mapping[str, Json], *, now: datetime
) -> Item:
    """
    Change some of a user's preferences, and leave everything else of the profile as it is.

    Args:
        client: Of DynamoDB.
        table: The table's name.
        user_id: The user, who may be new.
        changes: Preferences by their attribute names; None takes one back.
        now: The present moment.

    Returns:
        The profile item after the change.

    Raises:
        TransientError: The table cannot be reached, or others keep changing the profile.
    """
    for _ in range(_ROUNDS):
        item = await read_profile(client, table, user_id, consistent=True) or {}
        before = item.get("profile")
        profile = _said(item, "profile", dict) or {}
        preferences = {**(_said(profile, "preferences", dict) or {}), **changes}
        kept = {name: value for name, value in preferences.items() if value is not None}
        after: Json = {**profile, "preferences": kept}
        expression = Expression()
        expression.set("profile", after)
        expression.set("updatedAt", clock.to_text(now))
        expression.set_if_absent("createdAt", clock.to_text(now))
        expression.require_equal("profile", before)
        request = expression.request(table=table, image_id=PROFILE_IMAGE_ID, user_id=user_id)
        if await lands(client, request, what="write the profile"):
            return await read_profile(client, table, user_id, consistent=True) or {}
    message = f"the profile of {user_id} kept changing"
    raise TransientError(message)


class CachedProfiles:
    """
    The profiles of `worker.delivery.ports`, read eventually consistent.

    Args:
        client: Of DynamoDB.
        table: The table's name.
        cache_s: How old an answer may be; 0 reads each time.
        monotonic: Seconds that never run backwards.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        table: str,
        cache_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._table = client, table
        self._cache_s, self._monotonic = cache_s, monotonic
        self._cached: OrderedDict[str, tuple[float, Profile | None]] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Profile | None]] = {}

    async def get(self, user_id: str) -> Profile | None:
        """
        Return the user's profile, at most `cache_s` old; None when there is none.

        Raises:
            TransientError: The table cannot be reached within its retries.
        """
        loaded_at, profile = self._cached.get(user_id, (float("-inf"), None))
        if self._monotonic() - loaded_at < self._cache_s:
            self._cached.move_to_end(user_id)
            return profile
        loading = self._loading.get(user_id)
        if loading is None:
            loading = asyncio.create_task(self._load(user_id), name=f"load profile {user_id}")
            self._loading[user_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(user_id))
        # Shielded: one waiter's cancellation is not the others'.
        return await asyncio.shield(loading)

    async def close(self) -> None:
        """Wait for the loads that are under way."""
        while self._loading:
            await asyncio.wait(self._loading.values())

    async def _load(self, user_id: str) -> Profile | None:
        item = await read_profile(self._client, self._table, user_id)
        profile = profile_from_item(item) if item else None
        self._cached[user_id] = (self._monotonic(), profile)
        if len(self._cached) > _MOST_CACHED:
            self._cached.popitem(last=False)
        return profile
