"""The SQS queue of uploads: long polling, and batched deletes and changes of visibility."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.batcher import Batcher
from worker.aws.errors import error_code, is_transient
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain import clock
from worker.domain.errors import ReceiptLostError, TransientError
from worker.domain.job import Job
from worker.domain.message import Message, Unreadable
from worker.sqs.batch import MAX_BATCH_ENTRIES, BatchResult, send_batch
from worker.sqs.events import to_body

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import (
        ChangeMessageVisibilityBatchResultTypeDef,
        DeleteMessageBatchResultTypeDef,
        MessageTypeDef,
    )

log = structlog.get_logger(__name__)

_RESPONSE_MARGIN_S = 10.0
_MAX_REASON_CHARACTERS = 1000


class Queue:
    """
    The queue of uploads and its dead-letter queue.

    Args:
        client: SQS client, for everything but receiving.
        polling: SQS client for receiving, whose read timeout is longer than a long poll.
        url: URL of the queue.
        dead_letter_url: URL of the dead-letter queue.
        wait_time_s: Duration of a long poll.
        visibility_timeout_s: Visibility timeout of received messages.
        retry: Retry policy for everything but receiving, which the caller repeats.
        linger_s: How long the first entry of a batch waits for more.
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
        retry: RetryPolicy,
        linger_s: float = 0.02,
    ) -> None:
        self._client, self._polling = client, polling
        self._url, self._dead_letter_url = url, dead_letter_url
        self._wait_time_s, self._visibility_timeout_s = wait_time_s, visibility_timeout_s
        self._retry = retry
        self._deletes: Batcher[Message] = Batcher(
            self._delete_batch, max_entries=MAX_BATCH_ENTRIES, name="delete messages", linger_s=linger_s
        )
        self._changes: Batcher[tuple[Message, int]] = Batcher(
            self._change_batch, max_entries=MAX_BATCH_ENTRIES, name="change visibilities", linger_s=linger_s
        )

    async def receive(self, max_messages: int) -> list[Message]:
        """
        Receive up to `max_messages` messages, waiting at most the wait time for the first.

        Raises:
            TransientError: SQS is unavailable, or rejected the request.
        """
        try:
            async with asyncio.timeout(self._wait_time_s + _RESPONSE_MARGIN_S):
                response = await self._polling.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=min(max_messages, MAX_BATCH_ENTRIES),
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
        received = map(message_of, response.get("Messages", []))
        return [each for each in received if each is not None]

    async def delete(self, message: Message) -> None:
        """
        Delete a message.

        Raises:
            ReceiptLostError: The receipt handle is no longer valid.
            TransientError: SQS is unavailable; the message will be received again.
        """
        await self._deletes.submit(message)

    async def change_visibility(self, message: Message, seconds: float) -> None:
        """
        Set the visibility timeout of a message to this many seconds from now; 0 releases it.

        Raises:
            ReceiptLostError: The receipt handle is no longer valid.
            TransientError: SQS is unavailable.
        """
        await self._changes.submit((message, round(seconds)))

    async def send_to_dead_letter_queue(self, what: Job | Unreadable, *, reasons: Mapping[str, str]) -> None:
        """
        Send a job, or a part of a message that cannot be read, to the dead-letter queue.

        Args:
            what: The job, sent as a message that requests it again, or the unreadable part, sent unchanged.
            reasons: Why it is a dead letter, stored as message attributes; empty values are left out.

        Raises:
            TransientError: SQS is unavailable, or rejected the message.
        """
        body = what.body if isinstance(what, Unreadable) else to_body(what, reason="dead letter")
        await call_with_retry(
            lambda: self._client.send_message(
                QueueUrl=self._dead_letter_url,
                MessageBody=body,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value[:_MAX_REASON_CHARACTERS]}
                    for name, value in reasons.items()
                    if value
                },
            ),
            self._retry,
            what="send the dead letter",
        )

    async def close(self) -> None:
        """Wait for all submitted deletes and changes of visibility."""
        await self._deletes.close()
        await self._changes.close()

    async def _delete_batch(self, messages: Sequence[Message]) -> Sequence[Exception | None]:
        async def send(indexes: Sequence[int]) -> "DeleteMessageBatchResultTypeDef":
            return await self._client.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": messages[index].receipt_handle} for index in indexes
                ],
            )

        return await self._send_batch(send, len(messages), what="delete messages")

    async def _change_batch(self, changes: Sequence[tuple[Message, int]]) -> Sequence[Exception | None]:
        # SQS does not keep the order of a batch: of several changes to one message, send only the last.
        seconds_by_handle = {message.receipt_handle: seconds for message, seconds in changes}
        handles = list(seconds_by_handle)

        async def send(indexes: Sequence[int]) -> "ChangeMessageVisibilityBatchResultTypeDef":
            return await self._client.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {
                        "Id": str(index),
                        "ReceiptHandle": handles[index],
                        "VisibilityTimeout": seconds_by_handle[handles[index]],
                    }
                    for index in indexes
                ],
            )

        results = await self._send_batch(send, len(handles), what="change visibilities")
        result_by_handle = dict(zip(handles, results, strict=True))
        return [result_by_handle[message.receipt_handle] for message, _ in changes]

    async def _send_batch(
        self, send: Callable[[Sequence[int]], Awaitable[BatchResult]], count: int, *, what: str
    ) -> list[Exception | None]:
        results = await send_batch(send, count, self._retry, what=what, rejected=ReceiptLostError)
        failed = [error for error in results if isinstance(error, TransientError)]
        if failed:
            log.warning("queue.batch_failed", what=what, entries=len(failed), reason=str(failed[0]))
        return results


def message_of(received: "MessageTypeDef") -> Message | None:
    """Return a received message; None for one that lacks what every message has, to keep the others."""
    try:
        attributes = received.get("Attributes", {})
        sent_ms = int(attributes.get("SentTimestamp", 0))
        message = Message(
            message_id=received["MessageId"],
            receipt_handle=received["ReceiptHandle"],
            body=received["Body"],
            receive_count=int(attributes.get("ApproximateReceiveCount", 1)),
            sent_at=clock.from_epoch_ms(sent_ms) if sent_ms else clock.to_milliseconds(datetime.now(UTC)),
            trace_header=attributes.get("AWSTraceHeader"),
        )
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        log.warning("message.unreadable", reason=repr(error))
        return None
    texts: tuple[object, ...] = (message.message_id, message.receipt_handle, message.body)
    if not all(isinstance(text, str) for text in texts):
        log.warning("message.unreadable", reason="its id, receipt handle or body is not text")
        return None
    return message
