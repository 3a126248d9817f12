"""Read and write any number of items, in batches."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.dynamodb.attributes import decode_map, encode_map
from worker.dynamodb.items import Item
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        AttributeValueTypeDef,
        KeysAndAttributesTypeDef,
        WriteRequestUnionTypeDef,
    )

MAX_READ: Final = 100
MAX_WRITTEN: Final = 25
_MAX_IN_FLIGHT: Final = 8

Key: TypeAlias = "Mapping[str, AttributeValueTypeDef]"
Entry = TypeVar("Entry")
Result = TypeVar("Result")


async def get_items(
    client: "DynamoDBClient",
    table: Table,
    retry: RetryPolicy,
    keys: Iterable[tuple[str, str]],
    *,
    consistent: bool = False,
    attributes: Sequence[str] = (),
) -> list[Item]:
    """
    Return the items with the given keys (image id, user id) that exist, in any order.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for each batch.
        keys: Image id and user id of each item.
        consistent: Use strongly consistent reads.
        attributes: Names of the attributes to return; all if empty.

    Raises:
        TransientError: The table was unavailable, or left keys unprocessed.
    """
    wanted: list[Key] = [
        {"imageId": {"S": image_id}, "userId": {"S": user_id}} for image_id, user_id in dict.fromkeys(keys)
    ]

    names = {f"#{name}": name for name in attributes}
    projection: KeysAndAttributesTypeDef = {"Keys": []}
    if names:  # DynamoDB rejects an empty expression
        projection = {
            "Keys": [],
            "ProjectionExpression": ", ".join(names),
            "ExpressionAttributeNames": names,
        }

    async def read(batch: Sequence[Key]) -> list[Item]:
        items: list[Item] = []
        remaining = batch

        async def attempt() -> None:
            nonlocal remaining
            request: KeysAndAttributesTypeDef = {
                **projection,
                "Keys": remaining,
                "ConsistentRead": consistent,
            }
            response = await client.batch_get_item(RequestItems={table.name: request})
            items.extend(decode_map(item) for item in response["Responses"].get(table.name, []))
            unprocessed = response.get("UnprocessedKeys", {})
            remaining = unprocessed[table.name]["Keys"] if table.name in unprocessed else []
            _raise_if_any(remaining)

        await call_with_retry(attempt, retry, what="read the items")
        return items

    return [item for items in await _in_batches(read, wanted, MAX_READ) for item in items]


async def put_items(
    client: "DynamoDBClient", table: Table, retry: RetryPolicy, items: Iterable[Mapping[str, Any]]
) -> None:
    """
    Write items unconditionally: only for restoring and filling a table that no worker uses.

    Raises:
        TransientError: The table was unavailable, or left items unprocessed.
    """
    requests: list[WriteRequestUnionTypeDef] = [{"PutRequest": {"Item": encode_map(item)}} for item in items]

    async def write(batch: "Sequence[WriteRequestUnionTypeDef]") -> None:
        remaining = batch

        async def attempt() -> None:
            nonlocal remaining
            response = await client.batch_write_item(RequestItems={table.name: remaining})
            remaining = response.get("UnprocessedItems", {}).get(table.name, [])
            _raise_if_any(remaining)

        await call_with_retry(attempt, retry, what="write the items")

    await _in_batches(write, requests, MAX_WRITTEN)


async def _in_batches(
    process: Callable[[Sequence[Entry]], Awaitable[Result]], entries: Sequence[Entry], size: int
) -> list[Result]:
    """Process entries in batches, several at a time; return the results in order."""
    slots = asyncio.Semaphore(_MAX_IN_FLIGHT)

    async def limited(batch: Sequence[Entry]) -> Result:
        async with slots:
            return await process(batch)

    return await asyncio.gather(*(limited(entries[at : at + size]) for at in range(0, len(entries), size)))


def _raise_if_any(unprocessed: Sequence[object]) -> None:
    """Make `call_with_retry` repeat the call for what DynamoDB left unprocessed."""
    if unprocessed:
        message = f"{len(unprocessed)} items were left unprocessed"
        raise ConnectionError(message)
