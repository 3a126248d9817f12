from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.retry import NO_WAIT
from worker.domain.errors import TransientError
from worker.sqs.sender import JobSender, RateLimiter

Failure = dict[str, Any]


class FakeSender:
    """Records the batches; `fails` returns the failure of an entry, or None."""

    def __init__(self, fails: Callable[[str, int], Failure | None] = lambda body, attempt: None) -> None:
        self.fails = fails
        self.batches: list[list[str]] = []
        self.attempts: Counter[str] = Counter()

    async def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:
        assert QueueUrl == "https://queue"
        assert 1 <= len(Entries) <= 10
        assert {entry["MessageGroupId"] for entry in Entries} == {"repair"}
        self.batches.append([entry["MessageBody"] for entry in Entries])
        failed = []
        for entry in Entries:
            self.attempts[entry["MessageBody"]] += 1
            if failure := self.fails(entry["MessageBody"], self.attempts[entry["MessageBody"]]):
                failed.append({"Id": entry["Id"], **failure})
        return {"Failed": failed} if failed else {}


def sender_to(sender: Any) -> JobSender:
    return JobSender(sender, url="https://queue", retry=NO_WAIT)


async def test_messages_are_sent_in_batches_of_ten_in_their_order() -> None:
    sender = FakeSender()
    bodies = [str(number) for number in range(23)]

    results = await sender_to(sender).send(bodies)

    assert results == [None] * 23
    assert [len(batch) for batch in sender.batches] == [10, 10, 3]
    assert [body for batch in sender.batches for body in batch] == bodies


async def test_a_failed_entry_is_retried_alone() -> None:
    sender = FakeSender(
        lambda body, attempt: (
            {"SenderFault": False, "Code": "InternalError"} if body == "b" and attempt == 1 else None
        )
    )

    results = await sender_to(sender).send(["a", "b", "c"])

    assert results == [None] * 3
    assert sender.batches == [["a", "b", "c"], ["b"]]


async def test_an_entry_that_sqs_rejects_is_reported_and_the_others_are_sent() -> None:
    sender = FakeSender(
        lambda body, _: {"SenderFault": True, "Code": "InvalidMessageContents"} if body == "b" else None
    )

    first, second, third = await sender_to(sender).send(["a", "b", "c"])

    assert (first, third) == (None, None)
    assert isinstance(second, TransientError)
    assert "InvalidMessageContents" in str(second)
    assert sender.batches == [["a", "b", "c"]]


async def test_a_rejected_request_is_reported_for_each_message() -> None:
    class Rejecting:
        async def send_message_batch(self, **_: object) -> None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "SendMessageBatch")

    results = await sender_to(Rejecting()).send(["a", "b"])

    assert [type(result) for result in results] == [TransientError, TransientError]


@pytest.mark.parametrize(("rate", "expected"), [(10.0, [1.0, 1.0]), (20.0, [0.5, 0.5])])
async def test_the_rate_is_limited(rate: float, expected: list[float]) -> None:
    now_s, waits = 100.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds
        waits.append(seconds)

    limiter = RateLimiter(rate, now_s=lambda: now_s, sleep=sleep)
    for _ in range(3):
        await limiter.wait_for(10)

    assert waits == pytest.approx(expected)


async def test_unused_capacity_is_not_carried_over() -> None:
    now_s, waits = 100.0, []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    limiter = RateLimiter(10, now_s=lambda: now_s, sleep=sleep)
    await limiter.wait_for(10)
    now_s += 60
    await limiter.wait_for(10)
    await limiter.wait_for(10)

    assert waits == pytest.approx([1.0])
