"""The queue adapter against an SQS API."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.support.builders import a_job
from worker.bootstrap import RETRY_POLICIES, queue_url
from worker.domain.errors import ReceiptLostError
from worker.domain.message import Message, Unreadable
from worker.settings import Settings
from worker.sqs.queue import Queue

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient


@pytest.fixture
async def url(sqs: "SQSClient", provisioned: Settings) -> str:
    found = await queue_url(sqs, provisioned.queue_name)
    await sqs.purge_queue(QueueUrl=found)
    return found


@pytest.fixture
async def queue(sqs: "SQSClient", provisioned: Settings, url: str) -> AsyncIterator[Queue]:
    opened = Queue(
        sqs,
        sqs,
        url=url,
        dead_letter_url=await queue_url(sqs, provisioned.dead_letter_queue_name),
        wait_time_s=1,
        visibility_timeout_s=60,
        retry=RETRY_POLICIES.queue,
    )
    yield opened
    await opened.close()


async def received(queue: Queue, count: int) -> list[Message]:
    """Receive until this many messages have arrived."""
    messages: list[Message] = []
    while len(messages) < count:
        messages += await queue.receive(10)
    return messages


async def test_a_received_message_has_its_receive_count_and_trace_header(
    sqs: "SQSClient", url: str, queue: Queue
) -> None:
    header = "Root=1-5759e988-bd862e3fe1be46a994272793"
    await sqs.send_message(
        QueueUrl=url,
        MessageBody="hello",
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": header}},
    )

    (message,) = await received(queue, 1)
    await queue.change_visibility(message, 0)
    (again,) = await received(queue, 1)

    assert (message.body, message.receive_count, again.receive_count) == ("hello", 1, 2)
    assert message.trace_header == header


async def test_deleted_messages_are_not_received_again(sqs: "SQSClient", url: str, queue: Queue) -> None:
    for number in range(12):
        await sqs.send_message(QueueUrl=url, MessageBody=str(number))
    messages = await received(queue, 12)

    for message in messages[:11]:
        await queue.delete(message)
    await queue.change_visibility(messages[11], 0)

    assert [message.body for message in await received(queue, 1)] == [messages[11].body]


async def test_the_receipt_of_a_deleted_message_is_lost(sqs: "SQSClient", url: str, queue: Queue) -> None:
    await sqs.send_message(QueueUrl=url, MessageBody="hello")
    (message,) = await received(queue, 1)
    await queue.delete(message)

    with pytest.raises(ReceiptLostError):
        await queue.change_visibility(message, 30)


@pytest.mark.parametrize("what", [a_job(), Unreadable(reason="odd", body='{"odd": true}')])
async def test_a_dead_letter_has_its_reasons_as_attributes(
    sqs: "SQSClient", provisioned: Settings, queue: Queue, what: object
) -> None:
    await queue.send_to_dead_letter_queue(what, reasons={"code": "unreadable", "reason": "odd"})  # type: ignore[arg-type]  # either kind

    dead_url = await queue_url(sqs, provisioned.dead_letter_queue_name)
    response = await sqs.receive_message(QueueUrl=dead_url, MessageAttributeNames=["All"], WaitTimeSeconds=2)
    (letter,) = response["Messages"]
    reasons = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert reasons == {"code": "unreadable", "reason": "odd"}
    assert ('"odd"' in letter["Body"]) == isinstance(what, Unreadable)
