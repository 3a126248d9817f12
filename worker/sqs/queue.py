"""SQS: long polls, and batched answers whose every entry is looked at."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.batcher import Batcher
from worker.aws.errors import error_code, is_transient
from worker.aws.retry import QUEUE, call_with_retry
from worker.domain import clock
from worker.domain.errors import ReceiptLostError, TransientError
from worker.domain.job import Job
from worker.domain.message import Message, Unreadable
from worker.sqs.batch import MOST_TOGETHER, send_batch
from worker.sqs.events import to_body

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

log = structlog.get_logger(__name__)

_ANSWER_MARGIN_S = 10.0
_LONGEST_REASON = 1000


class Queue:
    """
    The queue of uploads and its dead letters.

    Args:
        client: Of SQS, for everything but receiving.
        polling: Another client, whose connections wait out the long polls.
        url: Of the queue.
        dead_letter_url: Of the dead-letter queue.
        wait_time_s: How long one poll waits.
        visibility_timeout_s: How long a received message stays hidden.
    """

    def __init__(
        self,
        client: "SQSClient",
        polling: "SQSClient",
        *,
        url: str,
        dead_letter_url: str,
        wait_time_s: int,
        visibility_timeout_s: int,
        linger_s: float = 0.02,
    ) -> None:
        self._client, self._polling = client, polling
        self._url, self._dead_letter_url = url, dead_letter_url
        self._wait_time_s, self._visibility_timeout_s = wait_time_s, visibility_timeout_s
        self._deletes: Batcher[Message] = Batcher(
            self._delete_batch, most=MOST_TOGETHER, name="delete messages", linger_s=linger_s
        )
        self._changes: Batcher[tuple[Message, int]] = Batcher(
            self._change_batch, most=MOST_TOGETHER, name="change visibilities", linger_s=linger_s
        )

    async def receive(self, max_messages: int) -> list[Message]:
        """
        Wait for messages, at most `max_messages` of them, for at most the wait time.

        Raises:
            TransientError: The queue does not answer; try again after a while.
        """
        try:
            async with asyncio.timeout(self._wait_time_s + _ANSWER_MARGIN_S):
                answer = await self._polling.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=min(max_messages, MOST_TOGETHER),
                    WaitTimeSeconds=self._wait_time_s,
                    VisibilityTimeout=self._visibility_timeout_s,
                    MessageSystemAttributeNames=[
                        "ApproximateReceiveCount",
                        "SentTimestamp",
                        "AWSTraceHeader",
                    ],
                )
        except Exception as error:
            if isinstance(error, ClientError | BotoCoreError) or is_transient(error):
                message = f"could not receive from {self._url}: {error_code(error)}"
                raise TransientError(message) from error
            raise
        return [_message(received) for received in answer.get("Messages", [])]

    async def delete(self, message: Message) -> None:
        """
        Delete a message whose work is settled.

        Raises:
            ReceiptLostError: The receipt is no longer accepted.
            TransientError: The queue cannot be reached within its retries; the message will come again.
        """
        await self._deletes.submit(message)

    async def change_visibility(self, message: Message, seconds: float) -> None:
        """
        Keep a message hidden for so many seconds from now; 0 gives it back at once.

        Raises:
            ReceiptLostError: The receipt is no longer accepted.
            TransientError: The queue cannot be reached within its retries.
        """
        await self._changes.submit((message, round(seconds)))

    async def send_to_dead_letter_queue(self, what: Job | Unreadable, *, reasons: Mapping[str, str]) -> None:
        """
        Put a job, or a part of a message that names none, among the dead letters.

        The reasons go with it as message attributes, so that nobody has to guess.

        Raises:
            TransientError: The queue cannot be reached within its retries.
        """
        await call_with_retry(
            lambda: self._client.send_message(
                QueueUrl=self._dead_letter_url,
                MessageBody=what.body
                if isinstance(what, Unreadable)
                else to_body(what, reason="dead letter"),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value[:_LONGEST_REASON]}
                    for name, value in reasons.items()
                    if value
                },
            ),
            QUEUE,
            what="send the dead letter",
        )

    async def close(self) -> None:
        """Wait until every delete and change of visibility is through."""
        await self._deletes.close()
        await self._changes.close()

    async def _delete_batch(self, messages: Sequence[Message]) -> Sequence[Exception | None]:
        async def send(pending: Sequence[int]) -> Any:  # noqa: ANN401 - a batch result
            return await self._client.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": messages[index].receipt_handle} for index in pending
                ],
            )

        return await _send(send, len(messages), what="delete messages")

    async def _change_batch(self, changes: Sequence[tuple[Message, int]]) -> Sequence[Exception | None]:
        # SQS keeps no order inside a batch: of several changes of one message, only the last is meant.
        meant = {message.receipt_handle: seconds for message, seconds in changes}
        handles = list(meant)

        async def send(pending: Sequence[int]) -> Any:  # noqa: ANN401 - a batch result
            return await self._client.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {
                        "Id": str(index),
                        "ReceiptHandle": handles[index],
                        "VisibilityTimeout": meant[handles[index]],
                    }
                    for index in pending
                ],
            )

        results = await _send(send, len(handles), what="change visibilities")
        by_handle = dict(zip(handles, results, strict=True))
        return [by_handle[message.receipt_handle] for message, _ in changes]


async def _send(
    send: Callable[[Sequence[int]], Awaitable[Any]], count: int, *, what: str
) -> list[Exception | None]:
    results = await send_batch(send, count, what=what, refused=ReceiptLostError)
    failed = [error for error in results if isinstance(error, TransientError)]
    if failed:
        log.warning("queue.batch_failed", what=what, entries=len(failed), reason=str(failed[0]))
    return results


def _message(received: "MessageTypeDef") -> Message:
    attributes = received.get("Attributes", {})
    sent_ms = int(attributes.get("SentTimestamp", 0))
    return Message(
        message_id=received["MessageId"],
        receipt_handle=received["ReceiptHandle"],
        body=received["Body"],
        receive_count=int(attributes.get("ApproximateReceiveCount", 1)),
        sent_at=clock.from_epoch_ms(sent_ms) if sent_ms else clock.to_milliseconds(datetime.now(UTC)),
        trace_header=attributes.get("AWSTraceHeader"),
    )
