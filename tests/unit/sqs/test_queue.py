import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import CredentialRetrievalError, EndpointConnectionError

from tests.support.aws_errors import client_error
from tests.support.builders import NOON, a_job, a_message
from tests.support.fakes.queue import FakeSQS, invalid_receipt, transient_failure
from tests.support.retry import NO_WAIT
from worker.domain.errors import ReceiptLostError, TransientError
from worker.domain.message import Message, Unreadable
from worker.sqs.queue import Queue


def a_queue(client: FakeSQS, *, wait_time_s: int = 20) -> Queue:
    return Queue(
        client,  # type: ignore[arg-type]  # a fake
        client,  # type: ignore[arg-type]  # a fake
        url="https://queue",
        dead_letter_url="https://dead-letters",
        wait_time_s=wait_time_s,
        visibility_timeout_s=60,
        retry=NO_WAIT,
        linger_s=0,
    )


def messages(count: int) -> list[Message]:
    return [a_message(message_id=str(number)) for number in range(count)]


def receipts(*numbers: int) -> list[str]:
    return [f"receipt-of-{number}" for number in numbers]


def received(body: str = "{}", **attributes: str) -> dict[str, Any]:
    return {"MessageId": "m-1", "ReceiptHandle": "r-1", "Body": body, "Attributes": attributes}


async def outcomes(*calls: Any) -> list[str | None]:
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [None if result is None else type(result).__name__ for result in results]


async def test_a_received_message_has_the_attributes_that_sqs_returned() -> None:
    client = FakeSQS()
    sent_ms = str(int(NOON.timestamp() * 1000) + 123)
    client.to_receive = [
        [received("body", ApproximateReceiveCount="3", SentTimestamp=sent_ms, AWSTraceHeader="Root=1-2-3")]
    ]

    assert await a_queue(client).receive(4) == [
        Message(
            message_id="m-1",
            receipt_handle="r-1",
            body="body",
            receive_count=3,
            sent_at=NOON.replace(microsecond=123_000),
            trace_header="Root=1-2-3",
        )
    ]


async def test_a_message_without_attributes_is_a_first_receive_sent_now() -> None:
    client = FakeSQS()
    client.to_receive = [[{"MessageId": "m-1", "ReceiptHandle": "r-1", "Body": "body"}]]
    before = datetime.now(UTC)

    (message,) = await a_queue(client).receive(1)

    assert (message.receive_count, message.trace_header) == (1, None)
    assert abs((message.sent_at - before).total_seconds()) < 5
    assert message.sent_at.microsecond % 1000 == 0


async def test_an_empty_queue_returns_no_messages() -> None:
    client = FakeSQS()
    client.to_receive = [[]]

    assert await a_queue(client).receive(1) == []


@pytest.mark.parametrize(("free", "asked"), [(1, 1), (9, 9), (10, 10), (11, 10), (1000, 10)])
async def test_a_receive_requests_at_most_the_free_slots_and_the_quota_of_sqs(free: int, asked: int) -> None:
    client = FakeSQS()
    client.to_receive = [[]]

    await a_queue(client).receive(free)

    (request,) = client.received
    assert request["MaxNumberOfMessages"] == asked


async def test_a_receive_sets_wait_time_visibility_timeout_and_attributes() -> None:
    client = FakeSQS()
    client.to_receive = [[]]

    await a_queue(client).receive(1)

    assert client.received == [
        {
            "QueueUrl": "https://queue",
            "MaxNumberOfMessages": 1,
            "WaitTimeSeconds": 20,
            "VisibilityTimeout": 60,
            "MessageSystemAttributeNames": ["ApproximateReceiveCount", "SentTimestamp", "AWSTraceHeader"],
        }
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client_error("RequestThrottled"), "RequestThrottled"),
        (client_error("AccessDenied", status=403), "AccessDenied"),
        (client_error("AWS.SimpleQueueService.NonExistentQueue"), "NonExistentQueue"),
        (client_error("InternalFailure", status=500), "InternalFailure"),
        (EndpointConnectionError(endpoint_url="http://nowhere"), "EndpointConnectionError"),
        (aiohttp.ServerDisconnectedError(), "ServerDisconnectedError"),
        (TimeoutError(), "TimeoutError"),
        (ConnectionResetError(), "ConnectionResetError"),
        (CredentialRetrievalError(provider="iam-role", error_msg="away"), "CredentialRetrievalError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_failed_receive_is_transient_and_has_the_error_code(error: Exception, code: str) -> None:
    client = FakeSQS()
    client.to_receive = [error]

    with pytest.raises(TransientError, match=f"could not receive from https://queue: .*{code}") as raised:
        await a_queue(client).receive(1)

    assert raised.value.__cause__ is error


async def test_a_bug_while_receiving_is_raised_as_it_is() -> None:
    client = FakeSQS()
    client.to_receive = [KeyError("bug")]

    with pytest.raises(KeyError):
        await a_queue(client).receive(1)


async def test_concurrent_deletes_are_sent_in_batches_of_ten() -> None:
    client = FakeSQS()
    queue = a_queue(client)

    await asyncio.gather(*map(queue.delete, messages(25)))

    assert client.deleted == [receipts(*range(10)), receipts(*range(10, 20)), receipts(*range(20, 25))]


async def test_concurrent_changes_of_visibility_are_batched() -> None:
    client = FakeSQS()
    queue = a_queue(client)

    await asyncio.gather(
        *(queue.change_visibility(message, index) for index, message in enumerate(messages(12)))
    )

    expected = list(zip(receipts(*range(12)), range(12), strict=True))
    assert client.changed == [expected[:10], expected[10:]]


async def test_of_two_changes_to_a_message_in_a_batch_the_later_is_sent() -> None:
    client = FakeSQS()
    queue = a_queue(client)
    one, other = messages(2)

    await asyncio.gather(
        queue.change_visibility(one, 60),
        queue.change_visibility(other, 60),
        queue.change_visibility(one, 900),
    )

    first, second = receipts(0, 1)
    assert client.changed == [[(first, 900), (second, 60)]]


@pytest.mark.parametrize(("seconds", "sent"), [(0, 0), (0.2, 0), (1.6, 2), (59.7, 60), (43_200, 43_200)])
async def test_a_visibility_is_sent_in_whole_seconds(seconds: float, sent: int) -> None:
    client = FakeSQS()

    await a_queue(client).change_visibility(a_message(message_id="0"), seconds)

    assert client.changed == [[("receipt-of-0", sent)]]


def deleting(queue: Queue) -> Callable[[Message], Any]:
    return queue.delete


def hiding(queue: Queue) -> Callable[[Message], Any]:
    return lambda message: queue.change_visibility(message, 60)


def batches_of(client: FakeSQS) -> list[list[str]]:
    return client.deleted or [[receipt for receipt, _ in batch] for batch in client.changed]


both = pytest.mark.parametrize("call", [deleting, hiding])
Call = Callable[[Queue], Callable[[Message], Any]]


@both
async def test_only_the_failed_entry_is_retried(call: Call) -> None:
    client = FakeSQS(
        lambda receipt, attempt: transient_failure() if receipt == "receipt-of-1" and attempt < 3 else None
    )

    results = await outcomes(*map(call(a_queue(client)), messages(3)))

    assert results == [None, None, None]
    assert batches_of(client) == [receipts(0, 1, 2), receipts(1), receipts(1)]


@both
async def test_an_invalid_receipt_is_not_retried_and_fails_for_its_caller_only(
    call: Call,
) -> None:
    client = FakeSQS(lambda receipt, _: invalid_receipt() if receipt == "receipt-of-1" else None)

    results = await outcomes(*map(call(a_queue(client)), messages(3)))

    assert results == [None, "ReceiptLostError", None]
    assert batches_of(client) == [receipts(0, 1, 2)]


@both
async def test_invalid_receipts_and_failed_entries_are_distinguished_in_one_batch(call: Call) -> None:
    def failure_of(receipt: str, attempt: int) -> Any:
        return {
            "receipt-of-0": invalid_receipt(),
            "receipt-of-2": transient_failure() if attempt == 1 else None,
        }.get(receipt)

    client = FakeSQS(failure_of)

    results = await outcomes(*map(call(a_queue(client)), messages(4)))

    assert results == ["ReceiptLostError", None, None, None]
    assert batches_of(client) == [receipts(0, 1, 2, 3), receipts(2)]


@both
async def test_a_receipt_that_is_invalid_at_a_retry_is_reported_as_lost(call: Call) -> None:
    client = FakeSQS(lambda _, attempt: transient_failure() if attempt == 1 else invalid_receipt())

    assert await outcomes(*map(call(a_queue(client)), messages(1))) == ["ReceiptLostError"]


@both
async def test_an_entry_that_always_fails_is_retried_a_limited_number_of_times(call: Call) -> None:
    client = FakeSQS(lambda receipt, _: transient_failure() if receipt == "receipt-of-1" else None)

    results = await outcomes(*map(call(a_queue(client)), messages(2)))

    assert results == [None, "TransientError"]
    assert batches_of(client) == [receipts(0, 1), *[receipts(1)] * (NO_WAIT.attempts - 1)]


@both
async def test_a_batch_whose_request_failed_is_retried_whole(call: Call) -> None:
    client = FakeSQS()
    client.errors = [ConnectionResetError(), client_error("RequestThrottled")]

    results = await outcomes(*map(call(a_queue(client)), messages(2)))

    assert results == [None, None]
    assert batches_of(client) == [receipts(0, 1)] * 3


@both
@pytest.mark.parametrize(
    "errors",
    [[ConnectionResetError()] * 99, [client_error("AccessDenied", status=403)]],
    ids=["unreachable", "access denied"],
)
async def test_a_batch_that_cannot_be_sent_is_transient_for_every_caller(
    call: Call, errors: Sequence[Exception]
) -> None:
    client = FakeSQS()
    client.errors = list(errors)

    results = await outcomes(*map(call(a_queue(client)), messages(2)))

    assert results == ["TransientError", "TransientError"]


async def test_a_lost_receipt_names_the_code() -> None:
    client = FakeSQS(lambda *_: invalid_receipt("MessageNotInflight"))

    with pytest.raises(ReceiptLostError, match="MessageNotInflight"):
        await a_queue(client).delete(a_message())


async def test_closing_waits_for_submitted_requests() -> None:
    client = FakeSQS()
    queue = a_queue(client)
    callers = [
        asyncio.create_task(queue.delete(a_message(message_id="0"))),
        asyncio.create_task(queue.change_visibility(a_message(message_id="1"), 0)),
    ]
    await asyncio.sleep(0)

    await queue.close()

    assert (client.deleted, client.changed) == ([receipts(0)], [[("receipt-of-1", 0)]])
    await asyncio.gather(*callers)


async def test_an_unreadable_part_is_sent_to_the_dead_letter_queue_unchanged_with_its_reasons() -> None:
    client = FakeSQS()

    await a_queue(client).send_to_dead_letter_queue(
        Unreadable(reason="it has no key", body='{"Records": [{}]}'),
        reasons={"code": "unreadable", "reason": "it has no key", "step": ""},
    )

    assert client.sent == [
        {
            "QueueUrl": "https://dead-letters",
            "MessageBody": '{"Records": [{}]}',
            "MessageAttributes": {
                "code": {"DataType": "String", "StringValue": "unreadable"},
                "reason": {"DataType": "String", "StringValue": "it has no key"},
            },
        }
    ]


async def test_a_job_is_sent_to_the_dead_letter_queue_as_a_message_that_asks_for_it_again() -> None:
    client = FakeSQS()

    await a_queue(client).send_to_dead_letter_queue(a_job(), reasons={"code": "unavailable"})

    body = json.loads(client.sent[0]["MessageBody"])
    assert (body["version"], body["key"], body["eTag"]) == (1, "uploads/user_1/img_1.jpg", "etag-1")


async def test_sending_a_dead_letter_is_retried() -> None:
    client = FakeSQS()
    client.errors = [ConnectionResetError(), client_error("RequestThrottled")]

    await a_queue(client).send_to_dead_letter_queue(a_job(), reasons={})

    assert len(client.sent) == 1


async def test_a_dead_letter_that_cannot_be_sent_is_transient() -> None:
    client = FakeSQS()
    client.errors = [client_error("InvalidMessageContents")]

    with pytest.raises(TransientError, match="could not send the dead letter"):
        await a_queue(client).send_to_dead_letter_queue(a_job(), reasons={})
