"""Reading the dead letters, giving them back and deleting them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.retry import NO_WAIT
from worker.domain.clock import from_epoch_ms
from worker.domain.message import Unreadable
from worker.sqs.dead_letters import DeadLetter, DeadLetters
from worker.sqs.events import KeyLayout

ADDRESSING = KeyLayout(bucket="image-uploads", uploads_prefix="uploads/", processed_prefix="processed/")
NOON_MS = 1_704_110_400_000


class FakeLetters:
    """A dead-letter queue that hands out what it is told to, one poll after the other."""

    def __init__(self, *polls: Sequence[Mapping[str, Any]]) -> None:
        self.polls = list(polls)
        self.requests: list[dict[str, Any]] = []
        self.given_back: list[list[str]] = []
        self.deleted: list[list[str]] = []
        self.failures: list[list[dict[str, Any]]] = []

    async def receive_message(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - as botocore takes it
        self.requests.append(request)
        found = self.polls.pop(0)
        return {"Messages": list(found)} if found else {}

    async def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: ANN401, ARG002, N803
        assert all(entry["VisibilityTimeout"] == 0 for entry in Entries)
        self.given_back.append([entry["ReceiptHandle"] for entry in Entries])
        return {}

    async def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: ANN401, ARG002, N803
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


def letters_in(queue: Any) -> DeadLetters:  # noqa: ANN401 - it stands for a client
    return DeadLetters(
        queue, url="https://dead", key_layout=ADDRESSING, visibility_timeout_s=30, retry=NO_WAIT
    )


async def read_all(queue: FakeLetters) -> list[DeadLetter]:
    return [letter async for some in letters_in(queue).read() for letter in some]


async def test_a_letter_is_read_with_its_reason_and_what_it_asks_for() -> None:
    body = json.dumps({"version": 1, "bucket": "image-uploads", "key": "uploads/alice/img_1.jpg"})
    queue = FakeLetters([a_message(1, body=body, code="unavailable", reason="it was away")], [], [])

    (letter,) = await read_all(queue)

    assert (letter.code, letter.reason, letter.at) == ("unavailable", "it was away", from_epoch_ms(NOON_MS))
    assert [job.image_id for job in letter.jobs] == ["img_1"]
    assert queue.requests[0]["VisibilityTimeout"] == 30


async def test_a_letter_without_attributes_that_nobody_can_read_names_no_image() -> None:
    (letter,) = await read_all(FakeLetters([a_message(1)], [], []))

    assert (letter.code, letter.jobs) == (None, [])
    assert isinstance(letter.parts[0], Unreadable)


async def test_one_empty_poll_is_chance_and_two_are_the_end() -> None:
    queue = FakeLetters([], [a_message(1)], [], [a_message(2)], [], [])

    letters = await read_all(queue)

    assert [letter.message_id for letter in letters] == ["message-1", "message-2"]
    assert queue.polls == []


async def test_letters_that_come_round_again_are_read_once_and_end_the_reading() -> None:
    queue = FakeLetters([a_message(1), a_message(2)], [a_message(1)], [a_message(2)])

    letters = await read_all(queue)

    assert [letter.message_id for letter in letters] == ["message-1", "message-2"]


async def test_letters_are_given_back_ten_at_a_time() -> None:
    queue = FakeLetters([a_message(number) for number in range(12)], [], [])
    letters = await read_all(queue)

    await letters_in(queue).release(letters)

    assert [len(batch) for batch in queue.given_back] == [10, 2]


async def test_a_letter_that_was_not_deleted_is_tried_again_and_one_that_is_refused_is_told() -> None:
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
