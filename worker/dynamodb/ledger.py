"""Write image records: every write is conditional, and a write whose response was lost is recognised."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain import clock
from worker.domain.claim import Claimant, Claimed, ClaimResult, decide
from worker.domain.errors import LeaseLostError, TransientError
from worker.domain.image import Image
from worker.domain.job import Job
from worker.domain.status import ImageStatus
from worker.domain.transition import Transition, apply_all
from worker.dynamodb.conditional_update import Applied, Rejected, UpdateResult, conditional_update
from worker.dynamodb.expressions import UpdateExpression
from worker.dynamodb.image_updates import (
    claim_update,
    clear_leftovers_update,
    create_update,
    progress_update,
    renew_update,
    resume_from,
)
from worker.dynamodb.statistics import Settlement, StatisticsWriter
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import UpdateTypeDef

_MAX_CLAIM_ROUNDS = 20
"""How often a claim is decided again because the image changed between the read and the write."""


class DynamoLedger:
    """
    Writes image records to DynamoDB; implements `worker.delivery.ports.Ledger`.

    Args:
        client: DynamoDB client that does not retry by itself.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
    """

    def __init__(self, client: "DynamoDBClient", *, table: Table, retry: RetryPolicy) -> None:
        self._client, self._table, self._retry = client, table, retry
        self._statistics = StatisticsWriter(client, table=table, retry=retry)

    async def claim(self, job: Job, claimant: Claimant) -> ClaimResult:
        """
        Claim the image if the rules allow it: first as a new image, then as it is stored.

        Raises:
            RecordError: The record cannot be read, or other uploads have every id of the image.
            TransientError: The table was unavailable.
        """
        seen: Image | None = None
        began = time.monotonic()
        for _ in range(_MAX_CLAIM_ROUNDS):
            if seen is not None and seen.key != job.key:
                job = job.with_next_image_id(taken_by=seen.key)
                seen = None
            if seen is not None:
                passed = timedelta(seconds=time.monotonic() - began)
                claimant = claimant.not_before(seen.updated_at, passed=passed)
            decision = decide(seen, job, claimant)
            if not isinstance(decision, Claimed) or decision.image is seen:
                return decision
            request = (
                create_update(decision.image, self._table)
                if seen is None
                else claim_update(seen, decision.image, self._table)
            )
            result = await self._update(request, what="claim the image")
            if isinstance(result, Applied):
                return decision
            seen = result.image
        message = f"{job.image_id} changed {_MAX_CLAIM_ROUNDS} times while it was being claimed"
        raise TransientError(message, is_dependency_failure=False)

    async def record(self, image: Image, transitions: Sequence[Transition]) -> Image:
        """Write transitions in one update, on condition that the lease is held."""
        after = apply_all(image, transitions)
        await self._update_held(image, after, what="record the step")
        return after

    async def renew(self, image: Image, *, until: datetime) -> None:
        """Extend the lease, even an expired one, on condition that no other worker has claimed the image."""
        request = renew_update(image, clock.to_epoch_ms(until), self._table)
        result = await self._update(request, what="renew the lease")
        if isinstance(result, Applied):
            return
        stored = result.held_image
        # If this attempt has just been settled, there is nothing left to renew, and nothing is lost.
        is_settled = stored and stored.attempt == image.attempt and stored.status != ImageStatus.PROCESSING
        if not is_settled:
            raise LeaseLostError(image_id=image.image_id, attempt=image.attempt)

    async def settle(self, image: Image, transitions: Sequence[Transition]) -> Image:
        """Write the end of an attempt, together with the owner's statistics if they change."""
        after = apply_all(image, transitions)
        counted_before = after.counted_bytes
        if after.status is ImageStatus.COMPLETED:
            after = replace(after, counted_bytes=after.total_bytes())
        elif after.status is ImageStatus.FAILED:
            after = replace(after, counted_bytes=None)
        if after.status is ImageStatus.COMPLETED or after.counted_bytes != counted_before:
            settlement = Settlement(before=image, after=after, counted_before=counted_before)
            await self._statistics.settle(settlement)
        else:
            await self._update_held(image, after, what="end the attempt")
        return after

    async def clear_leftovers(self, image: Image) -> None:
        """Remove an image's leftovers from its record; if it was claimed again, its next end does so."""
        request = clear_leftovers_update(image, self._table)
        await self._update(request, what="record that results were deleted")

    async def read(self, image: Image) -> Image | None:
        """Return the record of an image as it is now; None if there is none."""
        response = await call_with_retry(
            lambda: self._client.get_item(
                TableName=self._table.name,
                Key={"imageId": {"S": image.image_id}, "userId": {"S": image.user_id}},
                ConsistentRead=True,
            ),
            self._retry,
            what="read the image",
        )
        return Rejected.from_attributes(response.get("Item")).image

    async def acknowledge_deletion(self, image: Image) -> None:
        """Record that the worker whose lease a deletion took away stores no more results."""
        assert image.lease is not None  # noqa: S101 - of a claimed image
        expression = UpdateExpression()
        expression.remove("deletion.leaseOwner")
        expression.remove("deletion.leaseExpiresAt")
        expression.require_equal("deletion.leaseOwner", image.lease.owner)
        request = expression.request(self._table, image_id=image.image_id, user_id=image.user_id)
        await self._update(request, what="acknowledge the deletion")

    async def close(self) -> None:
        """Wait for the transactions in flight."""
        await self._statistics.close()

    async def _update_held(self, before: Image, after: Image, *, what: str) -> None:
        remaining: Image | None = before
        while remaining is not None:  # each round starts from a longer history
            result = await self._update(progress_update(remaining, after, self._table), what=what)
            if isinstance(result, Applied):
                return
            remaining = resume_from(result.held_image, remaining, after)

    async def _update(self, request: "UpdateTypeDef", *, what: str) -> UpdateResult:
        return await conditional_update(self._client, request, self._retry, what=what)
