"""Restore the table to a new one, from a backup or to a point in time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from worker.aws.errors import error_code, is_no_such_table
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import ConfigurationError, TransientError
from worker.dynamodb.backups import Backup
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        RestoreTableToPointInTimeInputTypeDef,
        TableDescriptionTypeDef,
    )

LATEST: Final = "latest"

RestorePoint: TypeAlias = Backup | datetime | Literal["latest"]
"""A backup, or a time of point-in-time recovery: `LATEST` is about five minutes ago."""

_POLL_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredTable:
    """
    A restored table.

    Attributes:
        name: Its name.
        arn: Its ARN.
        is_resumed: Whether an earlier request had begun to restore it.
    """

    name: str
    arn: str
    is_resumed: bool


class TableRestore:
    """
    Restores a table to one with another name.

    Args:
        client: DynamoDB client.
        table: The table that is restored.
        retry: Retry policy for DynamoDB requests.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        table: Table,
        retry: RetryPolicy,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client, self._table, self._retry, self._sleep = client, table, retry, sleep

    async def check(self, target: str, point: RestorePoint) -> None:
        """
        Check that the table can be restored to another one, without a change.

        Raises:
            ConfigurationError: It cannot; the message says why.
            TransientError: DynamoDB was unavailable or rejected a request.
        """
        if target == self._table.name:
            message = f'"{target}" is the table that is to be restored: choose another name for the new one'
            raise ConfigurationError(message)
        existing = await self._describe(target)
        if existing is not None and not self._is_of_this_table(existing):
            message = (
                f'Table "{target}" exists, and was not restored from {self._table.name}: choose another name.'
            )
            raise ConfigurationError(message)
        if isinstance(point, Backup):
            if point.status != "AVAILABLE":
                message = f'Backup "{point.name}" is {point.status}: wait until it is AVAILABLE.'
                raise ConfigurationError(message)
            return
        earliest, latest = await self._recoverable()
        if isinstance(point, datetime) and not earliest <= point <= latest:
            message = (
                f"{point.isoformat()} is outside of the point-in-time recovery of {self._table.name}: "
                f"choose a time from {earliest.isoformat()} to {latest.isoformat()}"
            )
            raise ConfigurationError(message)

    async def restore(self, target: str, point: RestorePoint) -> RestoredTable:
        """
        Restore the table to a new one, and wait until that is ACTIVE; continue an earlier restore to it.

        Its indexes, capacity and encryption are those of the table at that time. It has no stream, TTL,
        point-in-time recovery, deletion protection, tags, scaling policies or alarms.

        Raises:
            ConfigurationError: The table cannot be restored to this one.
            TransientError: DynamoDB was unavailable or rejected a request; the restore may have begun.
        """
        await self.check(target, point)
        is_resumed = await self._describe(target) is not None
        if not is_resumed:
            await self._begin(target, point)
        while True:
            table = await self._describe(target)
            if table is not None and table["TableStatus"] == "ACTIVE":
                return RestoredTable(name=target, arn=table["TableArn"], is_resumed=is_resumed)
            await self._sleep(_POLL_S)

    async def copy_tags(self, restored: RestoredTable) -> int:
        """Add the tags of the table to the restored one; return their number."""
        source = await self._describe(self._table.name)
        if source is None:
            return 0
        listed = await call_with_retry(
            lambda: self._client.list_tags_of_resource(ResourceArn=source["TableArn"]),
            self._retry,
            what="list the tags of the table",
        )
        # Tags that begin with aws: are those of the stack, and reserved.
        tags = [tag for tag in listed.get("Tags", []) if not tag["Key"].startswith("aws:")]
        if tags:
            await call_with_retry(
                lambda: self._client.tag_resource(ResourceArn=restored.arn, Tags=tags),
                self._retry,
                what="tag the restored table",
            )
        return len(tags)

    async def stream_arn(self, restored: RestoredTable) -> str | None:
        """Return the ARN of the stream of the restored table; None if it has none."""
        table = await self._describe(restored.name)
        return table.get("LatestStreamArn") if table else None

    async def _begin(self, target: str, point: RestorePoint) -> None:
        async def attempt() -> None:
            if isinstance(point, Backup):
                await self._client.restore_table_from_backup(TargetTableName=target, BackupArn=point.arn)
                return
            request: RestoreTableToPointInTimeInputTypeDef = {
                "SourceTableName": self._table.name,
                "TargetTableName": target,
            }
            if isinstance(point, datetime):
                request["RestoreDateTime"] = point
            else:
                request["UseLatestRestorableTime"] = True
            await self._client.restore_table_to_point_in_time(**request)

        try:
            await call_with_retry(attempt, self._retry, what=f"restore {self._table.name} to {target}")
        except TransientError as error:
            # An earlier attempt may have begun it although its response was lost.
            if error_code(error.__cause__) not in {"TableAlreadyExistsException", "TableInUseException"}:
                raise

    async def _recoverable(self) -> tuple[datetime, datetime]:
        """Return the first and the last time that point-in-time recovery can restore the table to."""
        name = self._table.name
        try:
            described = await call_with_retry(
                lambda: self._client.describe_continuous_backups(TableName=name),
                self._retry,
                what=f"describe the backups of {name}",
            )
        except TransientError as error:
            if not is_no_such_table(error.__cause__):
                raise
            message = f'Table "{name}" does not exist: restore it from a backup, with --backup.'
            raise ConfigurationError(message) from error
        recovery = described["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
            message = f"Point-in-time recovery of {name} is off: restore it from a backup, with --backup."
            raise ConfigurationError(message)
        now = datetime.now(UTC)
        return (
            recovery.get("EarliestRestorableDateTime", datetime.min.replace(tzinfo=UTC)),
            recovery.get("LatestRestorableDateTime", now),
        )

    async def _describe(self, name: str) -> "TableDescriptionTypeDef | None":
        try:
            described = await call_with_retry(
                lambda: self._client.describe_table(TableName=name), self._retry, what=f"describe {name}"
            )
        except TransientError as error:
            if is_no_such_table(error.__cause__):
                return None
            raise
        return described["Table"]

    def _is_of_this_table(self, table: "TableDescriptionTypeDef") -> bool:
        source = table.get("RestoreSummary", {}).get("SourceTableArn", "")
        return source.rpartition("/")[2] == self._table.name
