"""Events from the stream of the table: none is missing, none invented, and each can be replayed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.builders import a_requester
from tests.support.emulators import client
from tests.support.pictures import encoded, quadrants
from tests.support.repairs import open_tool
from tests.support.state_changes import ends_of
from tests.support.whole_worker import USER, running_worker, upload, wait_until_processed
from worker.bootstrap import (
    RETRY_POLICIES,
    build_queries,
    build_repair_writes,
    queue_url,
    table_of,
)
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES
from worker.dynamodb.stream import Start, TableStream
from worker.events.follow import Checkpoint, Event, follow
from worker.events.forward import EventDeadLetterQueue, forward
from worker.events.replay import ended_images, event_of, publish, to_bus, to_queue
from worker.events.webhooks import Webhook, WebhookGoneError
from worker.repair.reprocess import reprocess_images
from worker.repair.retention import set_retention
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

IMAGE = encoded(quadrants(96, 72))
KEY = b"k" * 32


@asynccontextmanager
async def stream_of(settings: Settings) -> AsyncIterator[TableStream]:
    async with client("dynamodb", settings) as dynamodb, client("dynamodbstreams", settings) as streams:
        yield TableStream(
            dynamodb, streams, table=table_of(settings), retry=RETRY_POLICIES.table, poll_s=0.05
        )


async def events_until(
    settings: Settings, count: int, *, checkpoint: Checkpoint | None = None, start: Start = Start.OLDEST
) -> list[Event]:
    """Follow the stream until there are so many events."""
    events: list[Event] = []
    async with (
        stream_of(settings) as stream,
        aclosing(follow(stream, start=start, checkpoint=checkpoint or Checkpoint(None))) as batches,
        asyncio.timeout(30),
    ):
        async for batch in batches:
            events += batch
            if len(events) >= count:
                break
    return events


async def process(settings: Settings, s3: "S3Client", dynamodb: "DynamoDBClient") -> list[Image]:
    """Process a good and a broken image, and reprocess both."""
    async with running_worker(settings):
        await upload(s3, settings, "img_good", IMAGE)
        await upload(s3, settings, "img_broken", b"not an image")
        images = await wait_until_processed(dynamodb, settings, "img_good", "img_broken")
        async with open_tool(settings, command="images reprocess") as repairs:
            await reprocess_images(repairs, images, before=None, recipe_changed=False)
        return await wait_until_processed(dynamodb, settings, "img_good", "img_broken")


async def test_each_end_of_an_image_is_one_event_and_nothing_else_is(
    with_stream: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    images = await process(with_stream, s3, dynamodb)
    queries = build_queries(dynamodb, with_stream)
    seen = await queries.image("img_good", USER, consistent=True)
    assert seen
    writes = build_repair_writes(dynamodb, with_stream, a_requester("images retention"))
    assert await set_retention(queries, writes, seen, ttl=2_000_000_000)
    events = await events_until(with_stream, 4)
    assert sorted(event.id for event in events) == sorted(ends_of(images))
    assert len(events) == 4
    last = {event.id: event.envelope["detail"] for event in events}
    good = next(image for image in images if image.image_id == "img_good")
    detail: Any = last[f"{USER}/img_good/{good.attempt}/completed"]
    assert detail["processedKey"] == good.processed_key
    assert detail["sourceETag"] == good.version.e_tag


async def test_a_replay_publishes_the_same_events(
    with_stream: Settings, s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient"
) -> None:
    images = await process(with_stream, s3, dynamodb)
    from_stream = {event.id: event.envelope for event in await events_until(with_stream, 4)}
    queries = build_queries(dynamodb, with_stream)
    since, until = images[0].created_at, utc_now()
    for user_id in (None, USER):
        pages = ended_images(
            queries, since=since, until=until, user_id=user_id, statuses=sorted(TERMINAL_STATUSES)
        )
        replayed = [event_of(image, table_of(with_stream)) async for page in pages for image in page]
        assert {event.id: event.envelope for event in replayed} == {
            f"{image.user_id}/{image.image_id}/{image.attempt}/{image.status}": from_stream[
                f"{image.user_id}/{image.image_id}/{image.attempt}/{image.status}"
            ]
            for image in images
        }
    url = await queue_url(sqs, with_stream.events_dead_letter_queue_name)
    await publish(replayed, to_queue(sqs, url=url, retry=RETRY_POLICIES.queue))
    received = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
    assert {json.loads(message["Body"])["detail"]["id"] for message in received["Messages"]} == {
        event.id for event in replayed
    }
    async with client("events", with_stream) as bus:
        await publish(replayed, to_bus(bus, bus="default", retry=RETRY_POLICIES.queue))
    before = ended_images(
        queries, since=since.replace(year=2000), until=since, user_id=USER, statuses=sorted(TERMINAL_STATUSES)
    )
    assert [image async for page in before for image in page] == []


async def test_a_reader_that_stops_anywhere_continues_without_a_gap(
    with_stream: Settings, s3: "S3Client", dynamodb: "DynamoDBClient", tmp_path: Path
) -> None:
    names = [f"img_{number}" for number in range(12)]
    async with running_worker(with_stream):
        for name in names:
            await upload(s3, with_stream, name, IMAGE)
        images = await wait_until_processed(dynamodb, with_stream, *names)
    received: set[str] = set()
    for number in range(40):  # one more batch in each run, each of which ends before it saves its position
        checkpoint = Checkpoint(tmp_path / "positions.json")
        async with (
            stream_of(with_stream) as stream,
            aclosing(follow(stream, start=Start.OLDEST, checkpoint=checkpoint)) as batches,
        ):
            for _ in range(1 + number % 3):
                received |= {event.id for event in await anext(batches)}
        if received == ends_of(images):
            break
    assert received == ends_of(images)


async def test_latest_begins_with_the_next_change(
    with_stream: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    async with running_worker(with_stream):
        await upload(s3, with_stream, "img_early", IMAGE)
        await wait_until_processed(dynamodb, with_stream, "img_early")
        async with (
            stream_of(with_stream) as stream,
            aclosing(follow(stream, start=Start.LATEST, checkpoint=Checkpoint(None))) as batches,
            asyncio.timeout(30),
        ):
            assert await anext(batches) == []
            await upload(s3, with_stream, "img_late", IMAGE)
            async for batch in batches:
                if batch:
                    break
        assert [event.id for event in batch] == [f"{USER}/img_late/1/completed"]


async def test_a_table_without_a_stream_is_a_configuration_error(provisioned: Settings) -> None:
    with pytest.raises(
        ConfigurationError, match=r"set WORKER_EVENTS=true, .* and run `image-worker provision`"
    ):
        await events_until(provisioned, 1)


async def test_a_file_that_is_no_checkpoint_is_a_configuration_error(tmp_path: Path) -> None:
    file = tmp_path / "positions.json"
    for content in ("", "[]", '{"shard": 1}', "not JSON"):
        file.write_text(content)
        with pytest.raises(ConfigurationError, match="is not a checkpoint"):
            Checkpoint(file).load()


@asynccontextmanager
async def endpoint(statuses: dict[str, int]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve an endpoint that responds by image id with a status (default: 204); yield its URL and the ids."""
    accepted: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        detail = json.loads(await request.read())["detail"]
        status = statuses.get(detail["imageId"], 204)
        if status == 204:
            accepted.append(detail["id"])
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/")), accepted


async def test_events_that_are_not_accepted_are_dead_letters_with_the_reason(
    with_stream: Settings, s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient"
) -> None:
    images = await process(with_stream, s3, dynamodb)
    url = await queue_url(sqs, with_stream.events_dead_letter_queue_name)
    dead_letters = EventDeadLetterQueue(sqs, url=url, retry=RETRY_POLICIES.queue)

    async def no_wait(_: float) -> None:
        return None

    async with (
        endpoint({"img_broken": 500}) as (endpoint_url, accepted),
        aiohttp.ClientSession() as session,
        stream_of(with_stream) as stream,
    ):
        webhook = Webhook(session, endpoint_url, key=KEY, attempts=2, sleep=no_wait)
        events = follow(stream, start=Start.OLDEST, checkpoint=Checkpoint(None))
        task = asyncio.create_task(forward(events, webhook, dead_letters), name="forward")
        async with asyncio.timeout(30):
            received: list[Any] = []
            while len(received) < 2:
                response = await sqs.receive_message(
                    QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
                )
                received += response.get("Messages", [])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert set(accepted) == {name for name in ends_of(images) if "/img_good/" in name}
    assert {json.loads(message["Body"])["detail"]["id"] for message in received} == {
        name for name in ends_of(images) if "/img_broken/" in name
    }
    assert all(
        "responds with 500" in message["MessageAttributes"]["reason"]["StringValue"] for message in received
    )


async def test_forwarding_ends_when_the_endpoint_is_gone(
    with_stream: Settings, s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient"
) -> None:
    async with running_worker(with_stream):
        await upload(s3, with_stream, "img_1", IMAGE)
        await wait_until_processed(dynamodb, with_stream, "img_1")
    url = await queue_url(sqs, with_stream.events_dead_letter_queue_name)
    async with (
        endpoint({"img_1": 410}) as (endpoint_url, _),
        aiohttp.ClientSession() as session,
        stream_of(with_stream) as stream,
    ):
        webhook = Webhook(session, endpoint_url, key=KEY, attempts=2)
        events = follow(stream, start=Start.OLDEST, checkpoint=Checkpoint(None))
        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.timeout(30):
                await forward(events, webhook, EventDeadLetterQueue(sqs, url=url, retry=RETRY_POLICIES.queue))
    assert raised.group_contains(WebhookGoneError)
