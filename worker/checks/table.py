"""Check that the table exists, with the right keys, indexes and time to live."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.errors import is_no_such_table
from worker.aws.retry import RetryPolicy, retry_at_startup
from worker.checks.finding import PROVISION, Call, Finding, check_permission, failed, passed, request_failed
from worker.dynamodb.indexes import INDEXES, KEYS, LISTED_ATTRIBUTES

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        GlobalSecondaryIndexDescriptionTypeDef,
        KeySchemaElementTypeDef,
        TableDescriptionTypeDef,
    )

    from worker.settings import Settings

MISSING_ITEM: Final = "image-worker-check"
USE_ANOTHER_NAME: Final = "set WORKER_TABLE_NAME to another name and run `image-worker provision`"


async def find_table(dynamodb: "DynamoDBClient", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Check that the table exists, is active, and has the right key."""
    described = await _describe(dynamodb, settings, retry)
    return described if isinstance(described, Finding) else _key_finding(described, settings)


async def check_table(dynamodb: "DynamoDBClient", settings: "Settings", retry: RetryPolicy) -> list[Finding]:
    """Check the table, its indexes and time to live, and the permissions on items."""
    described = await _describe(dynamodb, settings, retry)
    if isinstance(described, Finding):
        return [described]
    keys = _key_finding(described, settings)
    indexes = {index["IndexName"]: index for index in described.get("GlobalSecondaryIndexes", [])}
    found = [keys, *(_index_finding(name, indexes.get(name), settings.table_name) for name in INDEXES)]
    found.append(await _check_ttl(dynamodb, settings))
    found.append(_deletion_protection(described, settings))
    found.append(await _check_recovery(dynamodb, settings))
    return found + (await _check_permissions(dynamodb, settings) if keys.ok else [])


async def _describe(
    dynamodb: "DynamoDBClient", settings: "Settings", retry: RetryPolicy
) -> "TableDescriptionTypeDef | Finding":
    what, name = "table", settings.table_name
    try:
        return (await retry_at_startup(lambda: dynamodb.describe_table(TableName=name), retry))["Table"]
    except (BotoCoreError, ClientError) as error:
        if is_no_such_table(error):
            return failed(what, f"table {name} does not exist", fix=f"{PROVISION}, or set WORKER_TABLE_NAME")
        return request_failed(what, error, action="dynamodb:DescribeTable", on=name)


def _key_finding(table: "TableDescriptionTypeDef", settings: "Settings") -> Finding:
    what, name = "table", settings.table_name
    if table["TableStatus"] not in {"ACTIVE", "UPDATING"}:
        return failed(what, f"{name} is {table['TableStatus']}", fix="wait until it is ACTIVE")
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    keys = _keys(table["KeySchema"])
    if keys != KEYS or any(types[key] != "S" for key in KEYS):
        message = (
            f"table {name} has the key {_names(keys)}, not {_names(KEYS)} of type string: "
            "it belongs to another program"
        )
        return failed(what, message, fix=USE_ANOTHER_NAME)
    return passed(what, f"{name} exists with the key {_names(keys)}")


def _index_finding(
    name: str, index: "GlobalSecondaryIndexDescriptionTypeDef | None", table_name: str
) -> Finding:
    what, keys = f"index {name}", INDEXES[name]
    if index is None:
        return failed(
            what, f"the table has no index {name}, which lists of images are read from", fix=PROVISION
        )
    if _keys(index["KeySchema"]) != keys:
        message = f"{name} has the key {_names(_keys(index['KeySchema']))}, not {_names(keys)}"
        return failed(what, message, fix=_replace(name, table_name))
    projection = index.get("Projection", {})
    missing = LISTED_ATTRIBUTES - set(projection.get("NonKeyAttributes", []))
    if projection.get("ProjectionType") != "ALL" and missing:
        message = f"{name} does not project {', '.join(sorted(missing))}: lists show them as empty"
        return failed(what, message, fix=_replace(name, table_name), required=False)
    if index.get("IndexStatus", "ACTIVE") not in {"ACTIVE", "UPDATING"}:
        message = f"{name} is {index['IndexStatus']}: lists are incomplete"
        return failed(what, message, fix="wait until it is ACTIVE", required=False)
    return passed(what, f"{name} has the key {_names(keys)}")


def _replace(index: str, table_name: str) -> str:
    """Return how to replace an index that another program has changed: DynamoDB cannot correct it."""
    updates = json.dumps([{"Delete": {"IndexName": index}}])
    return (
        f"run `aws dynamodb update-table --table-name {table_name} "
        f"--global-secondary-index-updates '{updates}'`, wait until the index is gone, and {PROVISION}"
    )


def _deletion_protection(table: "TableDescriptionTypeDef", settings: "Settings") -> Finding:
    what, name = "deletion protection", settings.table_name
    if not table.get("DeletionProtectionEnabled", False):
        message = f"one call deletes the table {name}: its deletion protection is off"
        return failed(what, message, fix=PROVISION, required=False)
    return passed(what, f"{name} cannot be deleted by mistake", required=False)


async def _check_recovery(dynamodb: "DynamoDBClient", settings: "Settings") -> Finding:
    what, name = "point-in-time recovery", settings.table_name
    try:
        backups = await dynamodb.describe_continuous_backups(TableName=name)
    except (BotoCoreError, ClientError) as error:
        return request_failed(
            what, error, action="dynamodb:DescribeContinuousBackups", on=name, required=False
        )
    recovery = backups["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
        message = f"point-in-time recovery is off: {name} can be restored only from on-demand backups"
        return failed(what, message, fix=PROVISION, required=False)
    return passed(what, f"{name} can be restored to any second of the last 35 days", required=False)


async def _check_ttl(dynamodb: "DynamoDBClient", settings: "Settings") -> Finding:
    what, name = "time to live", settings.table_name
    try:
        described = (await dynamodb.describe_time_to_live(TableName=name))["TimeToLiveDescription"]
    except (BotoCoreError, ClientError) as error:
        return request_failed(what, error, action="dynamodb:DescribeTimeToLive", on=name, required=False)
    enabled = described.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    if not enabled or described.get("AttributeName") != "ttl":
        message = f"time to live is off, or not by `ttl`: {name} keeps expired items"
        return failed(what, message, fix=PROVISION, required=False)
    return passed(what, "items whose `ttl` has passed are deleted", required=False)


async def _check_permissions(dynamodb: "DynamoDBClient", settings: "Settings") -> list[Finding]:
    name = settings.table_name
    key = {"imageId": {"S": MISSING_ITEM}, "userId": {"S": MISSING_ITEM}}
    calls: dict[str, Call] = {
        "dynamodb:GetItem": lambda: dynamodb.get_item(TableName=name, Key=key),
        "dynamodb:UpdateItem": lambda: dynamodb.update_item(
            TableName=name,
            Key=key,
            UpdateExpression="REMOVE nothing",
            ConditionExpression="attribute_exists(imageId)",  # the item never exists
        ),
        "dynamodb:Query": lambda: dynamodb.query(
            TableName=name,
            IndexName="UserImages",
            KeyConditionExpression="userId = :user",
            ExpressionAttributeValues={":user": {"S": MISSING_ITEM}},
            Limit=1,
        ),
    }
    return [await check_permission(action, on=name, call=call) for action, call in calls.items()]


def _keys(schema: "Sequence[KeySchemaElementTypeDef]") -> tuple[str, ...]:
    return tuple(key["AttributeName"] for key in sorted(schema, key=lambda key: key["KeyType"]))


def _names(keys: Sequence[str]) -> str:
    return " and ".join(keys)
