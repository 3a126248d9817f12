"""Indexes, TTL, backups, protection and stream of the table."""

import asyncio
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from worker.aws.repairs import Repair
from worker.domain.errors import ConfigurationError
from worker.dynamodb.indexes import INDEXES, KEYS, LISTED_ATTRIBUTES

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        CreateGlobalSecondaryIndexActionTypeDef,
        TableDescriptionTypeDef,
    )

STREAM_VIEW: Final = "NEW_AND_OLD_IMAGES"
_FIRST_CAPACITY: Final = 5
_POLL_S: Final = 2.0
INDEX_TIMEOUT_S: Final = 900.0
"""DynamoDB creates an index of an empty table within minutes, and of a full one within hours."""


class TableDrift:
    """
    Keeps the settings of the table that the template has, or that `image-worker check` looks for.

    Args:
        dynamodb: DynamoDB client.
        table_name: Name of the table.
        has_stream: Whether the table has a stream for events.
        index_timeout_s: How long to wait for one new index.
        poll_s: Time between two requests while an index is created.
    """

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table_name: str,
        *,
        has_stream: bool,
        index_timeout_s: float = INDEX_TIMEOUT_S,
        poll_s: float = _POLL_S,
    ) -> None:
        self._dynamodb, self._name, self._has_stream = dynamodb, table_name, has_stream
        self._index_timeout_s, self._poll_s = index_timeout_s, poll_s

    async def find_missing_indexes(self, deployed_template: str) -> list[Repair]:
        """
        Return a repair for each index that the stack has created and the table has lost.

        DynamoDB creates one index at a time, and CloudFormation fails for more than one in an update.

        Args:
            deployed_template: An index that is not in it is new, and created by the update of the stack.
        """
        table = await self._describe()
        existing = {index["IndexName"] for index in table.get("GlobalSecondaryIndexes", [])}
        return [
            Repair(f"table {self._name}: create the index {name} again", partial(self._create_index, name))
            for name in INDEXES
            if name not in existing and _defines(deployed_template, name)
        ]

    async def find(self) -> list[Repair]:
        """Return the repairs of TTL, point-in-time recovery, deletion protection and stream."""
        table, name = await self._describe(), self._name
        repairs = []
        ttl = (await self._dynamodb.describe_time_to_live(TableName=name))["TimeToLiveDescription"]
        if ttl.get("TimeToLiveStatus") == "DISABLED":
            enable_ttl = partial(
                self._dynamodb.update_time_to_live,
                TableName=name,
                TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True},
            )
            repairs.append(Repair(f"table {name}: turn TTL on, by the attribute ttl", enable_ttl))
        backups = await self._dynamodb.describe_continuous_backups(TableName=name)
        recovery = backups["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
            enable_recovery = partial(
                self._dynamodb.update_continuous_backups,
                TableName=name,
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
            )
            repairs.append(Repair(f"table {name}: turn point-in-time recovery on", enable_recovery))
        if not table.get("DeletionProtectionEnabled", False):
            protect = partial(self._update_table, {"DeletionProtectionEnabled": True})
            repairs.append(Repair(f"table {name}: turn deletion protection on", protect))
        stream = table.get("StreamSpecification", {"StreamEnabled": False})
        if self._has_stream and not stream["StreamEnabled"]:
            wanted = {"StreamEnabled": True, "StreamViewType": STREAM_VIEW}
            add_stream = partial(self._update_table, {"StreamSpecification": wanted})
            repairs.append(Repair(f"table {name}: turn the stream on", add_stream))
        return repairs

    async def _describe(self) -> "TableDescriptionTypeDef":
        return (await self._dynamodb.describe_table(TableName=self._name))["Table"]

    async def _update_table(self, changes: dict[str, Any]) -> None:
        await self._wait_until_active()
        await self._dynamodb.update_table(TableName=self._name, **changes)

    async def _create_index(self, name: str) -> None:
        table = await self._wait_until_active()
        partition, sort = INDEXES[name]
        create: CreateGlobalSecondaryIndexActionTypeDef = {
            "IndexName": name,
            "KeySchema": [
                {"AttributeName": partition, "KeyType": "HASH"},
                {"AttributeName": sort, "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": sorted(LISTED_ATTRIBUTES)},
        }
        if table.get("BillingModeSummary", {}).get("BillingMode") != "PAY_PER_REQUEST":
            create["ProvisionedThroughput"] = {
                "ReadCapacityUnits": _FIRST_CAPACITY,
                "WriteCapacityUnits": _FIRST_CAPACITY,
            }
        # DynamoDB drops the definition of an attribute with the last index that uses it.
        defined = {each["AttributeName"] for each in table["AttributeDefinitions"]}
        attributes = defined | {*KEYS, partition, sort}
        await self._dynamodb.update_table(
            TableName=self._name,
            AttributeDefinitions=[
                {"AttributeName": each, "AttributeType": "S"} for each in sorted(attributes)
            ],
            GlobalSecondaryIndexUpdates=[{"Create": create}],
        )
        await self._wait_until_active()

    async def _wait_until_active(self) -> "TableDescriptionTypeDef":
        """Wait until neither the table nor an index is being changed; return the table."""
        deadline = time.monotonic() + self._index_timeout_s
        while True:
            table = await self._describe()
            indexes = table.get("GlobalSecondaryIndexes", [])
            busy = [each["IndexName"] for each in indexes if each.get("IndexStatus", "ACTIVE") != "ACTIVE"]
            if table.get("TableStatus", "ACTIVE") == "ACTIVE" and not busy:
                return table
            if time.monotonic() > deadline:
                message = (
                    f"table {self._name} is still changing {', '.join(busy) or 'its settings'} after "
                    f"{self._index_timeout_s:g} s; provision again when all its indexes are ACTIVE"
                )
                raise ConfigurationError(message)
            await asyncio.sleep(self._poll_s)


def _defines(template: str, index: str) -> bool:
    return re.search(rf"IndexName['\"]?: *['\"]?{index}\b", template) is not None
