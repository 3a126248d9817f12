"""Embedded AWS for one measurement, with users in the table and uploads in the bucket."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TypeAlias

from yarl import URL

from bench.common.aws import provisioned
from bench.common.peers import ServicePeer, inherited_environment
from bench.common.tls import Certificate, tls_proxy
from bench.service.peer_setup import publisher
from bench.service.record_check import ImageTimes, check_record
from tests.support.emulators import variables_of
from worker.bootstrap import open_client
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.local.embedded_aws import embedded_environment
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

USERS: Final = 50
ALBUM: Final = 10
"""Images that a user uploads in a row, before the next user does."""

_MAX_PARALLEL_UPLOADS: Final = 8
_TASK_QUEUE: Final = "image-tasks"

Publish: TypeAlias = Callable[[Mapping[str, object]], Awaitable[None]]
"""Publishes a task for one record of an S3 notification."""


@dataclass(slots=True)
class Workload:
    """
    The resources of one measurement, and what has been uploaded.

    Attributes:
        settings: Settings that name the resources.
        environment: Environment variables for the peer, with an HTTPS endpoint if it uses TLS.
        queue_url: Queue that the peer consumes.
        s3: S3 client.
        sqs: SQS client.
        dynamodb: DynamoDB client.
        uses_tls: Whether a TLS proxy runs between the peer and the AWS; the clients here bypass it.
        publish: Publishes tasks for a peer that does not receive the bucket's notifications.
        uploads: Number of uploads by user.
    """

    settings: Settings
    environment: dict[str, str]
    queue_url: str
    s3: "S3Client"
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"
    uses_tls: bool
    publish: Publish | None = None
    uploads: dict[str, int] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def upload(self, content: bytes) -> None:
        """Upload the next image."""
        number = next(self._numbers)
        user_id = f"user-{number // ALBUM % USERS:02d}"
        key = f"{self.settings.uploads_prefix}{user_id}/img_{number:016x}.jpg"
        response = await self.s3.put_object(
            Bucket=self.settings.bucket, Key=key, Body=content, ContentType="image/jpeg"
        )
        self.uploads[user_id] = self.uploads.get(user_id, 0) + 1
        if self.publish is not None:
            e_tag = response["ETag"].strip('"')
            await self.publish(
                {
                    "eventTime": _now(),
                    "s3": {
                        "bucket": {"name": self.settings.bucket},
                        "object": {"key": key, "eTag": e_tag, "sequencer": f"{number:016X}"},
                    },
                }
            )

    async def upload_backlog(self, contents: Sequence[bytes], images: int) -> None:
        """Upload images as fast as possible, cycling through the contents."""
        slots = asyncio.Semaphore(_MAX_PARALLEL_UPLOADS)

        async def upload(content: bytes) -> None:
            async with slots:
                await self.upload(content)

        await asyncio.gather(*(upload(contents[number % len(contents)]) for number in range(images)))

    async def upload_at_rate(self, contents: Sequence[bytes], images: int, *, per_s: float) -> None:
        """Upload images at a constant rate, cycling through the contents."""
        start_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(images):
                await asyncio.sleep(max(0.0, start_s + number / per_s - time.monotonic()))
                group.create_task(self.upload(contents[number % len(contents)]))

    async def remaining(self) -> int:
        """Return the number of messages in the peer's queue, including those in flight."""
        response = await self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["All"])
        attributes = response["Attributes"]
        visible = int(attributes["ApproximateNumberOfMessages"])
        return visible + int(attributes["ApproximateNumberOfMessagesNotVisible"])

    async def check_record(self) -> list[ImageTimes]:
        """Return the times of every image, after checking the whole record; see `record_check`."""
        return await check_record(self.dynamodb, self.s3, self.settings, uploads=self.uploads)


@asynccontextmanager
async def workload(peer: ServicePeer, *, concurrency: int, processes: int) -> AsyncIterator[Workload]:
    """Start an embedded AWS with resources and users for a peer; nothing is uploaded or started yet."""
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(
            provisioned(concurrency=concurrency, processes=processes, http_port=0)
        )
        s3: S3Client = await stack.enter_async_context(open_client("s3", settings))
        sqs: SQSClient = await stack.enter_async_context(open_client("sqs", settings))
        dynamodb: DynamoDBClient = await stack.enter_async_context(open_client("dynamodb", settings))
        queue_name = _TASK_QUEUE if peer.receives_tasks else settings.queue_name
        if peer.receives_tasks:
            await sqs.create_queue(QueueName=queue_name)
        queue_url = (await sqs.get_queue_url(QueueName=queue_name))["QueueUrl"]
        endpoint_url, trusted = str(settings.endpoint_url), {}
        if peer.uses_tls:
            folder = stack.enter_context(TemporaryDirectory(prefix="image-worker-bench-"))
            certificate = Certificate.issue(Path(folder))
            endpoint_url = await stack.enter_async_context(tls_proxy(endpoint_url, certificate))
            trusted = certificate.environment
        environment = {
            **inherited_environment(),
            **embedded_environment(endpoint_url),
            **trusted,
            **variables_of(settings),
            "WORKER_CONCURRENCY": str(concurrency),
            "WORKER_PROCESSES": str(processes),
            "WORKER_HTTP_PORT": "0",
            "WORKER_LOG_FORMAT": "json",
            "PEER_QUEUE_URL": endpoint_url + URL(queue_url).path,  # SDKs connect to the URL of the queue
        }
        publish = None
        if peer.receives_tasks:
            publish = _publish_through(await stack.enter_async_context(publisher(environment)))
        await _add_users(dynamodb, settings)
        yield Workload(settings, environment, queue_url, s3, sqs, dynamodb, peer.uses_tls, publish)


async def _add_users(dynamodb: "DynamoDBClient", settings: Settings) -> None:
    """Create the users' profiles, so that no peer has to create statistics with a user's first image."""
    now = _now()
    for number in range(USERS):
        await dynamodb.put_item(
            TableName=settings.table_name,
            Item={
                "imageId": {"S": PROFILE_IMAGE_ID},
                "userId": {"S": f"user-{number:02d}"},
                "profile": {"M": {"preferences": {"M": {"defaultImageSize": {"S": "medium"}}}}},
                "statistics": {"M": {"totalImages": {"N": "0"}, "totalStorageUsed": {"N": "0"}}},
                "createdAt": {"S": now},
                "updatedAt": {"S": now},
            },
        )


def _publish_through(process: asyncio.subprocess.Process) -> Publish:
    lock = asyncio.Lock()

    async def publish(record: Mapping[str, object]) -> None:
        assert process.stdin is not None  # noqa: S101 - both streams are pipes
        assert process.stdout is not None  # noqa: S101 - started with a pipe
        async with lock:
            process.stdin.write(json.dumps({"Records": [record]}).encode() + b"\n")
            if not await process.stdout.readline():
                message = "the publisher of Celery tasks has ended; its error is above"
                raise RuntimeError(message)

    return publish


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
