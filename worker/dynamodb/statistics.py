"""
Write the end of an attempt together with the owner's statistics.

Both are written in one transaction, so that an image is counted exactly once. While a transaction of a user
is in flight, further settlements of that user wait and are batched into the next one: hundreds of completed
images a second cost a few writes of the user's profile.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from worker.aws.batcher import Batcher
from worker.aws.errors import (
    CONDITION_FAILED_REASON,
    ITEM_REJECTED_REASONS,
    CancellationReason,
    cancellation_reasons,
)
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain import clock
from worker.domain.errors import ImageWorkerError, LeaseLostError, RecordRejectedError, TransientError
from worker.domain.image import Image
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.domain.status import ImageStatus
from worker.dynamodb.conditional_update import Rejected, raise_if_item_rejected
from worker.dynamodb.expressions import UpdateExpression
from worker.dynamodb.image_updates import progress_update, resume_from
from worker.dynamodb.items import Item
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import TransactWriteItemTypeDef, UpdateTypeDef

_MAX_BATCH = 50
"""Images in one transaction: half of what DynamoDB accepts, so that a conflict wastes less."""

_WHAT = "settle the image"

_MAX_ROUNDS = 20
"""How often a batch is written again because an image or the statistics had changed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Settlement:
    """
    The states of an image before and after the end of an attempt.

    Attributes:
        before: The image before it.
        after: The image after it.
        counted_before: Bytes that the statistics contain for the image so far; None if it is not counted. It
            differs from what `before` counts for if a deleted record of the image was counted.
    """

    before: Image
    after: Image
    counted_before: int | None

    @property
    def images_delta(self) -> int:
        """Change in the number of the owner's completed images: -1, 0 or 1."""
        return (self.after.counted_bytes is not None) - (self.counted_before is not None)

    @property
    def bytes_delta(self) -> int:
        """Change in the owner's storage in bytes."""
        return (self.after.counted_bytes or 0) - (self.counted_before or 0)


class _Assumption(Enum):
    """Assumption about a user's stored statistics; their update is conditional on it."""

    ABSENT = auto()  # there are none: create them
    OLDER = auto()  # the last upload is older than the batch's: move it forward
    NEWER = auto()  # the last upload is newer than the batch's: keep it


@dataclass(frozen=True, slots=True)
class _Cancelled:
    """
    A transaction that was cancelled.

    Attributes:
        images: For each image, in order, the rejection of its update; None if its condition held.
        statistics: The same for the statistics.
        codes: The codes of all reasons.
    """

    images: Sequence[Rejected | None]
    statistics: Rejected | None
    codes: Sequence[str]

    @classmethod
    def from_error(cls, error: ClientError) -> "_Cancelled":
        reasons = cancellation_reasons(error)
        *images, statistics = map(_rejection, reasons)
        return cls(images, statistics, sorted({str(reason.get("Code")) for reason in reasons} - {"None"}))


def _rejection(reason: CancellationReason) -> Rejected | None:
    is_rejected = reason.get("Code") == CONDITION_FAILED_REASON
    return Rejected.from_attributes(reason.get("Item")) if is_rejected else None


def _raise_if_invalid(error: ClientError) -> None:
    """Raise `RecordRejectedError` if DynamoDB rejected the content of an item."""
    for reason in cancellation_reasons(error):
        if reason.get("Code") in ITEM_REJECTED_REASONS:
            raise RecordRejectedError(what=_WHAT, reason=reason.get("Message", reason["Code"])) from error


class StatisticsWriter:
    """
    Batches settlements by user, with one transaction in flight for each.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
    """

    def __init__(self, client: "DynamoDBClient", *, table: Table, retry: RetryPolicy) -> None:
        self._client, self._table, self._retry = client, table, retry
        self._batchers: dict[str, Batcher[Settlement]] = {}

    async def settle(self, settlement: Settlement) -> None:
        """
        Write a settlement, batched with others of the same user.

        Raises:
            LeaseLostError: The lease is no longer held.
            RecordRejectedError: DynamoDB rejected the content of the image or of the statistics.
            TransientError: The table was unavailable.
        """
        user_id = settlement.after.user_id
        batcher = self._batchers.get(user_id)
        if batcher is None:
            batcher = Batcher(self._write_batch, max_entries=_MAX_BATCH, name=f"statistics {user_id}")
            self._batchers[user_id] = batcher
        try:
            await batcher.submit(settlement)
        finally:
            if batcher.is_idle and self._batchers.get(user_id) is batcher:
                del self._batchers[user_id]

    async def close(self) -> None:
        """Wait for the transactions in flight."""
        for batcher in list(self._batchers.values()):
            await batcher.close()

    async def _write_batch(self, batch: Sequence[Settlement]) -> Sequence[Exception | None]:
        """
        Write a batch, without the images that had been written before or whose lease is lost.

        Returns:
            For each settlement, in order, None or the error for its caller.
        """
        user_id = batch[0].after.user_id
        errors: dict[Settlement, Exception] = {}
        remaining = {settlement: settlement for settlement in batch}  # as submitted: what is left to write
        assumption = _Assumption.OLDER
        for _ in range(_MAX_ROUNDS):
            try:
                cancelled = await self._transact(list(remaining.values()), assumption) if remaining else None
            except RecordRejectedError:
                if len(batch) == 1:
                    raise
                return [await self._write_alone(settlement) for settlement in batch]  # one of them
            if cancelled is None:
                return [errors.get(settlement) for settlement in batch]
            rejected = [
                (settlement, rejection.held_image)
                for settlement, rejection in zip(list(remaining), cancelled.images, strict=True)
                if rejection is not None
            ]
            for settlement, image in rejected:
                rest = remaining.pop(settlement)
                try:
                    resumed = resume_from(image, rest.before, rest.after)
                except LeaseLostError as error:
                    errors[settlement] = error
                    continue
                if resumed is not None:
                    remaining[settlement] = replace(rest, before=resumed)
            if cancelled.statistics is not None:
                assumption = _assumption_from(cancelled.statistics.item, _last_upload(remaining))
            elif not rejected:
                codes = ", ".join(cancelled.codes)
                message = f"could not settle the images of {user_id}: {codes}"
                raise TransientError(message)
        message = f"the statistics of {user_id} changed {_MAX_ROUNDS} times while they were being updated"
        raise TransientError(message, is_dependency_failure=False)

    async def _write_alone(self, settlement: Settlement) -> Exception | None:
        try:
            return (await self._write_batch([settlement]))[0]
        except ImageWorkerError as error:
            return error

    async def _transact(self, batch: Sequence[Settlement], assumption: _Assumption) -> _Cancelled | None:
        updates = [
            *(progress_update(settlement.before, settlement.after, self._table) for settlement in batch),
            self._statistics_update(batch, assumption),
        ]
        items: list[TransactWriteItemTypeDef] = [{"Update": update} for update in updates]
        # All requests of this transaction have one token, so that it counts once even if a response is lost.
        token = secrets.token_hex(16)
        try:
            await call_with_retry(
                lambda: self._client.transact_write_items(TransactItems=items, ClientRequestToken=token),
                self._retry,
                what=_WHAT,
            )
        except TransientError as error:
            raise_if_item_rejected(error, what=_WHAT)
            raise
        except ClientError as error:
            _raise_if_invalid(error)
            return _Cancelled.from_error(error)
        return None

    def _statistics_update(self, batch: Sequence[Settlement], assumption: _Assumption) -> "UpdateTypeDef":
        images = sum(settlement.images_delta for settlement in batch)
        size_bytes = sum(settlement.bytes_delta for settlement in batch)
        now = clock.to_text(max(settlement.after.updated_at for settlement in batch))
        last_upload = _last_upload(batch)
        expression = UpdateExpression()
        expression.set("updatedAt", now)
        if assumption is _Assumption.ABSENT:
            statistics: Item = {"totalImages": images, "totalStorageUsed": size_bytes}
            if last_upload:
                statistics["lastUploadAt"] = clock.to_text(last_upload)
            expression.set_if_absent("createdAt", now)
            expression.set("statistics", statistics)
            expression.require_equal("statistics", None)
        else:
            expression.add("statistics.totalImages", images)
            expression.add("statistics.totalStorageUsed", size_bytes)
            expression.require_exists("statistics")
            if assumption is _Assumption.OLDER and last_upload:
                expression.set("statistics.lastUploadAt", clock.to_text(last_upload))
                expression.require_absent_or_less("statistics.lastUploadAt", clock.to_text(last_upload))
        return expression.request(self._table, image_id=PROFILE_IMAGE_ID, user_id=batch[0].after.user_id)


def _last_upload(batch: Iterable[Settlement]) -> datetime | None:
    uploads = [each.after.created_at for each in batch if each.after.status is ImageStatus.COMPLETED]
    return max(uploads, default=None)


def _assumption_from(profile: Item | None, last_upload: datetime | None) -> _Assumption:
    statistics: Any = (profile or {}).get("statistics")
    if statistics is None:
        return _Assumption.ABSENT
    is_older = last_upload and statistics.get("lastUploadAt", "") < clock.to_text(last_upload)
    return _Assumption.OLDER if is_older else _Assumption.NEWER
