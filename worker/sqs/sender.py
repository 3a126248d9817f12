"""Asking for pictures: our own jobs into the queue, ten at a time, and no faster than told."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from worker.domain.errors import TransientError
from worker.sqs.batch import MOST_TOGETHER, send_batch

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient


class RateLimiter:
    """
    Spreads work over time, so that what is repaired does not starve what is fresh.

    Args:
        per_s: How many a second.
        now_s: A clock that never goes back.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        per_s: float,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._per_s, self._now_s, self._sleep = per_s, now_s, sleep
        self._next_s = 0.0

    async def wait_for(self, count: int) -> None:
        """Wait until so many more may go; time that was not used is not made up for."""
        now_s = self._now_s()
        if self._next_s > now_s:
            await self._sleep(self._next_s - now_s)
        self._next_s = max(now_s, self._next_s) + count / self._per_s


class Requests:
    """
    The sending side of the queue.

    Args:
        client: Of SQS.
        url: Of the queue.
    """

    def __init__(self, client: "SQSClient", *, url: str) -> None:
        self._client, self._url = client, url

    async def send(self, bodies: Sequence[str]) -> list[Exception | None]:
        """Send messages; return for each, in order, None or why it could not be sent."""
        results: list[Exception | None] = []
        for start in range(0, len(bodies), MOST_TOGETHER):
            results += await self._send_some(bodies[start : start + MOST_TOGETHER])
        return results

    async def _send_some(self, bodies: Sequence[str]) -> list[Exception | None]:
        async def send(pending: Sequence[int]) -> Any:  # noqa: ANN401 - a batch result
            return await self._client.send_message_batch(
                QueueUrl=self._url,
                Entries=[{"Id": str(index), "MessageBody": bodies[index]} for index in pending],
            )

        return await send_batch(send, len(bodies), what="send the messages", refused=_refused)


def _refused(code: str) -> TransientError:
    return TransientError(f"the queue refuses the message: {code}")
