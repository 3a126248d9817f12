"""Send jobs to the queue, in batches and at a limited rate."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from worker.aws.retry import RetryPolicy
from worker.domain.errors import TransientError
from worker.sqs.batch import MAX_BATCH_ENTRIES, send_batch

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import SendMessageBatchResultTypeDef


REPAIR_GROUP: Final = "repair"
"""
Message group of all our own messages.

On a standard queue, a group is a tenant: SQS delivers the messages of others first while those of a group
make up most of the messages in flight ("fair queues"). S3's notifications have no group.
"""


class RateLimiter:
    """
    Limits the rate of work, so that repairs leave the workers capacity for new uploads.

    Args:
        per_s: Maximum number of operations per second.
        now_s: Monotonic clock, in seconds.
        sleep: Waits for a number of seconds.
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
        """Wait until `count` more operations are allowed; unused capacity is not carried over."""
        now_s = self._now_s()
        if self._next_s > now_s:
            await self._sleep(self._next_s - now_s)
        self._next_s = max(now_s, self._next_s) + count / self._per_s


class JobSender:
    """
    Sends the bodies of jobs (`worker.sqs.events.to_body`) to the queue.

    Args:
        client: SQS client.
        url: URL of the queue.
        retry: Retry policy for each batch.
    """

    def __init__(self, client: "SQSClient", *, url: str, retry: RetryPolicy) -> None:
        self._client, self._url, self._retry = client, url, retry

    async def send(self, bodies: Sequence[str]) -> list[Exception | None]:
        """Send the messages; return for each, in order, None or the error that prevented it."""
        results: list[Exception | None] = []
        for start in range(0, len(bodies), MAX_BATCH_ENTRIES):
            results += await self._send_batch(bodies[start : start + MAX_BATCH_ENTRIES])
        return results

    async def _send_batch(self, bodies: Sequence[str]) -> list[Exception | None]:
        async def send(indexes: Sequence[int]) -> "SendMessageBatchResultTypeDef":
            return await self._client.send_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(index), "MessageBody": bodies[index], "MessageGroupId": REPAIR_GROUP}
                    for index in indexes
                ],
            )

        return await send_batch(send, len(bodies), self._retry, what="send the messages", rejected=_rejected)


def _rejected(code: str) -> TransientError:
    return TransientError(f"SQS rejected the message: {code}")
