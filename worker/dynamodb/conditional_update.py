"""Update one item on condition that it is in an expected state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from botocore.exceptions import ClientError

from worker.aws.errors import error_message, is_conditional_check_failed, is_item_rejected
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import RecordRejectedError, TransientError, UnreadableRecordError
from worker.domain.image import Image
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.items import Item, from_item

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import UpdateTypeDef


@dataclass(frozen=True, slots=True)
class Applied:
    """The update was made."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """
    The condition of the update failed, and nothing was written.

    Attributes:
        item: The stored item that failed the condition; None if there is none.
    """

    item: Item | None

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any] | None) -> "Rejected":
        """Return the rejection by an item in DynamoDB's format."""
        return cls(decode_map(attributes) if attributes else None)

    @property
    def image(self) -> Image | None:
        """The stored item as an image; raises `UnreadableRecordError` if it is not one."""
        return from_item(self.item) if self.item else None

    @property
    def held_image(self) -> Image | None:
        """The same; None if it cannot be read, which no worker that holds its lease has written."""
        try:
            return self.image
        except UnreadableRecordError:
            return None


def raise_if_item_rejected(error: TransientError, *, what: str) -> None:
    """Raise `RecordRejectedError` if the error is that DynamoDB rejected the content of a request."""
    if isinstance(error.__cause__, ClientError) and is_item_rejected(error.__cause__):
        raise RecordRejectedError(what=what, reason=error_message(error.__cause__)) from error


UpdateResult: TypeAlias = Applied | Rejected


async def conditional_update(
    client: "DynamoDBClient", request: "UpdateTypeDef", retry: RetryPolicy, *, what: str
) -> UpdateResult:
    """
    Update an item if its condition holds.

    A retry is rejected when an earlier request was applied but its response was lost. Callers for which this
    matters compare the stored item with what they wrote.

    Args:
        client: DynamoDB client.
        request: As `UpdateExpression.request` returns it.
        retry: Retry policy for DynamoDB requests.
        what: The operation, for the error message: `claim the image`.

    Raises:
        RecordRejectedError: DynamoDB rejected the content of the update.
        TransientError: The table was unavailable, or rejected the request for another reason.
    """
    try:
        await call_with_retry(lambda: client.update_item(**request), retry, what=what)
    except TransientError as error:
        raise_if_item_rejected(error, what=what)
        raise
    except ClientError as error:
        if not is_conditional_check_failed(error):
            raise
        response: Mapping[str, Any] = error.response  # botocore's type does not have the item
        return Rejected.from_attributes(response.get("Item"))
    return Applied()
