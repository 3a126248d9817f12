"""The page of queue and fleet, and its stream."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.console import RunningConsole, running_console
from tests.support.pictures import encoded, quadrants
from tests.support.shared_storage import Storage
from tests.support.whole_worker import running_worker, upload, wait_until_processed
from worker.bootstrap import queue_url
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient


async def test_the_page_shows_the_depths_of_both_queues(
    console: RunningConsole, sqs: "SQSClient", provisioned: Settings
) -> None:
    before = (await console.json("/queue"))["depth"]["visible"]  # the test event of S3
    for name, count in ((provisioned.queue_name, 3), (provisioned.dead_letter_queue_name, 1)):
        url = await queue_url(sqs, name)
        for _ in range(count):
            await sqs.send_message(QueueUrl=url, MessageBody="{}")
    async with asyncio.timeout(20):
        while (content := await console.json("/queue"))["depth"]["visible"] != before + 3:
            await asyncio.sleep(0.5)  # until the next read of the poller
    assert content["depth"]["deadLetters"] == 1
    assert content["problem"] is None
    assert content["samples"][-1] == content["depth"]
    page = await console.html("/queue")
    assert "<polyline points=" in page
    assert "style=" not in page


async def test_the_page_shows_completions_and_workers_of_the_record(
    storage: Storage, provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    async with running_worker(provisioned, storage.clients, decoders=1):
        for number in range(3):
            await upload(s3, provisioned, f"img_{number}", encoded(quadrants(64, 64)))
        images = await wait_until_processed(dynamodb, provisioned, *(f"img_{n}" for n in range(3)))
    async with running_console(storage.settings, clients=storage.clients) as console:
        content = await console.json("/queue")
    assert content["completions"]["lastMinute"] == sum(content["completions"]["perMinute"]) == 3
    assert not content["completions"]["isBounded"]
    (worker,) = content["workers"]
    assert worker["worker"] == images[0].history[-1].worker
    assert (worker["attempts"], worker["completed"], worker["processing"]) == (3, 3, 0)


async def test_the_stream_sends_both_parts_of_the_page(console: RunningConsole) -> None:
    async with console.browser.get("/queue/events") as response, asyncio.timeout(20):
        text = ""
        while not ("event: depth" in text and "event: fleet" in text):
            text += (await response.content.readany()).decode()
    assert '<h2 id="depth-title">Queue</h2>' in text


@pytest.mark.parametrize("url", [None, "https://grafana.example/d/image-worker"])
async def test_the_link_to_grafana_is_the_one_of_the_settings(storage: Storage, url: str | None) -> None:
    async with running_console(storage.settings, clients=storage.clients, console_grafana_url=url) as console:
        page = await console.html("/queue")
    assert ("Grafana" in page) is (url is not None)
    assert url is None or f'href="{url}"' in page


async def test_a_queue_that_is_unavailable_is_a_sentence_on_the_page(own_console: RunningConsole) -> None:
    console, sqs = own_console, own_console.clients.sqs
    await sqs.delete_queue(QueueUrl=await queue_url(sqs, console.settings.dead_letter_queue_name))
    async with asyncio.timeout(20):
        while (content := await console.json("/queue"))["problem"] is None:
            await asyncio.sleep(0.5)  # until the next read of the poller
    assert content["problem"].startswith("SQS is unavailable (could not read the queue depth")
