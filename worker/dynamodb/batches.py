"""Reading and writing any number of items: in chunks, with what was left unprocessed asked for again."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from worker.aws.retry import TABLE, call_with_retry
from worker.dynamodb.attributes import decode_map, encode_map
from worker.dynamodb.items import Item

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

MOST_READ: Final = 100
MOST_WRITTEN: Final = 25
_IN_FLIGHT: Final = 8


async def get_all(
    client: "DynamoDBClient", table: str, keys: Iterable[tuple[str, str]], *, consistent: bool = False
) -> list[Item]:
    """
    Read the items of any number of (image id, user id), in no order, less those that are not there.

    Raises:
        TransientError: The table cannot be reached, or leaves keys unprocessed, within the retries.
    """
    wanted = [
        {"imageId": {"S": image_id}, "userId": {"S": user_id}} for image_id, user_id in dict.fromkeys(keys)
    ]

    async def read(chunk: list[Any]) -> list[Item]:
        items: list[Item] = []

        async def attempt() -> None:
            nonlocal chunk
            request: Any = {table: {"Keys": chunk, "ConsistentRead": consistent}}
            answer: Any = await client.batch_get_item(RequestItems=request)
            items.extend(decode_map(item) for item in answer["Responses"].get(table, []))
            chunk = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            _insist_on_none(chunk)

        await call_with_retry(attempt, TABLE, what="read the items")
        return items

    return [item for part in await _each_chunk(read, wanted, MOST_READ) for item in part]


async def put_all(client: "DynamoDBClient", table: str, items: Iterable[Mapping[str, Any]]) -> None:
    """
    Write any number of items, whatever lies there: for restoring and filling tables, never under a worker.

    Raises:
        TransientError: The table cannot be reached, or leaves items unprocessed, within the retries.
    """
    requests = [{"PutRequest": {"Item": encode_map(item)}} for item in items]

    async def write(chunk: list[Any]) -> None:
        async def attempt() -> None:
            nonlocal chunk
            answer = await client.batch_write_item(RequestItems={table: chunk})
            chunk = list(answer.get("UnprocessedItems", {}).get(table, []))
            _insist_on_none(chunk)

        await call_with_retry(attempt, TABLE, what="write the items")

    await _each_chunk(write, requests, MOST_WRITTEN)


async def _each_chunk(work: Any, entries: list[Any], most: int) -> list[Any]:  # noqa: ANN401
    """Work off the entries in chunks, several at once; return what each chunk gave, in order."""
    free = asyncio.Semaphore(_IN_FLIGHT)

    async def one(chunk: list[Any]) -> Any:  # noqa: ANN401
        async with free:
            return await work(chunk)

    return await asyncio.gather(*(one(entries[at : at + most]) for at in range(0, len(entries), most)))


def _insist_on_none(unprocessed: list[Any]) -> None:
    """Have the attempt made again, after a while, for what the table left undone."""
    if unprocessed:
        message = f"{len(unprocessed)} left unprocessed"
        raise ConnectionError(message)
