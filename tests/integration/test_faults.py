"""Faults of the table in docs/reliability.md that are not covered elsewhere, named by their numbers there."""

import asyncio
import gc
import hashlib
import json
import math
import os
import random
import secrets
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from tests.chaos.workers import wait_until, worker_processes
from tests.support.builders import (
    NOON,
    a_claimant,
    a_job,
    a_message,
    a_recipe,
    a_rendition,
    a_report,
    after,
    all_transitions,
    an_observer,
)
from tests.support.crash_points import (
    Fault,
    FaultInjector,
    FaultKind,
    InterceptedClient,
    StepwisePool,
    check_history,
)
from tests.support.emulators import SESSION, create_table
from tests.support.fakes.ports import (
    FakeHeartbeat,
    FakeHold,
    FakeLogos,
    FakeMessageQueue,
    FakeResults,
    FakeSources,
)
from tests.support.fault_proxy import FaultProxy, ProxyFault, fault_proxy
from tests.support.pictures import encoded, noise, opened, quadrants
from tests.support.pools import HEAVY, HEAVY_PNG, make_pool, outputs_of
from tests.support.retry import NO_WAIT
from tests.support.user_profiles import profile_of, profiles_of
from tests.support.whole_worker import (
    USER,
    running_worker,
    take_notifications,
    upload,
    wait_until_processed,
    wait_until_queue_is_empty,
)
from worker.bootstrap import (
    RETRY_POLICIES,
    build_ledger,
    build_queries,
    build_results,
    build_sources,
    delivery_config,
    open_client,
    queue_url,
)
from worker.delivery.consumer import Consumer
from worker.delivery.handler import MessageHandler
from worker.delivery.recipes import Recipes, UserRecipe
from worker.domain.claim import Claimed, LeasedByAnother, decide
from worker.domain.clock import utc_now
from worker.domain.errors import (
    LeaseLostError,
    ReceiptLostError,
    TooManyBytesError,
    TransientError,
)
from worker.domain.image import Failure, Image
from worker.domain.job import Job
from worker.domain.message import Abandon, Delete, Message, Release
from worker.domain.status import StepName
from worker.domain.step import EncodedRendition
from worker.domain.transition import image_completed, image_failed, image_released, step_ended
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.ledger import DynamoLedger
from worker.local.embedded_aws import EMBEDDED_CREDENTIALS
from worker.s3.sources import S3Sources
from worker.settings import Settings
from worker.sqs.heartbeat import Heartbeat
from worker.sqs.queue import Queue

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

LOST = FaultKind.RESPONSE_LOST
FAILURE = Failure(code="corrupt", message="damaged", step=StepName.VALIDATION, retryable=False)


async def claimed_by(ledger: DynamoLedger, owner: str, job: Job, *, at_s: float = 0) -> Image:
    result = await ledger.claim(job, a_claimant(owner, now=after(at_s)))
    assert isinstance(result, Claimed)
    return result.image


async def item_of(dynamodb: "DynamoDBClient", settings: Settings, image: Image) -> dict[str, Any]:
    key: Any = {"imageId": {"S": image.image_id}, "userId": {"S": image.user_id}}
    return decode_map(
        (await dynamodb.get_item(TableName=settings.table_name, Key=key, ConsistentRead=True))["Item"]
    )


async def uploaded(s3: "S3Client", settings: Settings, content: bytes) -> Job:
    job = a_job(e_tag=hashlib.md5(content, usedforsecurity=False).hexdigest())
    await s3.put_object(Bucket=settings.bucket, Key=job.key, Body=content)
    return replace(job, bucket=settings.bucket)


@pytest.fixture
async def with_table(settings: Settings, dynamodb: "DynamoDBClient") -> Settings:
    """Settings of which only the table exists."""
    await create_table(dynamodb, settings)
    return settings


@contextmanager
def traced_memory() -> Iterator[Callable[[], int]]:
    """Trace memory; yield a function that collects garbage and returns the number of allocated bytes."""

    def collected_bytes() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    gc.freeze()  # what exists already is not traced, and collecting it takes most of the time
    tracemalloc.start()
    try:
        yield collected_bytes
    finally:
        tracemalloc.stop()
        gc.unfreeze()


@asynccontextmanager
async def proxied_s3(settings: Settings, *, connections: int = 10) -> AsyncIterator[tuple[FaultProxy, Any]]:
    """Open an S3 client with few connections that sends its requests through a fault proxy."""
    assert settings.endpoint_url
    config = AioConfig(
        retries={"total_max_attempts": 1},
        max_pool_connections=connections,
        connect_timeout=2,
        read_timeout=20,
        s3={"addressing_style": "path"},
    )
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(fault_proxy(settings.endpoint_url, seed=1))
        context = SESSION.create_client(
            "s3",
            region_name=settings.region,
            endpoint_url=proxy.endpoint_url,
            config=config,
            aws_access_key_id=EMBEDDED_CREDENTIALS["aws_access_key_id"],
            aws_secret_access_key=EMBEDDED_CREDENTIALS["aws_secret_access_key"],
        )
        yield proxy, await stack.enter_async_context(context)


async def test_fault_6_the_same_event_a_hundred_times_at_once_gives_one_result_counted_once(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    await upload(s3, provisioned, "img_1", encoded(quadrants(640, 480)))
    (body,) = await take_notifications(sqs, provisioned, 1)
    url = await queue_url(sqs, provisioned.queue_name)
    for _ in range(100):
        await sqs.send_message(QueueUrl=url, MessageBody=body)

    async with running_worker(provisioned.model_copy(update={"concurrency": 100})):
        (image,) = await wait_until_processed(dynamodb, provisioned, "img_1")
        await wait_until_queue_is_empty(sqs, provisioned)

    check_history(image)
    assert (image.status, image.attempt) == ("completed", 1)
    listed = await s3.list_objects_v2(Bucket=provisioned.bucket, Prefix="processed/")
    assert listed["KeyCount"] == 1
    profile = await profile_of(dynamodb, provisioned, USER)
    assert profile
    assert (profile.statistics.total_images, profile.statistics.total_storage_used) == (
        1,
        image.total_bytes(),
    )


async def test_fault_7_an_event_with_an_older_sequencer_changes_nothing(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    await upload(s3, provisioned, "img_1", encoded(quadrants(320, 240)))
    await upload(s3, provisioned, "img_1", encoded(quadrants(300, 300)))
    older, newer = sorted(await take_notifications(sqs, provisioned, 2), key=_sequencer)
    url = await queue_url(sqs, provisioned.queue_name)

    async with running_worker(provisioned):
        await sqs.send_message(QueueUrl=url, MessageBody=newer)
        (image,) = await wait_until_processed(dynamodb, provisioned, "img_1")
        before = await item_of(dynamodb, provisioned, image)
        await sqs.send_message(QueueUrl=url, MessageBody=older)
        await wait_until_queue_is_empty(sqs, provisioned)

    assert before["renditions"]["medium"]["height"] == 300
    assert await item_of(dynamodb, provisioned, image) == before


def _sequencer(body: str) -> str:
    sequencer: str = json.loads(body)["Records"][0]["s3"]["object"]["sequencer"]
    return sequencer.ljust(32, "0")


async def test_fault_11_the_heartbeat_keeps_message_and_lease_longer_than_the_visibility_timeout(
    sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    url = await queue_url(sqs, provisioned.queue_name)
    await sqs.purge_queue(QueueUrl=url)
    await sqs.send_message(QueueUrl=url, MessageBody="work")
    queue = Queue(
        sqs, sqs, url=url, dead_letter_url=url, wait_time_s=0, visibility_timeout_s=1, retry=NO_WAIT
    )
    ledger, beats = build_ledger(dynamodb, provisioned), 0
    heartbeat = Heartbeat(queue, visibility_timeout_s=1)
    (message,) = await queue.receive(1)
    now = utc_now()
    claim = await ledger.claim(a_job(), replace(a_claimant(now=now), lease_until=now + timedelta(seconds=1)))
    assert isinstance(claim, Claimed)
    image = claim.image
    enough = asyncio.Event()

    async def renew(*, until: datetime) -> None:
        nonlocal beats
        await ledger.renew(image, until=until)
        beats += 1
        if beats == 7:  # more than two visibility timeouts have passed
            enough.set()

    heartbeat_task = asyncio.create_task(heartbeat.run())
    received: list[Message] = []
    with heartbeat.holding(message) as hold, hold.leasing(renew):
        async with asyncio.timeout(20):
            while not enough.is_set():
                received += await queue.receive(1)
                second_claim = await ledger.claim(a_job(), a_claimant("other/1", now=utc_now()))
                assert isinstance(second_claim, LeasedByAnother)
    heartbeat_task.cancel()
    await asyncio.gather(heartbeat_task, return_exceptions=True)

    assert utc_now() - now > timedelta(seconds=2)
    assert received == []
    await queue.delete(message)


async def test_fault_12_an_attempt_whose_heartbeat_fails_is_stopped_and_cannot_write(
    sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    url = await queue_url(sqs, provisioned.queue_name)
    await sqs.purge_queue(QueueUrl=url)
    await sqs.send_message(QueueUrl=url, MessageBody="work")
    queue = Queue(
        sqs, sqs, url=url, dead_letter_url=url, wait_time_s=0, visibility_timeout_s=60, retry=NO_WAIT
    )
    ledger = build_ledger(dynamodb, provisioned)
    heartbeat = Heartbeat(queue, visibility_timeout_s=60)
    (message,) = await queue.receive(1)
    image = await claimed_by(ledger, "slow/1", a_job())
    holding = asyncio.Event()

    async def work() -> None:
        with heartbeat.holding(message) as hold, hold.guarding(image_id=image.image_id, attempt=1):
            holding.set()
            await asyncio.get_running_loop().create_future()

    work_task = asyncio.create_task(work())
    await holding.wait()
    taken = await claimed_by(ledger, "quick/1", a_job(), at_s=61)
    await queue.delete(message)  # by the other worker, which has completed the image
    await heartbeat.beat()

    with pytest.raises(LeaseLostError):
        await work_task
    with pytest.raises(LeaseLostError):
        await ledger.settle(image, all_transitions())
    assert (await item_of(dynamodb, provisioned, image))["leaseOwner"] == "quick/1"
    assert taken.attempt == 2


async def test_fault_13_a_failed_entry_of_a_delete_batch_raises_only_for_its_caller(
    sqs: "SQSClient", provisioned: Settings
) -> None:
    url = await queue_url(sqs, provisioned.queue_name)
    await sqs.purge_queue(QueueUrl=url)
    for number in range(5):
        await sqs.send_message(QueueUrl=url, MessageBody=str(number))
    queue = Queue(
        sqs, sqs, url=url, dead_letter_url=url, wait_time_s=1, visibility_timeout_s=60, retry=NO_WAIT
    )
    messages = [message for _ in range(5) for message in await queue.receive(1)]
    messages[2] = replace(messages[2], receipt_handle="not a receipt handle of this queue")

    results = await asyncio.gather(*map(queue.delete, messages), return_exceptions=True)

    assert [type(result) for result in results] == [type(None)] * 2 + [ReceiptLostError] + [type(None)] * 2
    response = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    assert response["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "1"


async def test_fault_17_while_sqs_is_unavailable_the_backoff_grows_and_memory_does_not() -> None:
    pauses: list[int] = []

    def backoff_s(failures: int) -> float:
        pauses.append(failures)
        return 0.0

    queue, handled = FakeMessageQueue(), asyncio.Event()

    async def handle(*_: object) -> Delete:
        handled.set()
        return Delete()

    consumer = Consumer(
        queue=queue,
        heartbeat=FakeHeartbeat(),
        handle=handle,
        slots=4,
        drain_timeout_s=1,
        last_poll_s=0.01,
        backoff_s=backoff_s,
    )
    with capture_logs() as logged:
        running = asyncio.create_task(consumer.run())
        traced_bytes: list[int] = []
        with traced_memory() as collected_bytes:
            for _ in range(3):
                for _ in range(200):
                    queue.waiting.put_nowait(TransientError("unavailable"))
                async with asyncio.timeout(20):
                    while not queue.waiting.empty():
                        await asyncio.sleep(0)
                queue.receive_limits.clear()
                logged.clear()
                traced_bytes.append(collected_bytes())
        queue.waiting.put_nowait(a_message())
        async with asyncio.timeout(5):
            await handled.wait()
        consumer.stop()
        await running

    assert pauses == list(range(1, 601))
    assert traced_bytes[-1] - traced_bytes[0] < 100_000


async def test_fault_20_every_write_of_a_worker_that_resumes_after_its_lease_was_taken_is_rejected(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    suspended_ledger, current_ledger = (
        build_ledger(dynamodb, provisioned),
        build_ledger(dynamodb, provisioned),
    )
    suspended = await claimed_by(suspended_ledger, "suspended/1", a_job())
    current = await claimed_by(current_ledger, "current/1", a_job(), at_s=61)
    results = build_results(s3, provisioned)
    stored = await results.store(current, _rendition(40), is_main=True)
    before = await item_of(dynamodb, provisioned, suspended)
    completed = image_completed({"medium": a_rendition()}, main_size="medium", at=after(70))

    for write in (
        suspended_ledger.record(suspended, [step_ended(a_report(), at=after(70))]),
        suspended_ledger.renew(suspended, until=after(1000)),
        suspended_ledger.settle(suspended, [completed]),
        suspended_ledger.settle(suspended, [image_failed(FAILURE, at=after(70))]),
        suspended_ledger.settle(suspended, [image_released(FAILURE, at=after(70))]),
        results.store(replace(suspended, recipe="another"), _rendition(20), is_main=True),
    ):
        with pytest.raises(LeaseLostError):
            await write

    assert await item_of(dynamodb, provisioned, suspended) == before
    found = await s3.get_object(Bucket=provisioned.bucket, Key=stored.key)
    async with found["Body"] as body:
        assert opened(await body.read()).width == 40


def _rendition(width: int) -> EncodedRendition:
    content = encoded(quadrants(width, 6))
    return EncodedRendition(size="medium", width=width, height=6, format="jpeg", content=content)


async def test_fault_20_a_suspended_worker_cannot_overwrite_a_result_equal_to_the_one_it_knew(
    s3: "S3Client", provisioned: Settings
) -> None:
    """Uploads A, B and A again have results with equal eTags; the late worker of B must not write."""
    results = build_results(s3, provisioned)
    first = await results.store(_image_of(upload=1, e_tag="a"), _rendition(40), is_main=True)
    known = {"medium": first}
    suspended = replace(_image_of(upload=2, e_tag="b"), attempt=2, renditions=known)
    third = replace(_image_of(upload=3, e_tag="a"), attempt=3, renditions=known)
    stored = await results.store(third, _rendition(40), is_main=True)

    with suppress(LeaseLostError):
        await results.store(suspended, _rendition(20), is_main=True)

    found = await s3.head_object(Bucket=provisioned.bucket, Key=stored.key)
    assert found["ETag"].strip('"') == stored.e_tag


def _image_of(*, upload: int, e_tag: str) -> Image:
    claim = decide(None, a_job(upload=upload, e_tag=e_tag), a_claimant())
    assert isinstance(claim, Claimed)
    return replace(claim.image, updated_at=utc_now())


@pytest.mark.parametrize("lost", [1, 2])
async def test_fault_21_a_repeated_write_after_a_lost_response_succeeds(
    dynamodb: "DynamoDBClient", with_table: Settings, lost: int
) -> None:
    injector = FaultInjector([Fault(2, LOST), *([Fault(1, LOST)] * (lost - 1))])
    client: Any = InterceptedClient(dynamodb, injector, injector.new_worker())
    ledger = build_ledger(client, with_table)
    image = await claimed_by(ledger, "worker/1", a_job())
    *steps, end = all_transitions()

    recorded = await ledger.record(image, steps)
    settled = await ledger.settle(recorded, [end])

    assert injector.names.count("update_item") == 2 + lost
    check_history(settled)
    assert len((await item_of(dynamodb, with_table, image))["history"]) == len(settled.history)


async def test_fault_21_a_write_whose_every_response_was_lost_does_not_lose_the_lease(
    dynamodb: "DynamoDBClient", with_table: Settings
) -> None:
    injector = FaultInjector([Fault(2, LOST), *([Fault(1, LOST)] * 9)])
    client: Any = InterceptedClient(dynamodb, injector, injector.new_worker())
    ledger = build_ledger(client, with_table)
    image = await claimed_by(ledger, "worker/1", a_job())
    *steps, end = all_transitions()
    with pytest.raises(TransientError):
        await ledger.record(image, steps)

    settled = await ledger.settle(image, [*steps, end])  # the step writer repeats what is not written

    assert settled.status == "completed"


async def test_fault_22_two_hundred_races_for_one_claim_have_one_winner_each(
    with_table: Settings,
) -> None:
    # Every claimant is a write: most races are small to have time for two hundred of them.
    claimants_of = [24] * 20 + [3] * 180
    started = time.monotonic()
    async with open_client("dynamodb", with_table) as dynamodb:
        ledgers = [build_ledger(dynamodb, with_table) for _ in range(max(claimants_of))]
        winners: list[int] = []
        losing_results: set[type] = set()
        for number, claimants in enumerate(claimants_of):
            job = a_job(f"img_{number}")
            results = await asyncio.gather(
                *(
                    ledger.claim(job, a_claimant(f"worker-{place}/{number}", now=NOON))
                    for place, ledger in enumerate(ledgers[:claimants])
                )
            )
            winners.append(sum(isinstance(result, Claimed) for result in results))
            losing_results |= {type(result) for result in results} - {Claimed}

    print(f"{len(winners)} races, 20 of them of 24, in {time.monotonic() - started:.0f} s")
    assert winners == [1] * 200
    assert losing_results == {LeasedByAnother}


class ThrottledClient:
    """
    A DynamoDB client that is throttled for a minute, starting at one of its calls.

    Args:
        client: Makes the calls that are not throttled.
        first: Number of the first throttled call.
        now_s: Clock in seconds.
    """

    def __init__(self, client: object, *, first: int, now_s: Callable[[], float]) -> None:
        self._client, self._first, self._now_s = client, first, now_s
        self.calls = self.throttled = 0
        self.until_s = math.inf

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(**request: Any) -> Any:
            self.calls += 1
            if self.calls == self._first:
                self.until_s = self._now_s() + 60
            if self.calls >= self._first and self._now_s() < self.until_s:
                self.throttled += 1
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, name)
            return await getattr(self._client, name)(**request)

        return call


@pytest.mark.parametrize("first", range(1, 9))
async def test_fault_23_a_minute_of_throttling_loses_nothing_and_attempts_are_bounded(
    dynamodb: "DynamoDBClient", with_table: Settings, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """The table is throttled for a minute from one of an image's calls on; sleeping advances the clock."""
    real_monotonic, real_sleep, ahead_s = time.monotonic, asyncio.sleep, 0.0

    async def sleep(seconds: float) -> None:
        nonlocal ahead_s
        ahead_s += seconds
        await real_sleep(0)

    monkeypatch.setattr(time, "monotonic", lambda: real_monotonic() + ahead_s)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    random.seed(first)
    throttled, injector = ThrottledClient(dynamodb, first=first, now_s=time.monotonic), FaultInjector()
    table: Any = InterceptedClient(throttled, injector, injector.new_worker())
    queue, started_s = FakeMessageQueue(), time.monotonic()
    handler = MessageHandler(
        parse=lambda _: [a_job()],
        queue=queue,
        ledger=build_ledger(table, with_table),
        recipes=Recipes(
            profiles_of(table, with_table),
            lambda _: UserRecipe(a_recipe()),
            FakeLogos().fill,
        ),
        sources=FakeSources(),
        pool=StepwisePool(injector, error=None, beat=None),
        results=FakeResults(),
        observer=an_observer(),
        clock=lambda: after(time.monotonic() - started_s),
        config=replace(delivery_config(with_table), record_delay_s=0),
    )

    receives, disposition = 0, None
    while disposition != Delete():
        receives += 1
        assert receives <= with_table.queue_receives, "SQS moves the message to the dead-letter queue"
        disposition = await handler.handle(a_message(receive_count=receives), FakeHold())
        if isinstance(disposition, Release):
            await sleep(disposition.after_s)
        elif isinstance(disposition, Abandon):
            await sleep(with_table.visibility_timeout_s)

    image = await build_queries(dynamodb, with_table).image("img_1", "user_1", consistent=True)
    assert image
    check_history(image)
    assert (image.status, queue.dead_letters) == ("completed", [])
    assert image.attempt <= 2
    assert time.monotonic() >= throttled.until_s
    assert throttled.throttled <= 100
    profile = await profile_of(dynamodb, with_table, "user_1")
    assert profile
    assert profile.statistics.total_images == 1
    print(f"throttled from call {first} on: {throttled.throttled} calls, {receives} receives")


async def test_fault_26_a_truncated_body_is_read_again_until_it_is_complete(
    s3: "S3Client", provisioned: Settings
) -> None:
    content = os.urandom(300_000)
    job = await uploaded(s3, provisioned, content)
    async with proxied_s3(provisioned) as (proxy, through_proxy):
        proxy.planned.extend([ProxyFault.CUT] * 3)

        source = await build_sources(through_proxy).fetch(job, max_bytes=1_000_000)

    assert proxy.met == {ProxyFault.CUT: 3}
    assert bytes(source.content) == content


async def test_fault_27_a_body_that_stalls_is_abandoned_and_read_again(
    s3: "S3Client", provisioned: Settings
) -> None:
    retry = replace(RETRY_POLICIES.bucket, attempt_timeout_s=0.4)
    content = os.urandom(300_000)
    job = await uploaded(s3, provisioned, content)
    async with proxied_s3(provisioned) as (proxy, through_proxy):
        proxy.planned.extend([ProxyFault.HALTED] * 2)

        source = await S3Sources(through_proxy, retry=retry).fetch(job, max_bytes=1_000_000)

    assert proxy.met == {ProxyFault.HALTED: 2}
    assert bytes(source.content) == content


async def test_fault_28_ninety_failed_reads_leak_no_connection_of_a_pool_of_ten(
    s3: "S3Client", provisioned: Settings
) -> None:
    once = replace(RETRY_POLICIES.bucket, attempts=1)
    content = os.urandom(200_000)
    job = await uploaded(s3, provisioned, content)
    async with proxied_s3(provisioned, connections=10) as (proxy, through_proxy):
        ended_with: list[type] = []
        for kind in ("too large", "cut", "halted"):
            timeout_s = 0.5 if kind == "halted" else once.attempt_timeout_s
            reader = S3Sources(through_proxy, retry=replace(once, attempt_timeout_s=timeout_s))
            for _ in range(3):
                if kind != "too large":
                    proxy.planned.extend([ProxyFault.CUT if kind == "cut" else ProxyFault.HALTED] * 10)
                limit = 1000 if kind == "too large" else 1_000_000
                failures = await asyncio.gather(
                    *(reader.fetch(job, max_bytes=limit) for _ in range(10)), return_exceptions=True
                )
                ended_with += [type(failure) for failure in failures]

        reader = S3Sources(through_proxy, retry=once)
        async with asyncio.timeout(10):
            read = await asyncio.gather(*(reader.fetch(job, max_bytes=1_000_000) for _ in range(10)))

    assert ended_with == [TooManyBytesError] * 30 + [TransientError] * 60
    assert [bytes(source.content) for source in read] == [content] * 10


async def test_fault_29_requests_with_expired_credentials_are_retried_until_they_are_renewed(
    with_table: Settings,
) -> None:
    assert with_table.endpoint_url
    async with (
        fault_proxy(with_table.endpoint_url, seed=1) as proxy,
        open_client(
            "dynamodb", with_table.model_copy(update={"endpoint_url": proxy.endpoint_url})
        ) as dynamodb,
    ):
        ledger = build_ledger(dynamodb, with_table)
        image = await claimed_by(ledger, "worker/1", a_job())
        proxy.always = ProxyFault.EXPIRED
        settling = asyncio.create_task(ledger.settle(image, all_transitions()))
        async with asyncio.timeout(20):
            while proxy.met[ProxyFault.EXPIRED] < 4:
                await asyncio.sleep(0.01)
        proxy.always = None
        settled = await settling

    assert settled.status == "completed"


async def test_fault_30_the_event_loop_stays_responsive_while_decoders_work() -> None:
    lags: list[float] = []

    async def measure() -> None:
        while True:
            due = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            lags.append(time.monotonic() - due)

    async with make_pool(processes=2) as pool:
        await outputs_of(pool, HEAVY_PNG, HEAVY)
        measurement = asyncio.create_task(measure())
        await asyncio.gather(*(outputs_of(pool, HEAVY_PNG, HEAVY) for _ in range(8)))
        measurement.cancel()
        await asyncio.gather(measurement, return_exceptions=True)

    lags.sort()
    print(f"lag: median {lags[len(lags) // 2] * 1000:.1f} ms, maximum {lags[-1] * 1000:.0f} ms")
    assert len(lags) > 20
    assert lags[len(lags) * 9 // 10] < 0.1


async def test_fault_31_memory_is_flat_over_sixty_images(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    content, traced_bytes = encoded(noise(320, 240)), []
    with capture_logs() as logged:
        async with running_worker(provisioned):
            with traced_memory() as collected_bytes:
                for batch in range(3):
                    image_ids = [f"img_{batch}_{number}" for number in range(20)]
                    for image_id in image_ids:
                        await upload(s3, provisioned, image_id, content)
                    await wait_until_processed(dynamodb, provisioned, *image_ids)
                    await wait_until_queue_is_empty(sqs, provisioned)
                    logged.clear()
                    traced_bytes.append(collected_bytes())

    print(f"memory after each 20 images: {[size // 1000 for size in traced_bytes]} kB")
    assert traced_bytes[2] - traced_bytes[1] < 150_000


async def test_fault_40_the_logs_contain_no_secrets(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings, tmp_path: Path
) -> None:
    credentials = {
        "AWS_ACCESS_KEY_ID": f"AKIA{secrets.token_hex(8).upper()}",
        "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
        "AWS_SESSION_TOKEN": secrets.token_urlsafe(60),
    }
    assert provisioned.endpoint_url
    async with (
        fault_proxy(provisioned.endpoint_url, seed=1) as proxy,
        worker_processes(
            provisioned, tmp_path, endpoint_url=proxy.endpoint_url, WORKER_LOG_LEVEL="debug", **credentials
        ) as workers,
    ):
        log = (await workers.start(0)).log
        await upload(s3, provisioned, "img_1", encoded(quadrants(320, 240)))
        await upload(s3, provisioned, "img_2", b"not an image")
        await wait_until_processed(dynamodb, provisioned, "img_1", "img_2")
        proxy.always = ProxyFault.FAILED
        await wait_until(
            lambda: "queue.receive_failed" in log.read_text(), within_s=30, what="the queue is unavailable"
        )
        await workers.drain()

    text = log.read_text()
    assert "image.completed" in text
    assert "not_an_image" in text
    for value in (*credentials.values(), "X-Amz-Signature", "Authorization"):
        assert value not in text


async def test_a_hundred_concurrent_completions_of_one_user_are_counted_in_few_transactions(
    dynamodb: "DynamoDBClient", with_table: Settings
) -> None:
    injector = FaultInjector()
    worker = injector.new_worker()
    clients: list[Any] = [InterceptedClient(dynamodb, injector, worker) for _ in range(4)]
    ledgers = [build_ledger(client, with_table) for client in clients]
    images = [
        await claimed_by(ledgers[number % 4], f"worker-{number % 4}/{number}", a_job(f"img_{number}"))
        for number in range(100)
    ]
    started = time.monotonic()

    settled = await asyncio.gather(
        *(
            ledgers[number % 4].settle(image, all_transitions(image.image_id))
            for number, image in enumerate(images)
        ),
        return_exceptions=True,
    )

    transactions = injector.names.count("transact_write_items")
    print(f"100 completions: {transactions} transactions, {time.monotonic() - started:.1f} s")
    assert [result for result in settled if isinstance(result, BaseException)] == []
    profile = await profile_of(dynamodb, with_table, "user_1")
    assert profile
    assert profile.statistics.total_images == 100
    assert profile.statistics.total_storage_used == 100 * 1100
    assert transactions < 38
