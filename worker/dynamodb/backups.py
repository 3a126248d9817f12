"""Create and list on-demand backups of the table."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from worker.aws.errors import is_no_such_table
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.clock import Clock, utc_now
from worker.domain.errors import ConfigurationError, TransientError
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        BackupDetailsTypeDef,
        BackupSummaryTypeDef,
        ListBackupsInputTypeDef,
    )

NAME_PATTERN: Final = r"[a-zA-Z0-9_.-]{3,255}"
"""Names that DynamoDB accepts."""

_MAX_CLOCK_DIFFERENCE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """
    A backup of the table.

    Attributes:
        status: `CREATING`, `AVAILABLE` or `DELETED`.
        kind: `USER` for one that was requested, `SYSTEM` for one of a deleted table, or `AWS_BACKUP`.
        size_bytes: None as long as DynamoDB does not report it.
    """

    name: str
    arn: str
    status: str
    kind: str
    created_at: datetime
    size_bytes: int | None


def default_name(at: datetime) -> str:
    """Return the default name of a backup created at a time: `backup-20240101-120000`, in UTC."""
    return f"backup-{at.astimezone(UTC):%Y%m%d-%H%M%S}"


class Backups:
    """
    Creates and lists the backups of a table.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
        clock: Returns the current time.
    """

    def __init__(
        self, client: "DynamoDBClient", *, table: Table, retry: RetryPolicy, clock: Clock = utc_now
    ) -> None:
        self._client, self._table, self._retry, self._clock = client, table, retry, clock

    async def create(self, name: str | None = None) -> Backup:
        """
        Start a backup and return it without waiting until it is available.

        Args:
            name: Name of the backup; by default `backup-` and the time.

        Raises:
            ConfigurationError: The table does not exist.
            TransientError: DynamoDB was unavailable or rejected the request.
        """
        started_at = self._clock()
        name = name or default_name(started_at)
        is_retry = False

        async def attempt() -> Backup:
            nonlocal is_retry
            if is_retry:  # names are not unique: look for a backup whose response was lost
                for backup in await self._started_since(started_at - _MAX_CLOCK_DIFFERENCE):
                    if backup.name == name:
                        return backup
            is_retry = True
            response = await self._client.create_backup(TableName=self._table.name, BackupName=name)
            return _backup(response["BackupDetails"])

        try:
            return await call_with_retry(attempt, self._retry, what="back up the table")
        except TransientError as error:
            self._raise_if_table_is_missing(error)
            raise

    async def all(self) -> list[Backup]:
        """
        Return every backup of the table, newest first.

        Raises:
            ConfigurationError: The table does not exist.
            TransientError: DynamoDB was unavailable or rejected the request.
        """
        try:
            backups = await self._list({"BackupType": "ALL"}, retrying=True)
        except TransientError as error:
            self._raise_if_table_is_missing(error)
            raise
        return sorted(backups, key=lambda backup: backup.created_at, reverse=True)

    async def _started_since(self, at: datetime) -> list[Backup]:
        backups = await self._list({"TimeRangeLowerBound": at}, retrying=False)
        return [backup for backup in backups if backup.created_at >= at]

    async def _list(self, filters: "ListBackupsInputTypeDef", *, retrying: bool) -> list[Backup]:
        request: ListBackupsInputTypeDef = {"TableName": self._table.name, **filters}
        backups: list[Backup] = []
        while True:
            list_page = partial(self._client.list_backups, **request)
            response = (
                await call_with_retry(list_page, self._retry, what="list the backups")
                if retrying
                else await list_page()
            )
            backups += map(_backup, response.get("BackupSummaries", []))
            last = response.get("LastEvaluatedBackupArn")
            if not last:
                return backups
            request["ExclusiveStartBackupArn"] = last

    def _raise_if_table_is_missing(self, error: TransientError) -> None:
        if is_no_such_table(error.__cause__):
            message = (
                f'Table "{self._table.name}" does not exist. '
                'Run "image-worker provision", or set WORKER_TABLE_NAME.'
            )
            raise ConfigurationError(message) from error


def _backup(description: "BackupDetailsTypeDef | BackupSummaryTypeDef") -> Backup:
    return Backup(
        name=description["BackupName"],
        arn=description["BackupArn"],
        status=description["BackupStatus"],
        kind=description["BackupType"],
        created_at=description["BackupCreationDateTime"].astimezone(UTC),
        size_bytes=description.get("BackupSizeBytes"),
    )
