"""The record's write side on DynamoDB: every write conditional, every lost answer recognised."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from worker.aws.errors import is_conditional_check_failed
from worker.aws.retry import TABLE, call_with_retry
from worker.domain import clock
from worker.domain.claim import Claimant, Claimed, ClaimResult, decide
from worker.domain.errors import LeaseLostError, TransientError
from worker.domain.image import Image
from worker.domain.job import Job
from worker.domain.status import ImageStatus
from worker.domain.transition import Transition, apply_all
from worker.dynamodb import writes
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.items import from_item
from worker.dynamodb.statistics import Settlement, StatisticsWriter

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import UpdateTypeDef

_CLAIM_ROUNDS = 20
"""How often a claim looks again when others keep changing the image between its look and its write."""


class DynamoLedger:
    """
    The ledger of `worker.delivery.ports`, on one table.

    Args:
        client: Of DynamoDB, with its own retries off.
        table: The table's name.
        index_shards: Key values that a status or a day is spread over.
    """

    def __init__(self, client: "DynamoDBClient", *, table: str, index_shards: int) -> None:
        self._client = client
        self._table, self._index_shards = table, index_shards
        self._tally = StatisticsWriter(client, table=table, index_shards=index_shards)

    async def claim(self, job: Job, claimant: Claimant) -> ClaimResult:
        """Take the image if the rules allow it: optimistically as a new one, else as it is found to be."""
        seen: Image | None = None
        began = time.monotonic()
        for _ in range(_CLAIM_ROUNDS):
            if seen is not None:
                passed = timedelta(seconds=time.monotonic() - began)
                claimant = claimant.not_before(seen.updated_at, passed=passed)
            answer = decide(seen, job, claimant)
            if not isinstance(answer, Claimed) or answer.image is seen:
                return answer
            request = (
                writes.creating(answer.image, table=self._table, index_shards=self._index_shards)
                if seen is None
                else writes.taking(seen, answer.image, table=self._table, index_shards=self._index_shards)
            )
            refused_by = await self._write(request, what="claim the image")
            if refused_by is None:
                return answer
            seen = from_item(decode_map(refused_by)) if refused_by else None
        message = f"{job.image_id} kept changing while it was claimed"
        raise TransientError(message)

    async def record(self, image: Image, transitions: Sequence[Transition]) -> Image:
        """Write the transitions in one write, on condition that the image is still held."""
        after = apply_all(image, transitions)
        await self._write_held(image, after, what="record the step")
        return after

    async def renew(self, image: Image, *, until: datetime) -> None:
        """Move the end of the lease, on condition that the image is still held, or was until it ended."""
        request = writes.renewing(image, clock.to_epoch_ms(until), table=self._table)
        refused_by = await self._write(request, what="renew the lease")
        if refused_by is None:
            return
        found = from_item(decode_map(refused_by)) if refused_by else None
        # Our own settlement may have landed a moment ago: nothing is left to renew, and nothing is lost.
        has_ended = found and found.attempt == image.attempt and found.status is not ImageStatus.PROCESSING
        if not has_ended:
            raise LeaseLostError(image_id=image.image_id, attempt=image.attempt)

    async def settle(self, image: Image, transitions: Sequence[Transition]) -> Image:
        """Write the end of an attempt, with the owner's statistics where it changes what they add up to."""
        after = apply_all(image, transitions)
        if after.status is ImageStatus.COMPLETED:
            after = replace(after, counted_bytes=after.total_bytes())
        elif after.status is ImageStatus.FAILED:
            after = replace(after, counted_bytes=None)
        if after.status is ImageStatus.COMPLETED or after.counted_bytes != image.counted_bytes:
            await self._tally.settle(Settlement(before=image, after=after))
        else:
            await self._write_held(image, after, what="end the attempt")
        return after

    async def close(self) -> None:
        """Wait for the settlements that are under way."""
        await self._tally.close()

    async def _write_held(self, before: Image, after: Image, *, what: str) -> None:
        while True:  # each round starts from a longer trail
            request = writes.continuing(before, after, table=self._table, index_shards=self._index_shards)
            refused_by = await self._write(request, what=what)
            if refused_by is None:
                return
            stored = from_item(decode_map(refused_by)) if refused_by else None
            if stored is not None and writes.has_landed(stored, before, after):
                return
            resumed = writes.resumed(stored, before, after) if stored is not None else None
            if resumed is None:
                raise LeaseLostError(image_id=before.image_id, attempt=before.attempt)
            before = resumed

    async def _write(self, request: "UpdateTypeDef", *, what: str) -> Mapping[str, Any] | None:
        """Make one conditional write; return None when it landed, else the item that refused it, or {}."""
        try:
            await call_with_retry(lambda: self._client.update_item(**request), TABLE, what=what)
        except ClientError as error:
            if not is_conditional_check_failed(error):
                raise
            return error.response.get("Item") or {}  # type: ignore[return-value]  # botocore types no Item
        return None
