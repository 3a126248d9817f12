"""Real workers that are killed, stopped and cut off at random: nothing is lost, nothing counts twice."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import TYPE_CHECKING, Any

import pytest

from config.settings import Settings
from tests.acceptance.conftest import Command, variables_of
from tests.crash_points import check_history
from tests.emulators import stack_name_of, unique_settings
from tests.fault_proxy import fault_proxy
from tests.pictures import encoded, noise, opened
from worker.bootstrap import queue_url
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.record.profiles import CachedProfiles
from worker.record.queries import Queries
from worker.resources import deploy

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

USER = "user_1"
LEASE_S = 6
UPLOADS = 60
BURSTS = 15


@pytest.fixture
def settings(ministack_endpoint: str) -> Settings:
    """Settings with the shortest lease, under which a message may be handed out often."""
    return unique_settings(ministack_endpoint, visibility_timeout_s=LEASE_S, max_receives=100)


@pytest.fixture
async def provisioned(
    settings: Settings, cloudformation: "CloudFormationClient", dynamodb: "DynamoDBClient"
) -> Settings:
    await deploy(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
    return settings


@pytest.fixture
def seed() -> int:
    """The seed of the run: printed, and taken from KILLS_SEED to repeat it."""
    drawn = int(os.environ.get("KILLS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"KILLS_SEED={drawn}")  # noqa: T201
    return drawn


@dataclass
class Workers:
    """Worker processes of ours, by the number of their place; each logs to a file of its own."""

    command: Command
    environment: dict[str, str]
    processes: dict[int, "Popen[bytes]"] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)
    logs: list[Path] = field(default_factory=list)

    def start(self, place: int) -> Path:
        """Start a worker in a place whose last one is gone; return its log."""
        log = self.command.folder / f"worker-{place}-{len(self.logs)}.log"
        with log.open("wb") as stderr:
            self.processes[place] = Popen(
                [sys.executable, "-m", "worker", "run"],
                cwd=self.command.folder,
                env={**self.command.environment, **self.environment},
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=stderr,
            )
        self.logs.append(log)
        return log

    def kill(self, place: int) -> None:
        """End a worker without a warning."""
        process = self.processes.pop(place)
        self.stopped.discard(place)
        process.kill()
        process.wait(10)

    def stop(self, place: int) -> None:
        """Let a worker stand still."""
        self.processes[place].send_signal(signal.SIGSTOP)
        self.stopped.add(place)

    def wake(self, place: int) -> None:
        """Let a worker that stands still go on."""
        self.processes[place].send_signal(signal.SIGCONT)
        self.stopped.discard(place)

    @property
    def log_text(self) -> str:
        """Return everything that all of them have logged."""
        return "\n".join(log.read_text(errors="replace") for log in self.logs)


@contextmanager
def working(command: Command, settings: Settings, **more: str) -> Iterator[Workers]:
    """Hold workers that are all gone at the end."""
    environment = variables_of(settings) | {
        "WORKER_VISIBILITY_TIMEOUT_S": str(LEASE_S),
        "WORKER_MAX_RECEIVES": "100",
        "WORKER_PROCESSES": "1",
        "WORKER_CONCURRENCY": "6",
        "WORKER_LOG_FORMAT": "json",
        **more,
    }
    workers = Workers(command, environment)
    try:
        yield workers
    finally:
        for place in list(workers.processes):
            workers.kill(place)


async def until_logged(log: Path, event: str) -> None:
    """Wait until a log names the event."""
    async with asyncio.timeout(30):
        while event not in log.read_text():  # noqa: ASYNC110, ASYNC240 - a small file that tells nobody
            await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Promises:
    """Looks whether everything that was promised of the uploads is so."""

    settings: Settings
    s3: "S3Client"
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"

    async def upload(self, image_id: str, content: bytes) -> None:
        key = f"uploads/{USER}/{image_id}.jpg"
        await self.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=content, ContentType="image/jpeg")

    async def ended(self, image_ids: Sequence[str], *, within_s: float) -> list[Image]:
        """Wait until every image has ended and no message is left."""
        queries = Queries(self.dynamodb, table=self.settings.table_name)
        images: dict[str, Image] = {}
        async with asyncio.timeout(within_s):
            while len(images) < len(image_ids) or await self.waiting(self.settings.queue_name):
                for image_id in set(image_ids) - images.keys():
                    image = await queries.image(image_id, USER, consistent=True)
                    if image is not None and image.status in {ImageStatus.COMPLETED, ImageStatus.FAILED}:
                        images[image_id] = image
                await asyncio.sleep(0.1)  # leaves the emulator to the workers
        # Once more: nobody may have touched an image after its end.
        return [
            image
            for image_id in image_ids
            if (image := await queries.image(image_id, USER, consistent=True)) is not None
        ]

    async def waiting(self, queue: str) -> int:
        """Count the messages in a queue, hidden ones included."""
        answer = await self.sqs.get_queue_attributes(
            QueueUrl=await queue_url(self.sqs, queue), AttributeNames=["All"]
        )
        attributes: Any = answer["Attributes"]
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return sum(int(attributes[name]) for name in names)

    async def check(self, images: Sequence[Image], image_ids: Sequence[str]) -> None:
        assert [image.image_id for image in images] == list(image_ids)
        assert {image.status for image in images} == {ImageStatus.COMPLETED}
        for image in images:
            check_history(image)
            statuses = [entry.status for entry in image.history if entry.step is None]
            assert statuses.count("completed") == 1, image.image_id
            (rendition,) = image.renditions.values()
            stored = await self.s3.get_object(Bucket=self.settings.bucket, Key=rendition.key)
            async with stored["Body"] as body:
                content = await body.read()
            assert stored["ETag"].strip('"') == rendition.e_tag
            assert opened(content).size == (rendition.width, rendition.height)
        profile = await CachedProfiles(self.dynamodb, table=self.settings.table_name, cache_s=0).get(USER)
        assert profile
        assert profile.statistics.total_images == len(images)
        assert profile.statistics.total_storage_used == sum(image.to_count() for image in images)
        assert await self.waiting(self.settings.dead_letter_queue_name) == 0


@pytest.fixture
def promises(provisioned: Settings, s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient") -> Promises:
    return Promises(provisioned, s3, sqs, dynamodb)


async def harass(
    workers: Workers, dice: random.Random, bursts: Sequence[Callable[[], Awaitable[None]]]
) -> dict[str, int]:
    """After each burst of uploads, kill and replace a worker, or stop it for longer than its leases."""
    done = {"kills": 0, "stops": 0}
    wakes: list[tuple[float, int]] = []
    for burst in bursts:
        await burst()
        # The schedule of the chaos, which waits for nobody: somewhere in the middle of the work.
        await asyncio.sleep(dice.uniform(0.0, 0.4))
        now = time.monotonic()
        for due, place in [wake for wake in wakes if wake[0] <= now]:
            wakes.remove((due, place))
            if place in workers.stopped:
                workers.wake(place)
        place = dice.choice(sorted(workers.processes.keys() - workers.stopped))
        if len(workers.stopped) < 2 and dice.random() < 0.5:
            workers.stop(place)
            wakes.append((now + dice.uniform(LEASE_S + 0.5, LEASE_S + 2), place))
            done["stops"] += 1
        else:
            workers.kill(place)
            workers.start(place)
            done["kills"] += 1
        await asyncio.sleep(dice.uniform(0.2, 1.5))
    return done


@pytest.mark.timeout(150)
async def test_workers_killed_and_stopped_past_their_leases_lose_nothing_and_count_nothing_twice(
    command: Command, promises: Promises, seed: int
) -> None:
    dice = random.Random(seed)
    image_ids = [f"img_{number}" for number in range(UPLOADS)]
    contents = [encoded(noise(1800, 1200, seed=number)) for number in range(3)]

    def burst_of(numbers: range) -> Callable[[], Awaitable[None]]:
        async def burst() -> None:
            for number in numbers:
                await promises.upload(image_ids[number], contents[number % len(contents)])

        return burst

    began = time.monotonic()
    with working(command, promises.settings) as workers:
        for log_file in [workers.start(place) for place in range(3)]:
            await until_logged(log_file, "service.started")
        of_one = UPLOADS // BURSTS
        bursts = [burst_of(range(first, first + of_one)) for first in range(0, UPLOADS, of_one)]
        done = await harass(workers, dice, bursts)
        for place in list(workers.stopped):
            workers.wake(place)
        await until_logged(workers.start(99), "service.started")
        for place in workers.processes.keys() - {99}:
            workers.kill(place)
        images = await promises.ended(image_ids, within_s=60)
        log = workers.log_text

    attempts = [image.attempt for image in images]
    print(  # noqa: T201
        f"{done['kills']} kills, {done['stops']} stops, {UPLOADS} uploads, {sum(attempts)} attempts,"
        f" at most {max(attempts)} of one, {log.count('lease_lost')} times fenced,"
        f" {time.monotonic() - began:.0f} s"
    )
    await promises.check(images, image_ids)
    assert "crashed" not in log


@pytest.mark.timeout(150)
async def test_workers_whose_aws_throttles_fails_drops_stalls_and_cuts_lose_nothing_and_count_nothing_twice(
    command: Command, promises: Promises, seed: int
) -> None:
    image_ids = [f"img_{number}" for number in range(UPLOADS)]
    contents = [encoded(noise(640, 480, seed=number)) for number in range(5)]
    began = time.monotonic()
    endpoint_url = promises.settings.endpoint_url
    assert endpoint_url
    async with fault_proxy(endpoint_url, seed=seed) as proxy:
        with working(command, promises.settings, AWS_ENDPOINT_URL=proxy.endpoint_url) as workers:
            for log_file in [workers.start(place) for place in range(2)]:
                await until_logged(log_file, "service.started")
            proxy.is_making_trouble = True
            for number, image_id in enumerate(image_ids):
                await promises.upload(image_id, contents[number % len(contents)])
            images = await promises.ended(image_ids, within_s=90)
            log = workers.log_text

    print(  # noqa: T201
        f"{proxy.met.total()} troubles over {proxy.forwarded} calls:"
        f" {', '.join(f'{count} {name}' for name, count in sorted(proxy.met.items()))};"
        f" {sum(image.attempt for image in images)} attempts for {UPLOADS} uploads,"
        f" {time.monotonic() - began:.0f} s"
    )
    await promises.check(images, image_ids)
    assert "crashed" not in log
    assert proxy.met.total() > 50
