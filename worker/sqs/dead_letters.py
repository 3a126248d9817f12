"""The dead letters: reading them without taking them away, and taking them away once they are sent back."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from worker.aws.retry import QUEUE, call_with_retry
from worker.domain.clock import from_epoch_ms
from worker.domain.errors import ReceiptLostError, TransientError
from worker.domain.job import Job
from worker.domain.message import Message, Unreadable
from worker.sqs.batch import MOST_TOGETHER, send_batch
from worker.sqs.events import KeyLayout, parse

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_WAIT_S: Final = 1
"""A poll that waits asks every server of the queue; one that does not may come back empty by chance."""

_EMPTY_POLLS: Final = 2
"""So many in a row mean that nothing is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """
    A message that nobody could process.

    Attributes:
        message_id: The queue's name for it.
        receipt_handle: The right to delete this receipt of it.
        body: As sent.
        at: When it was sent: to the dead letters by a worker, or to the queue where the redrive policy of
            that moved it.
        code: Why, as the worker that gave up wrote it; None where the redrive policy moved it.
        reason: The same in a sentence.
        parts: What it asks for.
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
        """The pictures that it names."""
        return [part for part in self.parts if isinstance(part, Job)]


class DeadLetters:
    """
    The dead-letter queue.

    Args:
        client: Of SQS.
        url: Of the dead-letter queue.
        addressing: Which uploads are this worker's.
        hidden_s: How long a letter stays hidden from others once it is read, unless it is given back.
    """

    def __init__(self, client: "SQSClient", *, url: str, key_layout: KeyLayout, hidden_s: int) -> None:
        self._client, self._url, self._addressing, self._hidden_s = client, url, key_layout, hidden_s

    async def read(self) -> AsyncIterator[list[DeadLetter]]:
        """
        Yield the letters, some at a time, each once; what the caller does not delete it has to give back.

        It ends when the queue hands out nothing more, or only what has been read before.

        Raises:
            TransientError: The queue cannot be reached within its retries.
        """
        seen: set[str] = set()
        empty = 0
        while empty < _EMPTY_POLLS:
            letters = await self._receive()
            fresh = [letter for letter in letters if letter.message_id not in seen]
            seen.update(letter.message_id for letter in fresh)
            empty = 0 if fresh else empty + 1
            if fresh:
                yield fresh

    async def give_back(self, letters: Sequence[DeadLetter]) -> None:
        """Let others see the letters at once; where that fails, they come back by themselves in a while."""
        for some in _batches(letters):
            entries: Any = [
                {"Id": str(index), "ReceiptHandle": letter.receipt_handle, "VisibilityTimeout": 0}
                for index, letter in enumerate(some)
            ]
            with contextlib.suppress(TransientError):
                await call_with_retry(
                    lambda entries=entries: self._client.change_message_visibility_batch(  # type: ignore[misc]
                        QueueUrl=self._url, Entries=entries
                    ),
                    QUEUE,
                    what="give the dead letters back",
                )

    async def delete(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Delete letters; return those that could not be deleted, and will be read again."""
        left: list[DeadLetter] = []
        for some in _batches(letters):
            left += await self._delete_some(some)
        return left

    async def _delete_some(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        async def send(pending: Sequence[int]) -> Any:  # noqa: ANN401 - a batch result
            return await self._client.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": letters[index].receipt_handle} for index in pending
                ],
            )

        errors = await send_batch(
            send, len(letters), what="delete the dead letters", refused=ReceiptLostError
        )
        return [letter for letter, error in zip(letters, errors, strict=True) if error is not None]

    async def _receive(self) -> list[DeadLetter]:
        answer = await call_with_retry(
            lambda: self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=MOST_TOGETHER,
                WaitTimeSeconds=_WAIT_S,
                VisibilityTimeout=self._hidden_s,
                MessageSystemAttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
            ),
            QUEUE,
            what="read the dead letters",
        )
        return [self._letter(received) for received in answer.get("Messages", [])]

    def _letter(self, received: Any) -> DeadLetter:  # noqa: ANN401 - a received message
        attributes = received.get("MessageAttributes", {})
        at = from_epoch_ms(int(received["Attributes"]["SentTimestamp"]))
        message = Message(
            message_id=received["MessageId"],
            receipt_handle=received["ReceiptHandle"],
            body=received["Body"],
            receive_count=1,
            sent_at=at,
        )
        return DeadLetter(
            message_id=message.message_id,
            receipt_handle=message.receipt_handle,
            body=message.body,
            at=at,
            code=attributes.get("code", {}).get("StringValue"),
            reason=attributes.get("reason", {}).get("StringValue"),
            parts=tuple(parse(message, self._addressing)),
        )


def _batches(letters: Sequence[DeadLetter]) -> Iterable[Sequence[DeadLetter]]:
    return (letters[start : start + MOST_TOGETHER] for start in range(0, len(letters), MOST_TOGETHER))
