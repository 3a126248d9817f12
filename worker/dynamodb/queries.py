"""The record's read side: typed answers to what people ask, page by page."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from worker.aws.retry import TABLE, call_with_retry
from worker.domain.image import Image, ImageSummary
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.domain.status import ImageStatus
from worker.dynamodb import batches
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.cursors import DONE, Cursor, Fetch, Item, Position, position_of, take_newest
from worker.dynamodb.items import date_shard, from_item, shard_name, status_shard, to_summary
from worker.dynamodb.page_tokens import from_token, to_token

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef, QueryInputTypeDef

USER_IMAGES: Final = "UserImages"
STATUS_INDEX: Final = "StatusIndex"
DATE_INDEX: Final = "DateIndex"

_HASH_KEYS: Final = {USER_IMAGES: "userId", STATUS_INDEX: "statusShard", DATE_INDEX: "dateShard"}


@dataclass(frozen=True, slots=True)
class Page:
    """Images, newest first, and the token of the page after them; None when there is none."""

    images: tuple[ImageSummary, ...]
    next_token: str | None


class Queries:
    """
    The access patterns, eventually consistent unless asked otherwise; what is past its ttl is gone.

    Every method raises `TransientError` when the table cannot be reached within its retries; those that
    take a token raise `PageTokenError` when it is not theirs.

    Args:
        client: Of DynamoDB.
        table: The table's name.
        index_shards: Key values that a status or a day is spread over.
        now_s: Seconds since 1970.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        table: str,
        index_shards: int,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._table = client, table
        self._index_shards, self._now_s = index_shards, now_s

    async def image(self, image_id: str, user_id: str, *, consistent: bool = False) -> Image | None:
        """Return one image; None when there is none."""
        answer = await call_with_retry(
            lambda: self._client.get_item(
                TableName=self._table,
                Key={"imageId": {"S": image_id}, "userId": {"S": user_id}},
                ConsistentRead=consistent,
            ),
            TABLE,
            what="read the image",
        )
        item = answer.get("Item")
        return self._present(decode_map(item)) if item else None

    async def images_with_id(self, image_id: str, *, consistent: bool = False) -> list[Image]:
        """Return the image of that id of each user who has one."""
        if image_id == PROFILE_IMAGE_ID:
            return []
        answer = await call_with_retry(
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
        found = (self._present(decode_map(item)) for item in answer["Items"])
        return [image for image in found if image is not None]

    async def images(self, keys: Iterable[tuple[str, str]], *, consistent: bool = False) -> list[Image]:
        """Return the images of any number of (image id, user id) that are there, in no order."""
        items = await batches.get_all(self._client, self._table, keys, consistent=consistent)
        found = (self._present(item) for item in items)
        return [image for image in found if image is not None]

    async def images_of_user(self, user_id: str, *, limit: int = 20, token: str | None = None) -> Page:
        """Return a user's images, newest first."""
        return await self._page(USER_IMAGES, [[user_id]], query=f"user {user_id}", limit=limit, token=token)

    async def images_by_status(
        self, status: ImageStatus, *, limit: int = 20, token: str | None = None
    ) -> Page:
        """Return the images that are in a status, newest first."""
        partitions = [status_shard(status, shard) for shard in self._shards()]
        return await self._page(
            STATUS_INDEX, [partitions], query=f"status {status}", limit=limit, token=token
        )

    async def recent_images(
        self, first_day: date, last_day: date, *, limit: int = 20, token: str | None = None
    ) -> Page:
        """Return the images that were uploaded on these days (UTC, both included), newest first."""
        days = [last_day - timedelta(days=back) for back in range((last_day - first_day).days + 1)]
        partitions = [[date_shard(day.isoformat(), shard) for shard in self._shards()] for day in days]
        query = f"days {first_day} {last_day}"
        return await self._page(DATE_INDEX, partitions, query=query, limit=limit, token=token)

    def _shards(self) -> list[str]:
        return [shard_name(number) for number in range(self._index_shards)]

    def _present(self, item: Mapping[str, Any]) -> Image | None:
        image = from_item(item)
        return None if image.ttl is not None and image.ttl <= self._now_s() else image

    async def _page(
        self, index: str, groups: Sequence[Sequence[str]], *, query: str, limit: int, token: str | None
    ) -> Page:
        """
        Fill a page from groups of partitions: within a group they are merged, group follows group.

        A token holds the number of the group, and where each of its partitions stands.
        """
        query = f"{self._table} {self._index_shards} {query}"
        number, positions = from_token(token, query=query) if token else (0, None)
        fetch = self._fetch_from(index)
        images: list[ImageSummary] = []
        while number < len(groups):
            cursors = [
                Cursor(partition, position)
                for partition, position in zip(
                    groups[number], positions or [None] * len(groups[number]), strict=True
                )
            ]
            taken = await take_newest(cursors, fetch, limit=limit - len(images))
            images += map(to_summary, taken)
            positions = [cursor.position for cursor in cursors]
            if any(position != DONE for position in positions):
                return Page(tuple(images), to_token([number, positions], query=query))
            number, positions = number + 1, None
            if len(images) == limit and number < len(groups):
                return Page(tuple(images), to_token([number, None], query=query))
        return Page(tuple(images), None)

    def _fetch_from(self, index: str) -> Fetch:
        hash_key, now_s = _HASH_KEYS[index], int(self._now_s())

        async def fetch(partition: str, start: Position, count: int) -> tuple[Sequence[Item], Position]:
            names = {"#hash": hash_key, "#imageId": "imageId", "#ttl": "ttl"}
            values: dict[str, AttributeValueTypeDef] = {
                ":hash": {"S": partition},
                ":profile": {"S": PROFILE_IMAGE_ID},
                ":now": {"N": str(now_s)},
            }
            request: QueryInputTypeDef = {
                "TableName": self._table,
                "IndexName": index,
                "KeyConditionExpression": "#hash = :hash",
                "FilterExpression": "#imageId <> :profile AND (attribute_not_exists(#ttl) OR #ttl > :now)",
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": values,
                "ScanIndexForward": False,
                "Limit": count,
            }
            match start:
                case [created_at]:
                    request["KeyConditionExpression"] += " AND #createdAt <= :upTo"
                    names["#createdAt"], values[":upTo"] = "createdAt", {"S": created_at}
                case [created_at, image_id, user_id]:
                    key = {"createdAt": created_at, "imageId": image_id, "userId": user_id}
                    key[hash_key] = partition
                    request["ExclusiveStartKey"] = {name: {"S": value} for name, value in key.items()}
            answer = await call_with_retry(
                lambda: self._client.query(**request), TABLE, what=f"query {index}"
            )
            last = answer.get("LastEvaluatedKey")
            return (
                [decode_map(item) for item in answer["Items"]],
                position_of(decode_map(last)) if last else None,
            )

        return fetch
