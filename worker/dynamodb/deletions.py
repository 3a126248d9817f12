"""Mark images as being deleted, and delete their records together with their share of the statistics."""

import secrets
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from worker.aws.errors import CONDITION_FAILED_REASON, cancellation_reasons, is_conditional_check_failed
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain import clock
from worker.domain.claim import deletion_begun
from worker.domain.clock import Clock, utc_now
from worker.domain.image import Image
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.domain.requester import Requester
from worker.dynamodb.expressions import UpdateExpression
from worker.dynamodb.items import Item
from worker.dynamodb.repair_writes import write_if_unchanged
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import DeleteTypeDef, TransactWriteItemTypeDef, UpdateTypeDef


class DeletionWrites:
    """
    Writes the beginning and the end of deletions.

    Every method raises `TransientError` if the table was unavailable.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
        requester: Who requests the deletions, for the history.
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

    async def begin(self, image: Image) -> Image | None:
        """
        Mark an image as being deleted, whatever its status.

        From this write on, no worker can claim it, and one that is processing it has lost its lease.

        Returns:
            The image as it is stored now; None if it has changed since it was read.
        """
        after = deletion_begun(image, requester=self._requester, at=self._clock())
        return await write_if_unchanged(
            self._client, image, after, self._table, self._retry, what="begin the deletion"
        )

    async def finish(self, image: Image) -> bool:
        """
        Delete the record of a marked image, and take it out of its owner's statistics in one transaction.

        Returns:
            Whether the record is gone, perhaps by an earlier request; False if it is another record by now.
        """
        deletion = _delete_record(image, self._table)
        if image.counted_bytes is not None:
            is_gone = await self._delete_counted(deletion, self._uncount(image))
            if is_gone is not None:
                return is_gone
        return await self._delete(deletion, what="delete the record")

    async def forget_profile(self, user_id: str, profile: Item) -> bool:
        """Delete a user's profile with its statistics; return whether it was as it had been read, or gone."""
        expression = UpdateExpression()
        for name in ("profile", "statistics", "updatedAt"):
            expression.require_equal(name, profile.get(name))
        request = expression.delete_request(self._table, image_id=PROFILE_IMAGE_ID, user_id=user_id)
        return await self._delete(request, what="delete the profile")

    async def _delete_counted(self, deletion: "DeleteTypeDef", uncount: "UpdateTypeDef") -> bool | None:
        """Delete a record that is counted; return whether it is gone, or None if there are no statistics."""
        items: list[TransactWriteItemTypeDef] = [{"Delete": deletion}, {"Update": uncount}]
        # All requests have one token, so that the transaction counts once even if a response is lost.
        token = secrets.token_hex(16)
        try:
            await call_with_retry(
                lambda: self._client.transact_write_items(TransactItems=items, ClientRequestToken=token),
                self._retry,
                what="delete the record",
            )
        except ClientError as error:
            record, statistics = cancellation_reasons(error)
            if record.get("Code") == CONDITION_FAILED_REASON:
                return not record.get("Item")
            if statistics.get("Code") == CONDITION_FAILED_REASON:
                return None
            raise
        return True

    async def _delete(self, request: "DeleteTypeDef", *, what: str) -> bool:
        try:
            await call_with_retry(lambda: self._client.delete_item(**request), self._retry, what=what)
        except ClientError as error:
            if not is_conditional_check_failed(error):
                raise
            return "Item" not in error.response
        return True

    def _uncount(self, image: Image) -> "UpdateTypeDef":
        expression = UpdateExpression()
        expression.add("statistics.totalImages", -1)
        expression.add("statistics.totalStorageUsed", -(image.counted_bytes or 0))
        expression.set("updatedAt", clock.to_text(self._clock()))
        expression.require_exists("statistics")
        return expression.request(self._table, image_id=PROFILE_IMAGE_ID, user_id=image.user_id)


def _delete_record(image: Image, table: Table) -> "DeleteTypeDef":
    """Return the request that deletes the record, if it still is the one that was marked."""
    expression = UpdateExpression()
    expression.require_exists("deletion")
    expression.require_equal("attempt", image.attempt)
    expression.require_equal("recordId", image.record_id)
    return expression.delete_request(table, image_id=image.image_id, user_id=image.user_id)
