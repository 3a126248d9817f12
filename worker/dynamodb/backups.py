"""On-demand backups of the table."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from worker.aws.errors import is_no_such_table
from worker.aws.retry import TABLE, call_with_retry
from worker.domain.clock import Clock, utc_now
from worker.domain.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        BackupDetailsTypeDef,
        BackupSummaryTypeDef,
        ListBackupsInputTypeDef,
    )

NAME_PATTERN: Final = r"[a-zA-Z0-9_.-]{3,255}"
"""What DynamoDB takes as the name of a backup."""

_CLOCKS_DIFFER: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """
    One backup.

    Attributes:
        status: `CREATING`, `AVAILABLE` or `DELETED`.
        kind: `USER` for one that was asked for, `SYSTEM` for what a deleted table left, `AWS_BACKUP`.
        size_bytes: None while DynamoDB does not tell.
    """

    name: str
    arn: str
    status: str
    kind: str
    created_at: datetime
    size_bytes: int | None


def name_at(at: datetime) -> str:
    """Return the name that a backup is given where nobody names it: `backup-20240101-120000`, in UTC."""
    return f"backup-{at.astimezone(UTC):%Y%m%d-%H%M%S}"


class Backups:
    """
    The backups of one table.

    Args:
        client: Of DynamoDB.
        table: The table's name.
        clock: Tells when a backup is asked for.
    """

    def __init__(self, client: "DynamoDBClient", *, table: str, clock: Clock = utc_now) -> None:
        self._client, self._table, self._clock = client, table, clock

    async def create(self, name: str | None = None) -> Backup:
        """
        Ask for a backup and return it; DynamoDB goes on making it.

        Names need not be unique, so a backup whose answer was lost is looked for before it is asked for
        again.

        Raises:
            ConfigurationError: There is no such table.
            TransientError: DynamoDB does not answer within its retries, or refuses.
        """
        asked_at = self._clock()
        name = name or name_at(asked_at)
        tries = 0

        async def attempt() -> Backup:
            nonlocal tries
            tries += 1
            if tries > 1:
                for made in await self._since(asked_at - _CLOCKS_DIFFER):
                    if made.name == name:
                        return made
            answer = await self._client.create_backup(TableName=self._table, BackupName=name)
            return _backup(answer["BackupDetails"])

        try:
            return await call_with_retry(attempt, TABLE, what="back up the table")
        except TransientError as error:
            self._insist_on_the_table(error)
            raise

    async def all(self) -> list[Backup]:
        """
        Return every backup of the table, newest first.

        Raises:
            ConfigurationError: There is no such table.
            TransientError: DynamoDB does not answer within its retries, or refuses.
        """
        try:
            found = await self._list({"TableName": self._table, "BackupType": "ALL"}, persistently=True)
        except TransientError as error:
            self._insist_on_the_table(error)
            raise
        return sorted(found, key=lambda backup: backup.created_at, reverse=True)

    async def _since(self, at: datetime) -> list[Backup]:
        found = await self._list({"TableName": self._table, "TimeRangeLowerBound": at}, persistently=False)
        return [backup for backup in found if backup.created_at >= at]

    async def _list(self, request: "ListBackupsInputTypeDef", *, persistently: bool) -> list[Backup]:
        found: list[Backup] = []
        while True:
            ask = partial(self._client.list_backups, **request)
            page = await (call_with_retry(ask, TABLE, what="list the backups") if persistently else ask())
            found += map(_backup, page.get("BackupSummaries", []))
            following = page.get("LastEvaluatedBackupArn")
            if not following:
                return found
            request["ExclusiveStartBackupArn"] = following

    def _insist_on_the_table(self, error: TransientError) -> None:
        if is_no_such_table(error.__cause__):
            message = (
                f"there is no table {self._table}: set WORKER_TABLE_NAME, or run `image-worker provision`"
            )
            raise ConfigurationError(message) from error


def _backup(told: "BackupDetailsTypeDef | BackupSummaryTypeDef") -> Backup:
    return Backup(
        name=told["BackupName"],
        arn=told["BackupArn"],
        status=told["BackupStatus"],
        kind=told["BackupType"],
        created_at=told["BackupCreationDateTime"].astimezone(UTC),
        size_bytes=told.get("BackupSizeBytes"),
    )
