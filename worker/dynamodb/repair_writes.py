"""Move images back to pending, and set their retention, for the repair tools."""

from typing import TYPE_CHECKING

from worker.aws.retry import RetryPolicy
from worker.domain import claim
from worker.domain.clock import Clock, utc_now
from worker.domain.image import Image
from worker.domain.requester import Requester
from worker.dynamodb.conditional_update import Applied, conditional_update
from worker.dynamodb.image_updates import repair_update, was_applied
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


class RepairWrites:
    """
    Changes images, on condition that they have not changed since they were read.

    Each method returns the image as it is stored now, or None if it has changed since it was read or is being
    deleted. Each raises `IllegalMoveError` if the image that was read has another status than the move starts
    from, and `TransientError` if the table was unavailable.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
        requester: Who requests the changes, for the history.
        clock: Returns the current time.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        table: Table,
        retry: RetryPolicy,
        requester: Requester,
        clock: Clock = utc_now,
    ) -> None:
        self._client, self._table, self._retry = client, table, retry
        self._requester, self._clock = requester, clock

    async def retry(self, image: Image) -> Image | None:
        """Move a failed image to pending."""
        after = claim.image_retried(image, requester=self._requester, at=self._clock())
        return await self._write(image, after)

    async def reprocess(self, image: Image) -> Image | None:
        """Move a completed or failed image to pending."""
        after = claim.image_reprocessed(image, requester=self._requester, at=self._clock())
        return await self._write(image, after)

    async def expire_lease(self, image: Image) -> Image | None:
        """Move an image whose lease has expired from processing to pending."""
        after = claim.lease_expired(image, requester=self._requester, at=self._clock())
        return await self._write(image, after)

    async def requeue(self, image: Image) -> Image | None:
        """Record that the message of a pending image is sent again."""
        after = claim.image_requeued(image, requester=self._requester, at=self._clock())
        return await self._write(image, after)

    async def set_retention(self, image: Image, *, ttl: int | None) -> Image | None:
        """
        Set when the record of an image expires, in seconds since 1970; None keeps it forever.

        Raises:
            ImageBusyError: A worker is processing the image.
        """
        after = claim.retention_set(image, ttl=ttl, requester=self._requester, at=self._clock())
        return await self._write(image, after, what="set the retention")

    async def _write(self, seen: Image, after: Image, *, what: str = "requeue the image") -> Image | None:
        if seen.deletion is not None:
            return None
        return await write_if_unchanged(self._client, seen, after, self._table, self._retry, what=what)


async def write_if_unchanged(
    client: "DynamoDBClient", seen: Image, after: Image, table: Table, retry: RetryPolicy, *, what: str
) -> Image | None:
    """
    Write an image, on condition that it has not changed since it was read.

    Args:
        client: DynamoDB client.
        seen: The image as it was read.
        after: The image as it is to be, with a further entry of its history.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
        what: The operation, for the error message.

    Returns:
        The image as it is stored now; None if it has changed since it was read.

    Raises:
        TransientError: The table was unavailable.
    """
    result = await conditional_update(client, repair_update(seen, after, table), retry, what=what)
    if isinstance(result, Applied) or ((stored := result.held_image) and was_applied(stored, seen, after)):
        return after
    return None
