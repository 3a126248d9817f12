import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.builders import UPLOAD_KEYS
from tests.support.retry import NO_WAIT
from worker.domain.clock import from_epoch_ms
from worker.domain.message import Unreadable
from worker.sqs.dead_letters import DeadLetter, DeadLetters
from worker.sqs.events import KeyLayout

KEY_LAYOUT = KeyLayout(bucket="image-uploads", upload_keys=UPLOAD_KEYS, processed_prefix="processed/")
NOON_MS = 1_704_110_400_000


class FakeLetters:
    """A dead-letter queue that returns the given messages, one poll after the other."""

    def __init__(self, *polls: Sequence[Mapping[str, Any]]) -> None:
        self.polls = list(polls)
        self.requests: list[dict[str, Any]] = []
        self.released: list[list[str]] = []
        self.deleted: list[list[str]] = []
        self.failures: list[list[dict[str, Any]]] = []

    async def receive_message(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        found = self.polls.pop(0)
        return {"Messages": list(found)} if found else {}

    async def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:
        assert all(entry["VisibilityTimeout"] == 0 for entry in Entries)
        self.released.append([entry["ReceiptHandle"] for entry in Entries])
        return {}

    async def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:
        self.deleted.append([entry["ReceiptHandle"] for entry in Entries])
        return {"Failed": self.failures.pop(0)} if self.failures else {}


def a_message(number: int, *, body: str = "what?", **attributes: str) -> dict[str, Any]:
    return {
        "MessageId": f"message-{number}",
        "ReceiptHandle": f"receipt-{number}",
        "Body": body,
        "Attributes": {"SentTimestamp": str(NOON_MS)},
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    }


def letters_in(queue: Any) -> DeadLetters:
    return DeadLetters(
        queue, url="https://dead", key_layout=KEY_LAYOUT, visibility_timeout_s=30, retry=NO_WAIT
    )


async def read_all(queue: FakeLetters) -> list[DeadLetter]:
    return [letter async for some in letters_in(queue).read() for letter in some]


async def test_a_dead_letter_is_read_with_its_reason_and_jobs() -> None:
    body = json.dumps({"version": 1, "bucket": "image-uploads", "key": "uploads/alice/img_1.jpg"})
    queue = FakeLetters([a_message(1, body=body, code="unavailable", reason="S3 was unavailable")], [], [])

    (letter,) = await read_all(queue)

    assert (letter.code, letter.reason, letter.at) == (
        "unavailable",
        "S3 was unavailable",
        from_epoch_ms(NOON_MS),
    )
    assert [job.image_id for job in letter.jobs] == ["img_1"]
    assert queue.requests[0]["VisibilityTimeout"] == 30


async def test_an_unreadable_dead_letter_without_attributes_has_no_code_and_no_jobs() -> None:
    (letter,) = await read_all(FakeLetters([a_message(1)], [], []))

    assert (letter.code, letter.jobs) == (None, [])
    assert isinstance(letter.parts[0], Unreadable)


async def test_reading_ends_after_two_empty_polls_in_a_row() -> None:
    queue = FakeLetters([], [a_message(1)], [], [a_message(2)], [], [])

    letters = await read_all(queue)

    assert [letter.message_id for letter in letters] == ["message-1", "message-2"]
    assert queue.polls == []


async def test_messages_received_again_are_yielded_once_and_end_the_reading() -> None:
    queue = FakeLetters([a_message(1), a_message(2)], [a_message(1)], [a_message(2)])

    letters = await read_all(queue)

    assert [letter.message_id for letter in letters] == ["message-1", "message-2"]


async def test_dead_letters_are_released_in_batches_of_ten() -> None:
    queue = FakeLetters([a_message(number) for number in range(12)], [], [])
    letters = await read_all(queue)

    await letters_in(queue).release(letters)

    assert [len(batch) for batch in queue.released] == [10, 2]


async def test_a_failed_delete_is_retried_and_a_rejected_one_is_returned() -> None:
    queue = FakeLetters([a_message(number) for number in range(3)], [], [])
    letters = await read_all(queue)
    queue.failures = [
        [
            {"Id": "0", "SenderFault": False, "Code": "InternalError"},
            {"Id": "1", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"},
        ]
    ]

    left = await letters_in(queue).delete(letters)

    assert [letter.message_id for letter in left] == ["message-1"]
    assert queue.deleted == [["receipt-0", "receipt-1", "receipt-2"], ["receipt-0"]]
