"""
Settling images together with their owner's statistics.

The image's last transition and the owner's statistics go in one transaction, so the count can neither be
missed nor repeated. What arrives for one user while a transaction of that user is in flight gathers and
goes together in the next: hundreds of completions a second of one user cost a few writes of the profile.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from worker.aws.batcher import Batcher
from worker.aws.errors import CONDITION_FAILED_REASON, cancellation_reasons
from worker.aws.retry import TABLE, call_with_retry
from worker.domain import clock
from worker.domain.errors import LeaseLostError, TransientError
from worker.domain.image import Image
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.domain.status import ImageStatus
from worker.dynamodb import writes
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.items import from_item

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import TransactWriteItemTypeDef, UpdateTypeDef

_MOST_TOGETHER = 50
"""Images in one transaction: half of what DynamoDB takes, so that a conflict throws less away."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Settlement:
    """An image's last transition: the states before and after it."""

    before: Image
    after: Image

    @property
    def images(self) -> int:
        """By how many the owner's completed images change."""
        return (self.after.counted_bytes is not None) - (self.before.counted_bytes is not None)

    @property
    def size_bytes(self) -> int:
        """By how much the owner's storage changes."""
        return (self.after.counted_bytes or 0) - (self.before.counted_bytes or 0)


class _Statistics(Enum):
    """What is known of a user's statistics, which decides how they are written."""

    ABSENT = auto()
    OLDER = auto()  # than this batch's uploads: lastUploadAt moves forward
    NEWER = auto()  # lastUploadAt stays


class StatisticsWriter:
    """
    Gathers settlements by user, one transaction in flight for each.

    Args:
        client: Of DynamoDB.
        table: The table's name.
        index_shards: Key values that a status or a day is spread over.
    """

    def __init__(self, client: "DynamoDBClient", *, table: str, index_shards: int) -> None:
        self._client, self._table, self._index_shards = client, table, index_shards
        self._gatherers: dict[str, Batcher[Settlement]] = {}

    async def settle(self, settlement: Settlement) -> None:
        """
        Write the settlement, together with others of the same user that come at the same time.

        Raises:
            LeaseLostError: The image is no longer held.
            TransientError: The table cannot be reached within its retries.
        """
        user_id = settlement.after.user_id
        batcher = self._gatherers.get(user_id)
        if batcher is None:
            batcher = Batcher(self._write_batch, max_entries=_MOST_TOGETHER, name=f"tally {user_id}")
            self._gatherers[user_id] = batcher
        try:
            await batcher.submit(settlement)
        finally:
            if batcher.is_idle and self._gatherers.get(user_id) is batcher:
                del self._gatherers[user_id]

    async def close(self) -> None:
        """Wait for the transactions in flight."""
        for batcher in list(self._gatherers.values()):
            await batcher.close()

    async def _write_batch(self, batch: Sequence[Settlement]) -> Sequence[Exception | None]:
        """Write all that can be written; an image that was lost, or had landed before, drops out."""
        results: dict[Settlement, Exception | None] = {}
        statistics = _Statistics.OLDER
        remaining = {settlement: settlement for settlement in batch}
        while remaining:
            try:
                await self._transact(list(remaining.values()), statistics)
            except ClientError as cancelled:
                *of_images, of_profile = reasons = cancellation_reasons(cancelled)
                refused = [
                    (settlement, reason.get("Item"))
                    for settlement, reason in zip(list(remaining), of_images, strict=True)
                    if reason.get("Code") == CONDITION_FAILED_REASON
                ]
                for settlement, item in refused:
                    verdict = _why_refused(remaining.pop(settlement), item)
                    if isinstance(verdict, Settlement):
                        remaining[settlement] = verdict
                    else:
                        results[settlement] = verdict
                if of_profile.get("Code") == CONDITION_FAILED_REASON:
                    statistics = _as_found(of_profile.get("Item"), _last_upload(list(remaining)))
                elif not refused:
                    codes = sorted({str(reason.get("Code")) for reason in reasons} - {"None"})
                    message = f"could not settle the images of {batch[0].after.user_id}: {', '.join(codes)}"
                    raise TransientError(message) from cancelled
            else:
                break
        return [results.get(settlement) for settlement in batch]

    async def _transact(self, batch: Sequence[Settlement], statistics: _Statistics) -> None:
        items: list[TransactWriteItemTypeDef] = [{"Update": self._update(settlement)} for settlement in batch]
        items.append({"Update": self._statistics_update(batch, statistics)})
        # One token for all attempts at this request, so that one whose first answer was lost counts once.
        token = secrets.token_hex(16)
        await call_with_retry(
            lambda: self._client.transact_write_items(TransactItems=items, ClientRequestToken=token),
            TABLE,
            what="settle the image",
        )

    def _update(self, settlement: Settlement) -> "UpdateTypeDef":
        return writes.continuing(
            settlement.before, settlement.after, table=self._table, index_shards=self._index_shards
        )

    def _statistics_update(self, batch: Sequence[Settlement], statistics: _Statistics) -> "UpdateTypeDef":
        images = sum(settlement.images for settlement in batch)
        size_bytes = sum(settlement.size_bytes for settlement in batch)
        now = clock.to_text(max(settlement.after.updated_at for settlement in batch))
        last_upload = _last_upload(batch)
        expression = writes.Expression()
        expression.set("updatedAt", now)
        if statistics is _Statistics.ABSENT:
            expression.set_if_absent("createdAt", now)
            counted: dict[str, Any] = {"totalImages": images, "totalStorageUsed": size_bytes}
            if last_upload:
                counted["lastUploadAt"] = clock.to_text(last_upload)
            expression.set("statistics", counted)
            expression.require_equal("statistics", None)
        else:
            expression.increase("statistics.totalImages", images)
            expression.increase("statistics.totalStorageUsed", size_bytes)
            expression.require(f"attribute_exists({expression.name('statistics')})")
            if statistics is _Statistics.OLDER and last_upload:
                path = expression.name("statistics.lastUploadAt")
                at = expression.value(clock.to_text(last_upload))
                expression.set("statistics.lastUploadAt", clock.to_text(last_upload))
                expression.require(f"(attribute_not_exists({path}) OR {path} < {at})")
        return expression.request(
            table=self._table, image_id=PROFILE_IMAGE_ID, user_id=batch[0].after.user_id
        )


def _last_upload(batch: Sequence[Settlement]) -> datetime | None:
    uploads = [one.after.created_at for one in batch if one.after.status is ImageStatus.COMPLETED]
    return max(uploads, default=None)


def _why_refused(
    settlement: Settlement, item: Mapping[str, Any] | None
) -> Settlement | LeaseLostError | None:
    """
    Say what a refused settlement means.

    Returns:
        None: it had landed, and only its answer was lost. A settlement: a part of it had, and this is the
        rest. An error: the image is another's.
    """
    before, after = settlement.before, settlement.after
    if item:
        stored = from_item(decode_map(item))
        if writes.has_landed(stored, before, after):
            return None
        resumed = writes.resumed(stored, before, after)
        if resumed is not None:
            return replace(settlement, before=resumed)
    return LeaseLostError(image_id=before.image_id, attempt=before.attempt)


def _as_found(profile: Mapping[str, Any] | None, last_upload: datetime | None) -> _Statistics:
    statistics: Any = decode_map(profile).get("statistics") if profile else None
    if statistics is None:
        return _Statistics.ABSENT
    is_older = last_upload and statistics.get("lastUploadAt", "") < clock.to_text(last_upload)
    return _Statistics.OLDER if is_older else _Statistics.NEWER
