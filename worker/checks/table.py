"""Whether the table of the record is there, with the keys and indexes that its items need."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.errors import is_no_such_table
from worker.aws.retry import RetryPolicy, retry_at_startup
from worker.checks.finding import PROVISION, Call, Finding, permitted, refused, right, wrong

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        GlobalSecondaryIndexDescriptionTypeDef,
        KeySchemaElementTypeDef,
        TableDescriptionTypeDef,
    )

    from worker.settings import Settings

KEYS: Final = ("imageId", "userId")
"""Hash and range key of the table."""
INDEXES: Final = {
    "UserImages": ("userId", "createdAt"),
    "StatusIndex": ("statusShard", "createdAt"),
    "DateIndex": ("dateShard", "createdAt"),
}
"""Index -> its hash and range key."""
SHOWN: Final = frozenset(
    {
        "status",
        "processedAt",
        "originalFileName",
        "originalFileSize",
        "originalS3Key",
        "processedS3Key",
        "ttl",
    }
)
"""What lists show, besides keys."""
NO_ITEM: Final = "image-worker-check"
ANOTHER_TABLE: Final = "set WORKER_TABLE_NAME to another name and run `image-worker provision`"


async def find_table(dynamodb: "DynamoDBClient", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Find whether the table exists, can be written to, and has the record's keys."""
    described = await _describe(dynamodb, settings, retry)
    return described if isinstance(described, Finding) else _judge_keys(described, settings)


async def check_table(dynamodb: "DynamoDBClient", settings: "Settings", retry: RetryPolicy) -> list[Finding]:
    """Check the table, its indexes and expiry, and what may be done with items."""
    described = await _describe(dynamodb, settings, retry)
    if isinstance(described, Finding):
        return [described]
    keys = _judge_keys(described, settings)
    indexes = {index["IndexName"]: index for index in described.get("GlobalSecondaryIndexes", [])}
    found = [keys, *(_judge_index(name, indexes.get(name)) for name in INDEXES)]
    found.append(await _check_ttl(dynamodb, settings))
    return found + (await _check_permissions(dynamodb, settings) if keys.ok else [])


async def _describe(
    dynamodb: "DynamoDBClient", settings: "Settings", retry: RetryPolicy
) -> "TableDescriptionTypeDef | Finding":
    what, name = "table", settings.table_name
    try:
        return (await retry_at_startup(lambda: dynamodb.describe_table(TableName=name), retry))["Table"]
    except (BotoCoreError, ClientError) as error:
        if is_no_such_table(error):
            return wrong(what, f"there is no table {name}", remedy=f"{PROVISION}, or set WORKER_TABLE_NAME")
        return refused(what, error, action="dynamodb:DescribeTable", on=name)


def _judge_keys(table: "TableDescriptionTypeDef", settings: "Settings") -> Finding:
    what, name = "table", settings.table_name
    if table["TableStatus"] not in {"ACTIVE", "UPDATING"}:
        return wrong(what, f"{name} is {table['TableStatus']}", remedy="wait until it is ACTIVE")
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    keys = _keys(table["KeySchema"])
    if keys != KEYS or any(types[key] != "S" for key in KEYS):
        message = f"{name} has the key {_told(keys)}, not {_told(KEYS)} of type string; it is another's table"
        return wrong(what, message, remedy=ANOTHER_TABLE)
    return right(what, f"{name} exists with the key {_told(keys)}")


def _judge_index(name: str, index: "GlobalSecondaryIndexDescriptionTypeDef | None") -> Finding:
    what, keys = f"index {name}", INDEXES[name]
    if index is None:
        return wrong(what, f"the table has no index {name}, which lists are read from", remedy=PROVISION)
    if _keys(index["KeySchema"]) != keys:
        message = f"{name} has the key {_told(_keys(index['KeySchema']))}, not {_told(keys)}"
        return wrong(what, message, remedy=f"delete the index, then {PROVISION}")
    projection = index.get("Projection", {})
    hidden = SHOWN - set(projection.get("NonKeyAttributes", []))
    if projection.get("ProjectionType") != "ALL" and hidden:
        message = f"{name} lacks {', '.join(sorted(hidden))}: lists show nothing there"
        return wrong(what, message, remedy=f"delete the index, then {PROVISION}", required=False)
    if index.get("IndexStatus", "ACTIVE") not in {"ACTIVE", "UPDATING"}:
        message = f"{name} is {index['IndexStatus']}: lists are not complete yet"
        return wrong(what, message, remedy="wait until it is ACTIVE", required=False)
    return right(what, f"{name} has the key {_told(keys)}")


async def _check_ttl(dynamodb: "DynamoDBClient", settings: "Settings") -> Finding:
    what, name = "expiry", settings.table_name
    try:
        described = (await dynamodb.describe_time_to_live(TableName=name))["TimeToLiveDescription"]
    except (BotoCoreError, ClientError) as error:
        return refused(what, error, action="dynamodb:DescribeTimeToLive", on=name, required=False)
    enabled = described.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    if not enabled or described.get("AttributeName") != "ttl":
        message = f"{name} does not delete items past their `ttl`"
        return wrong(what, message, remedy=PROVISION, required=False)
    return right(what, "items past their `ttl` are deleted", required=False)


async def _check_permissions(dynamodb: "DynamoDBClient", settings: "Settings") -> list[Finding]:
    name = settings.table_name
    key = {"imageId": {"S": NO_ITEM}, "userId": {"S": NO_ITEM}}
    calls: dict[str, Call] = {
        "dynamodb:GetItem": lambda: dynamodb.get_item(TableName=name, Key=key),
        "dynamodb:UpdateItem": lambda: dynamodb.update_item(
            TableName=name,
            Key=key,
            UpdateExpression="REMOVE nothing",
            ConditionExpression="attribute_exists(imageId)",  # which it never does
        ),
        "dynamodb:Query": lambda: dynamodb.query(
            TableName=name,
            IndexName="UserImages",
            KeyConditionExpression="userId = :user",
            ExpressionAttributeValues={":user": {"S": NO_ITEM}},
            Limit=1,
        ),
    }
    return [await permitted("permission", action, on=name, call=call) for action, call in calls.items()]


def _keys(schema: "Sequence[KeySchemaElementTypeDef]") -> tuple[str, ...]:
    return tuple(key["AttributeName"] for key in sorted(schema, key=lambda key: key["KeyType"]))


def _told(keys: Sequence[str]) -> str:
    return " and ".join(keys)
