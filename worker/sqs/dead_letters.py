"""List the messages of the dead-letter queue without removing them, and delete those redriven."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import ReceiptLostError, TransientError
from worker.domain.job import Job
from worker.domain.message import Message, Unreadable
from worker.sqs.batch import MAX_BATCH_ENTRIES, send_batch
from worker.sqs.events import KeyLayout, parse
from worker.sqs.queue import message_of

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import (
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        DeleteMessageBatchResultTypeDef,
        MessageTypeDef,
    )

LONG_POLL_S: Final = 1
"""Any wait makes it a long poll, which queries all servers of the queue; a short poll may miss messages."""

_MAX_EMPTY_POLLS: Final = 2
"""After this many in a row without a new message, the queue has been read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """
    A message that could not be processed.

    Attributes:
        message_id: SQS message id.
        receipt_handle: Receipt handle of this receive.
        body: Body of the message.
        at: When it was sent: by a worker to the dead-letter queue, or to the queue from which the redrive
            policy moved it.
        code: Error code recorded by the worker that sent it; None if the redrive policy moved it.
        reason: Explanation recorded with the code.
        parts: The jobs in the message, and its records that cannot be read.
    """

    message_id: str
    receipt_handle: str
    body: str
    at: datetime
    code: str | None
    reason: str | None
    parts: tuple[Job | Unreadable, ...]

    @property
    def jobs(self) -> list[Job]:
        """The jobs in the message."""
        return [part for part in self.parts if isinstance(part, Job)]


class DeadLetters:
    """
    Reads and deletes the messages of a dead-letter queue.

    Args:
        client: SQS client.
        url: URL of the dead-letter queue.
        key_layout: Where uploads and results are stored.
        visibility_timeout_s: How long a message is invisible after it was read, unless it is released.
        retry: Retry policy for each request.
        wait_time_s: How long a request waits for messages.
    """

    def __init__(
        self,
        client: "SQSClient",
        *,
        url: str,
        key_layout: KeyLayout,
        visibility_timeout_s: int,
        retry: RetryPolicy,
        wait_time_s: int = LONG_POLL_S,
    ) -> None:
        self._client, self._url, self._key_layout = client, url, key_layout
        self._visibility_timeout_s, self._retry = visibility_timeout_s, retry
        self._wait_time_s = wait_time_s

    @property
    def url(self) -> str:
        """URL of the queue."""
        return self._url

    async def read(self) -> AsyncIterator[list[DeadLetter]]:
        """
        Yield the dead letters in batches, each message once. Those that are not deleted must be released.

        Reading ends when the queue returns no messages, or only messages that were read before.

        Raises:
            TransientError: SQS is unavailable.
        """
        seen: set[str] = set()
        empty_polls = 0
        while empty_polls < _MAX_EMPTY_POLLS:
            letters = await self._receive()
            new = [letter for letter in letters if letter.message_id not in seen]
            seen.update(letter.message_id for letter in new)
            empty_polls = 0 if new else empty_polls + 1
            if new:
                yield new

    async def release(self, letters: Sequence[DeadLetter]) -> None:
        """Make dead letters visible at once; if that fails, they become visible after the timeout."""
        for batch in _batches(letters):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": letter.receipt_handle, "VisibilityTimeout": 0}
                for index, letter in enumerate(batch)
            ]
            change = partial(
                self._client.change_message_visibility_batch, QueueUrl=self._url, Entries=entries
            )
            with contextlib.suppress(TransientError):
                await call_with_retry(change, self._retry, what="release the dead letters")

    async def delete(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Delete dead letters; return those that could not be deleted and will be read again."""
        remaining: list[DeadLetter] = []
        for batch in _batches(letters):
            remaining += await self._delete_batch(batch)
        return remaining

    async def _delete_batch(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        async def send(indexes: Sequence[int]) -> "DeleteMessageBatchResultTypeDef":
            return await self._client.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": letters[index].receipt_handle} for index in indexes
                ],
            )

        errors = await send_batch(
            send, len(letters), self._retry, what="delete the dead letters", rejected=ReceiptLostError
        )
        return [letter for letter, error in zip(letters, errors, strict=True) if error is not None]

    async def _receive(self) -> list[DeadLetter]:
        response = await call_with_retry(
            lambda: self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=MAX_BATCH_ENTRIES,
                WaitTimeSeconds=self._wait_time_s,
                VisibilityTimeout=self._visibility_timeout_s,
                MessageSystemAttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
            ),
            self._retry,
            what="read the dead letters",
        )
        found = [(message_of(received), received) for received in response.get("Messages", [])]
        return [self._letter(message, received) for message, received in found if message is not None]

    def _letter(self, message: Message, received: "MessageTypeDef") -> DeadLetter:
        attributes = received.get("MessageAttributes", {})
        return DeadLetter(
            message_id=message.message_id,
            receipt_handle=message.receipt_handle,
            body=message.body,
            at=message.sent_at,
            code=attributes["code"].get("StringValue") if "code" in attributes else None,
            reason=attributes["reason"].get("StringValue") if "reason" in attributes else None,
            parts=tuple(parse(message, self._key_layout)),
        )


def _batches(letters: Sequence[DeadLetter]) -> Iterable[Sequence[DeadLetter]]:
    return (letters[start : start + MAX_BATCH_ENTRIES] for start in range(0, len(letters), MAX_BATCH_ENTRIES))
