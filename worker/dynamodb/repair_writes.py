"""
Offering images again: the moves to pending that no worker makes.

Each is conditional on the very state that was seen, so that of two who ask for the same image one wins, and
whoever works on it meanwhile is not disturbed.
"""

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from worker.aws.errors import is_conditional_check_failed
from worker.aws.retry import TABLE, call_with_retry
from worker.domain import claim
from worker.domain.clock import Clock, utc_now
from worker.domain.image import Image
from worker.dynamodb import writes
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.items import from_item

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


class RepairWrites:
    """
    The conditional moves to pending.

    Each returns the image as it is stored now, or None when it has changed since it was read; each raises
    `IllegalMoveError` when the image that was read has another status than the move starts from, and
    `TransientError` when the table cannot be reached within its retries.

    Args:
        client: Of DynamoDB.
        table: The table's name.
        index_shards: Key values that a status or a day is spread over.
        by: Who asks, for the audit trail: `images retry`.
        clock: Tells when.
    """

    def __init__(
        self, client: "DynamoDBClient", *, table: str, index_shards: int, by: str, clock: Clock = utc_now
    ) -> None:
        self._client, self._table, self._index_shards = client, table, index_shards
        self._by, self._clock = by, clock

    async def retried(self, image: Image) -> Image | None:
        """Move a failed image to pending."""
        return await self._write(image, claim.image_retried(image, by=self._by, at=self._clock()))

    async def reprocessed(self, image: Image) -> Image | None:
        """Move a completed or failed image to pending."""
        return await self._write(image, claim.image_reprocessed(image, by=self._by, at=self._clock()))

    async def lease_expired(self, image: Image) -> Image | None:
        """Move an image whose lease is over from processing to pending."""
        return await self._write(image, claim.lease_expired(image, by=self._by, at=self._clock()))

    async def requeued(self, image: Image) -> Image | None:
        """Note on a pending image that it has been asked for once more."""
        return await self._write(image, claim.image_requeued(image, by=self._by, at=self._clock()))

    async def _write(self, seen: Image, after: Image) -> Image | None:
        request = writes.taking(seen, after, table=self._table, index_shards=self._index_shards)
        # Of a pending image that is noted once more, only the trail tells that another was quicker.
        request["ConditionExpression"] += " AND size(#history) = :trail"
        request["ExpressionAttributeValues"] = {
            **request["ExpressionAttributeValues"],
            ":trail": {"N": str(len(seen.history))},
        }
        try:
            await call_with_retry(
                lambda: self._client.update_item(**request), TABLE, what="ask for the image again"
            )
        except ClientError as error:
            if not is_conditional_check_failed(error):
                raise
            item: Any = error.response.get("Item")
            # The first attempt may have landed, and only its answer been lost.
            landed = item and writes.has_landed(from_item(decode_map(item)), seen, after)
            return after if landed else None
        return after
