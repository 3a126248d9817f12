"""The record's read side: typed answers to what people ask."""

from typing import TYPE_CHECKING

from worker.domain.image import Image
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.record.attributes import decode_map
from worker.record.items import Item, from_item
from worker.retry import TABLE, persist

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


class Queries:
    """
    The access patterns, eventually consistent unless asked otherwise.

    Args:
        client: Of DynamoDB.
        table: The table's name.
    """

    def __init__(self, client: "DynamoDBClient", *, table: str) -> None:
        self._client, self._table = client, table

    async def items_of(self, image_id: str, *, consistent: bool = False) -> list[Item]:
        """
        Return the image's item, as the table holds it, for each user who has an image of that id.

        Raises:
            TransientError: The table cannot be reached within its retries.
        """
        if image_id == PROFILE_IMAGE_ID:
            return []
        answer = await persist(
            lambda: self._client.query(
                TableName=self._table,
                KeyConditionExpression="#imageId = :imageId",
                ExpressionAttributeNames={"#imageId": "imageId"},
                ExpressionAttributeValues={":imageId": {"S": image_id}},
                ConsistentRead=consistent,
            ),
            TABLE,
            what="read the image",
        )
        return [decode_map(item) for item in answer["Items"]]

    async def image(self, image_id: str, user_id: str, *, consistent: bool = False) -> Image | None:
        """
        Return one image; None when the table does not hold it.

        Raises:
            TransientError: The table cannot be reached within its retries.
        """
        answer = await persist(
            lambda: self._client.get_item(
                TableName=self._table,
                Key={"imageId": {"S": image_id}, "userId": {"S": user_id}},
                ConsistentRead=consistent,
            ),
            TABLE,
            what="read the image",
        )
        item = answer.get("Item")
        return from_item(decode_map(item)) if item else None
