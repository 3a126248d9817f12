"""An AWS of its own for each measurement, with its resources, its users, and pictures uploaded to it."""

import asyncio
import itertools
import json
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from bench.common.peers import Subject, inherited, publisher
from bench.service.record_check import Stored, read_record
from worker.bootstrap import deploy_storage, open_client
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.local.embedded_aws import embedded_aws, embedded_environment
from worker.settings import Settings

USERS: Final = 50
_TOGETHER: Final = 8
_TASK_QUEUE: Final = "image-tasks"


@dataclass(slots=True)
class Arena:
    """
    The resources, and what has been uploaded.

    Attributes:
        settings: As the subject has them.
        environment: What the subject is started with.
        uploads: How many pictures each user has.
    """

    settings: Settings
    environment: dict[str, str]
    queue_url: str
    s3: Any
    sqs: Any
    dynamodb: Any
    announce: Callable[[Mapping[str, Any]], Awaitable[None]]
    uploads: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def upload(self, content: bytes) -> None:
        """Put the next picture in the bucket."""
        number = next(self.numbers)
        user_id = f"user-{number % USERS:02d}"
        key = f"{self.settings.uploads_prefix}{user_id}/img_{number:016x}.jpg"
        answer = await self.s3.put_object(
            Bucket=self.settings.bucket, Key=key, Body=content, ContentType="image/jpeg"
        )
        self.uploads[user_id] = self.uploads.get(user_id, 0) + 1
        await self.announce(
            {
                "eventTime": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "s3": {
                    "bucket": {"name": self.settings.bucket},
                    "object": {"key": key, "eTag": answer["ETag"].strip('"'), "sequencer": f"{number:016X}"},
                },
            }
        )

    async def upload_all(self, contents: Sequence[bytes], pictures: int) -> None:
        """Upload so many pictures, as fast as it goes, taking the contents in turn."""
        free = asyncio.Semaphore(_TOGETHER)

        async def one(content: bytes) -> None:
            async with free:
                await self.upload(content)

        await asyncio.gather(*(one(contents[number % len(contents)]) for number in range(pictures)))

    async def upload_paced(self, contents: Sequence[bytes], pictures: int, *, per_s: float) -> None:
        """Upload so many pictures at an even pace."""
        start_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(pictures):
                await asyncio.sleep(max(0.0, start_s + number / per_s - time.monotonic()))
                group.create_task(self.upload(contents[number % len(contents)]))

    async def remaining(self) -> int:
        """Return how many messages are in the subject's queue, those in hand included."""
        answer = await self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["All"])
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return sum(int(answer["Attributes"][name]) for name in names)

    async def record(self) -> list[Stored]:
        """Return the record of every picture, after checking that nothing is missing; see `read_record`."""
        return await read_record(self.dynamodb, self.s3, self.settings, uploads=self.uploads)


@asynccontextmanager
async def arena(subject: Subject, *, concurrency: int, processes: int) -> AsyncIterator[Arena]:
    """Start an AWS with its resources and users; nothing is uploaded yet, and the subject does not run."""
    async with AsyncExitStack() as stack:
        endpoint_url = await stack.enter_async_context(embedded_aws())
        of_aws = embedded_environment(endpoint_url)
        os.environ.update(of_aws)  # our own clients take their credentials from there
        settings = Settings(concurrency=concurrency, processes=processes, http_port=0)
        s3, sqs, dynamodb, cloudformation = [
            await stack.enter_async_context(open_client(name, settings))
            for name in ("s3", "sqs", "dynamodb", "cloudformation")
        ]
        await deploy_storage(cloudformation, dynamodb, settings)
        if subject.reads_tasks:
            await sqs.create_queue(QueueName=_TASK_QUEUE)
        name = _TASK_QUEUE if subject.reads_tasks else settings.queue_name
        queue_url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
        environment = {
            **inherited(),
            **of_aws,
            "WORKER_TABLE_NAME": settings.table_name,
            "WORKER_CONCURRENCY": str(concurrency),
            "WORKER_PROCESSES": str(processes),
            "WORKER_HTTP_PORT": "0",
            "WORKER_LOG_FORMAT": "json",
            "RIVAL_QUEUE_URL": queue_url,
        }
        announce: Callable[[Mapping[str, Any]], Awaitable[None]] = _announced_by_the_bucket
        if subject.reads_tasks:
            announce = _publishing(await stack.enter_async_context(publisher(environment)))
        await _add_users(dynamodb, settings)
        yield Arena(settings, environment, queue_url, s3, sqs, dynamodb, announce)


async def _add_users(dynamodb: Any, settings: Settings) -> None:  # noqa: ANN401 - an untyped client
    """Put the users' profiles in the table, so that nobody pays for anybody's first picture."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    statistics = {"totalImages": {"N": "0"}, "totalStorageUsed": {"N": "0"}}
    for number in range(USERS):
        await dynamodb.put_item(
            TableName=settings.table_name,
            Item={
                "imageId": {"S": PROFILE_IMAGE_ID},
                "userId": {"S": f"user-{number:02d}"},
                "profile": {"M": {"preferences": {"M": {"defaultImageSize": {"S": "medium"}}}}},
                "statistics": {"M": statistics},
                "createdAt": {"S": now},
                "updatedAt": {"S": now},
            },
        )


async def _announced_by_the_bucket(_: Mapping[str, Any]) -> None:
    """Say nothing: the bucket has told the queue."""


def _publishing(process: asyncio.subprocess.Process) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
    one_at_a_time = asyncio.Lock()

    async def publish(record: Mapping[str, Any]) -> None:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        async with one_at_a_time:
            process.stdin.write(json.dumps({"Records": [record]}).encode() + b"\n")
            if not await process.stdout.readline():
                message = "the publisher of Celery's tasks has ended"
                raise RuntimeError(message)

    return publish


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of all does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
