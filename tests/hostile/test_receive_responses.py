"""Responses to a receive that are not those of SQS: the worker waits and receives again."""

import asyncio
import gzip
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import Command
from tests.support.emulators import SESSION
from tests.support.fakes.ports import FakeHeartbeat
from tests.support.fault_proxy import Call, FaultProxy, fault_proxy, http, json_error
from tests.support.pictures import encoded, quadrants
from tests.support.retry import NO_WAIT
from tests.support.shared_storage import dynamodb, provisioned, s3, shared_storage, sqs, storage
from tests.support.whole_worker import upload, wait_until_processed
from worker.bootstrap import open_client, queue_url
from worker.delivery.consumer import Consumer
from worker.domain.message import Delete, Message
from worker.settings import Settings
from worker.sqs.queue import Queue

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

__all__ = ["dynamodb", "provisioned", "s3", "shared_storage", "sqs", "storage"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = "Content-Type: application/x-amz-json-1.0"
PAGE = http(b"<html>log in</html>", "Content-Type: text/html")
ODD = {
    "a page": PAGE,
    "a page of a load balancer": http(b"<html>502</html>", "Content-Type: text/html", status="502 Bad"),
    "null": http(b"null", JSON),
    "a list": http(b"[]", JSON),
    "a text": http(b'"messages"', JSON),
    "messages that are a number": http(b'{"Messages": 7}', JSON),
    "a message that is a text": http(b'{"Messages": ["hello"]}', JSON),
    "a message without an id": http(b'{"Messages": [{"Body": "{}"}]}', JSON),
    "a body that is a number": http(
        b'{"Messages": [{"MessageId": "1", "ReceiptHandle": "1", "Body": 7}]}', JSON
    ),
    "gzip": http(gzip.compress(b'{"Messages": []}'), JSON, "Content-Encoding: gzip"),
    "gzip without its header": http(gzip.compress(b'{"Messages": []}'), JSON),
    "not UTF-8": http(b'{"Messages": [{"Body": "\xff"}]}', JSON),
    "deeply nested": http(100_000 * b"[", JSON),
    "half of the JSON": http(b'{"Messages": [{"Bo', JSON),
    "half of the body": http(b'{"Messages": []}', JSON)[:-5],
    "half of the headers": http(b"", JSON)[:-7],
    "no response": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a redirect": http(b"", "Location: http://127.0.0.1:1/", status="301 Moved Permanently"),
    "a temporary redirect": http(b"", "Location: /elsewhere", status="307 Temporary Redirect"),
    "a huge body": http(b'{"Messages": "' + 20_000_000 * b"x" + b'"}', JSON),
    "an error without a code": http(b"{}", JSON, status="400 Bad Request"),
    "an error of the future": json_error("NotToday", status=451),
}
"""Responses that are not those of SQS; an empty body is one, and means that there are no messages."""
NOT_OF_AWS = "could not read the dead letters in 6 attempts: the response is not one of AWS; check AWS_"


def is_receive(call: Call) -> bool:
    return call.target == "AmazonSQS.ReceiveMessage"


@dataclass
class Receiver:
    """A consumer of the real queue behind a proxy, and what it handled."""

    consumer: Consumer
    bodies: list[str] = field(default_factory=list)
    handled: asyncio.Event = field(default_factory=asyncio.Event)
    pauses: list[int] = field(default_factory=list)


@asynccontextmanager
async def a_receiver(settings: Settings, proxy: FaultProxy) -> AsyncIterator[Receiver]:
    proxied = settings.model_copy(update={"endpoint_url": proxy.endpoint_url})
    async with open_client("sqs", proxied, session=SESSION) as client:
        url = await queue_url(client, settings.queue_name)
        queue = Queue(
            client,
            client,
            url=url,
            dead_letter_url=url,
            wait_time_s=1,
            visibility_timeout_s=60,
            retry=NO_WAIT,
        )

        async def handle(message: Message, _hold: object) -> Delete:
            receiver.bodies.append(message.body)
            receiver.handled.set()
            return Delete()

        def backoff_s(failures: int) -> float:
            receiver.pauses.append(failures)
            return 0.0

        consumer = Consumer(
            queue=queue,
            heartbeat=FakeHeartbeat(),
            handle=handle,
            slots=4,
            drain_timeout_s=5,
            last_poll_s=0.1,
            backoff_s=backoff_s,
        )
        receiver = Receiver(consumer)
        yield receiver


@pytest.mark.parametrize(
    ("moment", "name"),
    [*(("later", name) for name in ODD), *(("first", name) for name in ("null", "gzip", "a redirect"))],
)
async def test_a_worker_receives_again_after_an_odd_response(
    sqs: "SQSClient", provisioned: Settings, moment: str, name: str
) -> None:
    good = http(b"{}", JSON)
    responses: deque[bytes] = deque([ODD[name]] if moment == "first" else [good, ODD[name]])
    url = await queue_url(sqs, provisioned.queue_name)
    await sqs.purge_queue(QueueUrl=url)
    await sqs.send_message(QueueUrl=url, MessageBody="work")
    assert provisioned.endpoint_url
    async with (
        fault_proxy(provisioned.endpoint_url, seed=1) as proxy,
        a_receiver(provisioned, proxy) as receiver,
    ):
        proxy.responds = lambda call: responses.popleft() if is_receive(call) and responses else None
        running = asyncio.create_task(receiver.consumer.run())
        handled = asyncio.create_task(receiver.handled.wait())
        async with asyncio.timeout(30):
            await asyncio.wait({running, handled}, return_when=asyncio.FIRST_COMPLETED)
        receiver.consumer.stop()
        await running

    assert receiver.bodies == ["work"]
    assert set(receiver.pauses) <= {1}


async def test_the_command_processes_images_after_odd_responses(
    with_resources: Command, s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    odd = ("a page", "null", "gzip", "half of the body", "a redirect", "a message that is a text")
    responses = deque(each for name in odd for each in (http(b"{}", JSON), ODD[name]))
    all_sent = asyncio.Event()

    def respond(call: Call) -> bytes | None:
        if not is_receive(call):
            return None
        if not responses:
            all_sent.set()
        return responses.popleft() if responses else None

    assert provisioned.endpoint_url
    async with fault_proxy(provisioned.endpoint_url, seed=1) as proxy:
        proxy.responds = respond
        async with with_resources.started("run", AWS_ENDPOINT_URL=proxy.endpoint_url) as worker:
            async with asyncio.timeout(60):
                await all_sent.wait()
            await upload(s3, provisioned, "img_1", encoded(quadrants(320, 240)))
            (image,) = await wait_until_processed(dynamodb, provisioned, "img_1")
            assert (image.status, worker.returncode) == ("completed", None)


@pytest.mark.parametrize(("response", "is_fatal"), [("a page", True), ("null", False)])
async def test_only_a_web_page_in_place_of_the_first_response_ends_the_command(
    with_resources: Command,
    s3: "S3Client",
    dynamodb: "DynamoDBClient",
    provisioned: Settings,
    response: str,
    is_fatal: bool,
) -> None:
    assert provisioned.endpoint_url
    first = deque([ODD[response]])
    async with fault_proxy(provisioned.endpoint_url, seed=1) as proxy:
        proxy.responds = lambda call: first.popleft() if is_receive(call) and first else None
        async with with_resources.started("run", AWS_ENDPOINT_URL=proxy.endpoint_url) as worker:
            if is_fatal:
                async with asyncio.timeout(30):
                    _, stderr = await worker.communicate()
                assert worker.returncode == 2
                assert b"a web page responded in place of AWS; check AWS_ENDPOINT_URL" in stderr
            else:
                await upload(s3, provisioned, "img_1", encoded(quadrants(320, 240)))
                (image,) = await wait_until_processed(dynamodb, provisioned, "img_1")
                assert image.status == "completed"


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("a page", 2, "a web page responded in place of AWS; check AWS_ENDPOINT_URL"),
        ("null", 1, NOT_OF_AWS),
        ("a message without an id", 0, "nothing to do"),
        ("a body that is a number", 0, "nothing to do"),
    ],
)
async def test_a_redrive_ends_with_one_sentence_after_odd_responses(
    with_resources: Command, provisioned: Settings, name: str, status: int, message: str
) -> None:
    assert provisioned.endpoint_url
    async with fault_proxy(provisioned.endpoint_url, seed=1) as proxy:
        proxy.responds = lambda call: ODD[name] if is_receive(call) else None
        ended = await with_resources.run("queue", "redrive", AWS_ENDPOINT_URL=proxy.endpoint_url)

    output = ended.stdout + ended.stderr
    assert (ended.status, message in output, "crashed" in output) == (status, True, False), output
    assert len(ended.stderr.splitlines()) <= 2
