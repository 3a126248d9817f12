"""SQS batch requests, in which each entry succeeds or fails on its own."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import TransientError

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import (
        ChangeMessageVisibilityBatchResultTypeDef,
        DeleteMessageBatchResultTypeDef,
        SendMessageBatchResultTypeDef,
    )

BatchResult: TypeAlias = (
    "ChangeMessageVisibilityBatchResultTypeDef"
    " | DeleteMessageBatchResultTypeDef | SendMessageBatchResultTypeDef"
)

MAX_BATCH_ENTRIES: Final = 10
"""Quota of SQS: entries of a batch request, and messages of one receive."""


async def send_batch(
    send: Callable[[Sequence[int]], Awaitable[BatchResult]],
    count: int,
    retry: RetryPolicy,
    *,
    what: str,
    rejected: Callable[[str], Exception],
) -> list[Exception | None]:
    """
    Send a batch request, and retry the entries that failed because of SQS.

    Args:
        send: Sends the entries with the given indexes; the id of an entry is its index.
        count: Number of entries.
        retry: How often and for how long to retry.
        what: What the batch does, for the error message: `delete messages`.
        rejected: Returns the error for an entry that SQS rejects, given the error code.

    Returns:
        For each entry, in order, None or its error: `TransientError` when the retries are exhausted.
    """
    results: list[Exception | None] = [None] * count
    pending = list(range(count))

    async def attempt() -> None:
        response = await send(pending)
        pending.clear()
        for failure in response.get("Failed", []):
            index = int(failure["Id"])
            if failure.get("SenderFault"):
                results[index] = rejected(str(failure.get("Code")))
            else:
                pending.append(index)
        if pending:
            message = f"{len(pending)} of {count} entries failed"
            raise ConnectionError(message)

    try:
        await call_with_retry(attempt, retry, what=what)
    except TransientError as error:
        for index in pending:
            results[index] = error
    return results
