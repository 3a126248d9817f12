"""Read images from the table by id, user, status and day, page by page."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import UnreadableRecordError
from worker.domain.image import FailedImage, Image, ImageSummary
from worker.domain.job import Job
from worker.domain.keys import PROFILE_IMAGE_ID, RESERVED_IMAGE_IDS, next_image_id
from worker.domain.status import ImageStatus
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.batches import get_items
from worker.dynamodb.cursors import DONE, Cursor, Fetch, Start, after, take_newest
from worker.dynamodb.item_schema import FAILED_ATTRIBUTES
from worker.dynamodb.items import Item, from_item, to_failed, to_summary
from worker.dynamodb.page_tokens import from_token, to_token
from worker.dynamodb.table import Table, date_shard, status_shard

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef, QueryInputTypeDef

log = structlog.get_logger(__name__)

USER_IMAGES: Final = "UserImages"
STATUS_INDEX: Final = "StatusIndex"
DATE_INDEX: Final = "DateIndex"

_UNEXPIRED: Final = "(attribute_not_exists(#ttl) OR NOT #ttl <= :now)"
"""True for a damaged `ttl` too, so that its image is reported."""

_PARTITION_KEYS: Final = {USER_IMAGES: "userId", STATUS_INDEX: "statusShard", DATE_INDEX: "dateShard"}


OnUnreadable: TypeAlias = Callable[[UnreadableRecordError], None]


def log_unreadable(error: UnreadableRecordError) -> None:
    """Log the error of a record that cannot be read."""
    log.warning("record.unreadable", image_id=error.image_id, user_id=error.user_id, reason=error.reason)


@dataclass(frozen=True, slots=True)
class Page:
    """
    A page of images, newest first.

    Attributes:
        images: The images.
        next_token: Token of the next page; None if this is the last.
        unreadable: The errors of items that are not images that this version can read.
    """

    images: tuple[ImageSummary, ...]
    next_token: str | None
    unreadable: tuple[UnreadableRecordError, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedImages:
    """
    Failed images, in any order.

    Attributes:
        images: The images.
        unreadable: The errors of items that are not images that this version can read.
    """

    images: tuple[FailedImage, ...]
    unreadable: tuple[UnreadableRecordError, ...]


class Queries:
    """
    Reads images; expired ones are treated as deleted, even while DynamoDB still returns them.

    An item that cannot be read, because it is damaged or a newer version wrote it, never hides others: among
    several it is left out and reported.

    Reads are eventually consistent by default. Every method raises `TransientError` if the table was
    unavailable; those that take a page token raise `PageTokenError` if it belongs to another query.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
        now_s: Returns the current time in seconds since 1970.
        on_unreadable: Called with the error of each item that `images` and `images_with_id` leave out.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        table: Table,
        retry: RetryPolicy,
        now_s: Callable[[], float] = time.time,
        on_unreadable: OnUnreadable = log_unreadable,
    ) -> None:
        self._client, self._table, self._retry, self._now_s = client, table, retry, now_s
        self._on_unreadable = on_unreadable

    async def image(self, image_id: str, user_id: str, *, consistent: bool = False) -> Image | None:
        """Return an image; None if it does not exist. Raises `UnreadableRecordError` if it cannot be read."""
        if image_id in RESERVED_IMAGE_IDS:
            return None
        response = await call_with_retry(
            lambda: self._client.get_item(
                TableName=self._table.name,
                Key={"imageId": {"S": image_id}, "userId": {"S": user_id}},
                ConsistentRead=consistent,
            ),
            self._retry,
            what="read the image",
        )
        item = response.get("Item")
        return self._unless_expired(decode_map(item)) if item else None

    async def images_with_id(self, image_id: str, *, consistent: bool = False) -> list[Image]:
        """
        Return the images with an id: one of each user who has one.

        Raises:
            UnreadableRecordError: The only one cannot be read.
        """
        if image_id in RESERVED_IMAGE_IDS:
            return []
        response = await call_with_retry(
            lambda: self._client.query(
                TableName=self._table.name,
                KeyConditionExpression="#imageId = :imageId",
                ExpressionAttributeNames={"#imageId": "imageId"},
                ExpressionAttributeValues={":imageId": {"S": image_id}},
                ConsistentRead=consistent,
            ),
            self._retry,
            what="read the image",
        )
        records = [self._read(decode_map(item)) for item in response["Items"]]
        if len(records) == 1 and isinstance(records[0], UnreadableRecordError):
            raise records[0]
        return self._report_unreadable(records)

    async def images(self, keys: Iterable[tuple[str, str]], *, consistent: bool = False) -> list[Image]:
        """Return the images with the given keys (image id, user id) that exist, in any order."""
        items = await get_items(self._client, self._table, self._retry, keys, consistent=consistent)
        return self._report_unreadable([self._read(item) for item in items])

    async def records(
        self, keys: Iterable[tuple[str, str]], *, consistent: bool = False
    ) -> dict[tuple[str, str], Image | UnreadableRecordError]:
        """Return the images that exist, or their records' errors, by key; expired ones are included."""
        items = await get_items(self._client, self._table, self._retry, keys, consistent=consistent)
        found: dict[tuple[str, str], Image | UnreadableRecordError] = {}
        for item in items:
            key = (str(item["imageId"]), str(item["userId"]))
            try:
                found[key] = from_item(item)
            except UnreadableRecordError as error:
                found[key] = error
        return found

    async def failed_images(self, keys: Iterable[tuple[str, str]]) -> FailedImages:
        """Return what lists show of the images with the given keys, as far as they exist and have failed."""
        items = await get_items(self._client, self._table, self._retry, keys, attributes=FAILED_ATTRIBUTES)
        images: list[FailedImage] = []
        unreadable: list[UnreadableRecordError] = []
        for item in items:
            if item.get("status") != ImageStatus.FAILED.value:
                continue
            try:
                images.append(to_failed(item))
            except UnreadableRecordError as error:
                unreadable.append(error)
        return FailedImages(tuple(images), tuple(unreadable))

    async def images_of(
        self, jobs: Iterable[Job], *, consistent: bool = False
    ) -> dict[str, Image | UnreadableRecordError]:
        """Return the images of uploads as far as they exist, or their records' errors, by upload key."""
        found: dict[str, Image | UnreadableRecordError] = {}
        remaining = list(jobs)
        while remaining:
            keys = [(job.image_id, job.user_id) for job in remaining]
            items = await get_items(self._client, self._table, self._retry, keys, consistent=consistent)
            by_id = {(item["imageId"], item["userId"]): self._read(item) for item in items}
            jobs, remaining = remaining, []
            for job in jobs:
                match by_id.get((job.image_id, job.user_id)):
                    case Image(key=key) if key != job.key:
                        if (image_id := next_image_id(job.image_id, key=job.key)) is not None:
                            remaining.append(replace(job, image_id=image_id))
                    case Image() | UnreadableRecordError() as record:
                        found[job.key] = record
        return found

    async def images_of_user(self, user_id: str, *, limit: int = 20, token: str | None = None) -> Page:
        """Return a page of a user's images, newest first."""
        return await self._page(USER_IMAGES, [[user_id]], query=f"user {user_id}", limit=limit, token=token)

    async def images_by_status(
        self, status: ImageStatus, *, limit: int = 20, token: str | None = None
    ) -> Page:
        """Return a page of the images with a status, newest first."""
        shards = [status_shard(status, shard) for shard in self._table.shards]
        return await self._page(STATUS_INDEX, [shards], query=f"status {status}", limit=limit, token=token)

    async def recent_images(
        self, first_day: date, last_day: date, *, limit: int = 20, token: str | None = None
    ) -> Page:
        """Return a page of the images uploaded from one day to another (UTC, inclusive), newest first."""
        days = [last_day - timedelta(days=back) for back in range((last_day - first_day).days + 1)]
        shards = [[date_shard(day.isoformat(), shard) for shard in self._table.shards] for day in days]
        query = f"days {first_day} {last_day}"
        return await self._page(DATE_INDEX, shards, query=query, limit=limit, token=token)

    def _unless_expired(self, item: Mapping[str, Any]) -> Image | None:
        image = from_item(item)
        return None if image.ttl is not None and image.ttl <= self._now_s() else image

    def _read(self, item: Mapping[str, Any]) -> Image | UnreadableRecordError | None:
        try:
            return self._unless_expired(item)
        except UnreadableRecordError as error:
            return error

    def _report_unreadable(self, records: Iterable[Image | UnreadableRecordError | None]) -> list[Image]:
        """Report the records that cannot be read; return the others."""
        images = []
        for record in records:
            if isinstance(record, UnreadableRecordError):
                self._on_unreadable(record)
            elif record is not None:
                images.append(record)
        return images

    async def _page(
        self, index: str, groups: Sequence[Sequence[str]], *, query: str, limit: int, token: str | None
    ) -> Page:
        """
        Return a page of an index.

        Args:
            index: Name of the index.
            groups: Partition keys. The partitions of a group are merged; the groups follow each other.
            query: Identifies the query in the token, which holds the number of a group and the position in
                each of its partitions.
            limit: Maximum number of images.
            token: Token of this page; None for the first.
        """
        query = f"{self._table.name} {self._table.index_shards} {query}"
        group, positions = from_token(token, query=query) if token else (0, None)
        fetch = self._fetch_from(index)
        images: list[ImageSummary] = []
        unreadable: list[UnreadableRecordError] = []
        while group < len(groups):
            partitions = groups[group]
            cursors = list(map(Cursor, partitions, positions or [None] * len(partitions)))
            taken = await take_newest(cursors, fetch, limit=limit - len(images))
            for item in taken:
                try:
                    images.append(to_summary(item))
                except UnreadableRecordError as error:
                    unreadable.append(error)
            positions = [cursor.position for cursor in cursors]
            if all(position == DONE for position in positions):
                group, positions = group + 1, None
            if len(images) == limit and group < len(groups):
                return Page(tuple(images), to_token([group, positions], query=query), tuple(unreadable))
        return Page(tuple(images), None, tuple(unreadable))

    def _fetch_from(self, index: str) -> Fetch:
        partition_key, now_s = _PARTITION_KEYS[index], int(self._now_s())

        async def fetch(partition: str, start: Start, count: int) -> tuple[Sequence[Item], Start]:
            names = {"#partition": partition_key, "#imageId": "imageId", "#ttl": "ttl"}
            values: dict[str, AttributeValueTypeDef] = {
                ":partition": {"S": partition},
                ":profile": {"S": PROFILE_IMAGE_ID},
                ":now": {"N": str(now_s)},
            }
            request: QueryInputTypeDef = {
                "TableName": self._table.name,
                "IndexName": index,
                "KeyConditionExpression": "#partition = :partition",
                "FilterExpression": f"#imageId <> :profile AND {_UNEXPIRED}",
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
                    key[partition_key] = partition
                    request["ExclusiveStartKey"] = {name: {"S": value} for name, value in key.items()}
            response = await call_with_retry(
                lambda: self._client.query(**request), self._retry, what=f"query {index}"
            )
            last = response.get("LastEvaluatedKey")
            return (
                [decode_map(item) for item in response["Items"]],
                after(decode_map(last)) if last else None,
            )

        return fetch
