"""Read the changes of the table from its stream, in the order in which each item changed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog

from worker.aws.errors import error_code
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import ConfigurationError, TransientError
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodbstreams import DynamoDBStreamsClient
    from types_aiobotocore_dynamodbstreams.type_defs import (
        DescribeStreamInputTypeDef,
        GetRecordsOutputTypeDef,
        GetShardIteratorInputTypeDef,
        RecordTypeDef,
        ShardTypeDef,
    )

_MAX_RECORDS: Final = 1000
_LIST_INTERVAL_S: Final = 10.0
_TTL_PRINCIPAL: Final = "dynamodb.amazonaws.com"
"""Who deletes expired items; the deletes of others have no principal."""

FINISHED: Final = "finished"
"""Position in a closed shard of which all changes have been read."""

Positions: TypeAlias = Mapping[str, str]
"""Shard -> sequence number of the last change that was processed, or `FINISHED`."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Start(StrEnum):
    """Where reading begins in shards for which there is no position."""

    OLDEST = "oldest"
    """With the oldest change that the stream keeps: up to 24 hours."""
    LATEST = "latest"
    """With the next change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    A change of an item.

    Attributes:
        shard_id: Shard of the stream.
        sequence_number: Position in the shard.
        at: When it was written, to about a second.
        before: The item before; None if it did not exist.
        after: The item after; None if it was deleted.
        is_expiry: Whether DynamoDB has deleted the item because its `ttl` had passed.
    """

    shard_id: str
    sequence_number: str
    at: datetime
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    is_expiry: bool = False


class TableStream:
    """
    Reads the stream of the table, with its shards in the order of their lineage.

    Args:
        dynamodb: DynamoDB client.
        streams: DynamoDB Streams client.
        table: The table.
        retry: Retry policy for each request.
        poll_s: Time in seconds between two requests for the changes of a shard that has no more.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        streams: "DynamoDBStreamsClient",
        *,
        table: Table,
        retry: RetryPolicy,
        poll_s: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._dynamodb, self._streams, self._table, self._retry = dynamodb, streams, table, retry
        self._poll_s, self._sleep = poll_s, sleep
        self._positions: dict[str, str] = {}
        self._iterators: dict[str, str] = {}

    @property
    def positions(self) -> Positions:
        """Where to continue: after the batches that the body of the loop over `changes` has finished."""
        return dict(self._positions)

    async def changes(
        self, *, start: Start, positions: Positions | None = None
    ) -> AsyncGenerator[list[Change], None]:
        """
        Yield changes as they happen, in batches of one shard, until the caller stops.

        A batch counts as processed when the next one is asked for; empty batches let the caller save its
        positions. Every change after the given positions arrives at least once.

        Args:
            start: Where to begin in shards for which there is no position.
            positions: `positions` of an earlier reader, to continue after it.

        Raises:
            ConfigurationError: The table does not exist or has no stream with the items before and after.
            TransientError: DynamoDB is unavailable.
        """
        arn = await self._arn()
        self._positions, self._iterators = dict(positions or {}), {}
        from_here = start
        listed_s = float("-inf")
        shards: list[ShardTypeDef] = []
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() - listed_s >= _LIST_INTERVAL_S or not shards:
                shards, listed_s = await self._shards(arn), loop.time()
                known = {shard["ShardId"] for shard in shards}
                self._positions = {shard: at for shard, at in self._positions.items() if shard in known}
            is_idle = True
            for shard in _ready(shards, self._positions):
                async for batch in self._read(arn, shard, from_here):
                    is_idle = False
                    yield batch
                    self._positions[shard] = batch[-1].sequence_number
                if self._positions.get(shard) == FINISHED:
                    listed_s = float("-inf")  # its children may have changes
            from_here = Start.OLDEST  # a shard that appears from now on is read as a whole
            yield []
            if is_idle:
                await self._sleep(self._poll_s)

    async def _read(self, arn: str, shard: str, start: Start) -> AsyncGenerator[list[Change], None]:
        """Yield the changes of a shard that there are now."""
        while True:
            if shard not in self._iterators:
                self._iterators[shard] = await self._iterator(arn, shard, start)
            response = await self._records(shard)
            if response is None:
                continue  # with a new iterator
            if records := response["Records"]:
                yield [_change(shard, record) for record in records]
            following = response.get("NextShardIterator")
            if not following:
                self._positions[shard] = FINISHED
                del self._iterators[shard]
                return
            self._iterators[shard] = following
            if not records:
                return

    async def _records(self, shard: str) -> "GetRecordsOutputTypeDef | None":
        """Return the next changes of a shard; None if its iterator is no longer valid."""
        try:
            return await call_with_retry(
                lambda: self._streams.get_records(ShardIterator=self._iterators[shard], Limit=_MAX_RECORDS),
                self._retry,
                what="read the stream of the table",
            )
        except TransientError as error:
            code = error_code(error.__cause__)
            if code not in {"ExpiredIteratorException", "TrimmedDataAccessException"}:
                raise
            if code == "TrimmedDataAccessException":
                self._restart_after_loss(shard)
            del self._iterators[shard]
            return None

    async def _iterator(self, arn: str, shard: str, start: Start) -> str:
        request: GetShardIteratorInputTypeDef = {
            "StreamArn": arn,
            "ShardId": shard,
            "ShardIteratorType": "LATEST" if start is Start.LATEST else "TRIM_HORIZON",
        }
        if (position := self._positions.get(shard)) is not None:
            request |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": position}
        try:
            response = await call_with_retry(
                lambda: self._streams.get_shard_iterator(**request),
                self._retry,
                what="find the position in the stream of the table",
            )
        except TransientError as error:
            if position is None or error_code(error.__cause__) != "TrimmedDataAccessException":
                raise
            self._restart_after_loss(shard)
            return await self._iterator(arn, shard, Start.OLDEST)
        return response["ShardIterator"]

    def _restart_after_loss(self, shard: str) -> None:
        position = self._positions.pop(shard, None)
        _log.warning(
            "stream.changes_lost",
            shard=shard,
            position=position,
            reason="the stream keeps changes for a day: for the time before, run `events replay`, or "
            "`reconcile --orphans` if it was read for expired records",
        )

    async def _arn(self) -> str:
        """Return the ARN of the table's stream."""
        name = self._table.name
        described = await call_with_retry(
            lambda: self._dynamodb.describe_table(TableName=name), self._retry, what=f"describe {name}"
        )
        table = described["Table"]
        specification = table.get("StreamSpecification", {})
        arn = table.get("LatestStreamArn")
        is_whole = specification.get("StreamViewType") == "NEW_AND_OLD_IMAGES"
        if not arn or not specification.get("StreamEnabled") or not is_whole:
            message = (
                f"table {name} has no stream with the items before and after each change: "
                "set WORKER_EVENTS=true, or WORKER_DELETE_EXPIRED_OBJECTS=true, and run "
                "`image-worker provision`"
            )
            raise ConfigurationError(message)
        return arn

    async def _shards(self, arn: str) -> "list[ShardTypeDef]":
        shards: list[ShardTypeDef] = []
        request: DescribeStreamInputTypeDef = {"StreamArn": arn}
        while True:
            described = await call_with_retry(
                lambda: self._streams.describe_stream(**request),
                self._retry,
                what="describe the stream of the table",
            )
            description = described["StreamDescription"]
            shards += description.get("Shards", [])
            if (last := description.get("LastEvaluatedShardId")) is None:
                return shards
            request["ExclusiveStartShardId"] = last


def _ready(shards: "Sequence[ShardTypeDef]", positions: Positions) -> list[str]:
    """Return the shards to read now: those that are not finished, after their parents."""
    unfinished = {shard["ShardId"] for shard in shards if positions.get(shard["ShardId"]) != FINISHED}
    return [
        shard["ShardId"]
        for shard in shards
        if shard["ShardId"] in unfinished and shard.get("ParentShardId") not in unfinished
    ]


def _change(shard: str, record: "RecordTypeDef") -> Change:
    values = record["dynamodb"]
    before, after = values.get("OldImage"), values.get("NewImage")
    return Change(
        shard_id=shard,
        sequence_number=values["SequenceNumber"],
        at=values["ApproximateCreationDateTime"],
        before=decode_map(before) if before else None,
        after=decode_map(after) if after else None,
        is_expiry=record.get("userIdentity", {}).get("PrincipalId") == _TTL_PRINCIPAL,
    )
