"""Move images back to pending, for the repair tools."""

from typing import TYPE_CHECKING

from worker.aws.retry import RetryPolicy
from worker.domain import claim
from worker.domain.clock import Clock, utc_now
from worker.domain.image import Image
from worker.dynamodb.conditional_update import Applied, conditional_update
from worker.dynamodb.image_updates import requeue_update, was_applied
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


class RepairWrites:
    """
    Moves images to pending, on condition that they have not changed since they were read.

    Each method returns the image as it is stored now, or None if it has changed since it was read. Each
    raises `IllegalMoveError` if the image that was read has another status than the move starts from, and
    `TransientError` if the table was unavailable.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
        by: The command that requests the move, for the history: `images retry`.
        clock: Returns the current time.
    """

    def __init__(
        self, client: "DynamoDBClient", *, table: Table, retry: RetryPolicy, by: str, clock: Clock = utc_now
    ) -> None:
        self._client, self._table, self._retry = client, table, retry
        self._by, self._clock = by, clock

    async def retry(self, image: Image) -> Image | None:
        """Move a failed image to pending."""
        return await self._write(image, claim.image_retried(image, by=self._by, at=self._clock()))

    async def reprocess(self, image: Image) -> Image | None:
        """Move a completed or failed image to pending."""
        return await self._write(image, claim.image_reprocessed(image, by=self._by, at=self._clock()))

    async def expire_lease(self, image: Image) -> Image | None:
        """Move an image whose lease has expired from processing to pending."""
        return await self._write(image, claim.lease_expired(image, by=self._by, at=self._clock()))

    async def requeue(self, image: Image) -> Image | None:
        """Record that the message of a pending image is sent again."""
        return await self._write(image, claim.image_requeued(image, by=self._by, at=self._clock()))

    async def _write(self, seen: Image, after: Image) -> Image | None:
        request = requeue_update(seen, after, self._table)
        result = await conditional_update(self._client, request, self._retry, what="requeue the image")
        if isinstance(result, Applied) or (
            (stored := result.held_image) and was_applied(stored, seen, after)
        ):
            return after
        return None
