"""One batch of SQS, whose answer tells of each entry apart."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from worker.aws.retry import QUEUE, call_with_retry
from worker.domain.errors import TransientError

MOST_TOGETHER: Final = 10
"""What SQS takes in one batch and hands out in one receive."""


async def send_batch(
    send: Callable[[Sequence[int]], Awaitable[Any]],
    count: int,
    *,
    what: str,
    refused: Callable[[str], Exception],
) -> list[Exception | None]:
    """
    Send a batch until each of its entries is through, is refused for good, or the retries are used up.

    Args:
        send: Sends the entries of these numbers, each under its number as its id.
        count: How many entries there are.
        what: Names the call in the error: `delete messages`.
        refused: Makes the error of an entry that SQS refuses, of the code that it gives.

    Returns:
        For each entry, in order, None or its error: `TransientError` where the retries were used up.
    """
    results: list[Exception | None] = [None] * count
    pending = list(range(count))

    async def attempt() -> None:
        answer = await send(pending)
        pending.clear()
        for failure in answer.get("Failed", []):
            index = int(failure["Id"])
            if failure.get("SenderFault"):
                results[index] = refused(str(failure.get("Code")))
            else:
                pending.append(index)
        if pending:
            message = f"{len(pending)} of {count} entries failed"
            raise ConnectionError(message)

    try:
        await call_with_retry(attempt, QUEUE, what=what)
    except TransientError as error:
        for index in pending:
            results[index] = error
    return results
