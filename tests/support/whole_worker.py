"""Run the whole worker in the test process, upload images and wait for their results."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from tests.support.emulators import messages_in
from worker.bootstrap import Clients, build_queries, open_clients, open_consumer, queue_url
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

USER = "user_1"


@asynccontextmanager
async def running_worker(
    settings: Settings, clients: Clients | None = None, *, decoders: int = 2
) -> AsyncIterator[None]:
    """Run a worker until the block ends, then drain it; it uses the clients, or opens its own."""
    settings = settings.model_copy(update={"processes": decoders, "wait_time_s": 1})
    async with (
        nullcontext(clients) if clients else open_clients(settings) as used,
        open_consumer(settings, used) as consumer,
    ):
        task = asyncio.create_task(consumer.run())
        try:
            yield
        finally:
            consumer.stop()
            await task


async def upload(s3: "S3Client", settings: Settings, image_id: str, content: bytes, **metadata: str) -> str:
    """Upload an image as a JPEG of `USER`; return its key."""
    key = f"uploads/{USER}/{image_id}.jpg"
    await s3.put_object(
        Bucket=settings.bucket, Key=key, Body=content, ContentType="image/jpeg", Metadata=metadata
    )
    return key


async def wait_until_processed(
    dynamodb: "DynamoDBClient",
    settings: Settings,
    *image_ids: str,
    user_id: str = USER,
    until: Callable[[Image], bool] = lambda _: True,
) -> list[Image]:
    """
    Wait until the images are completed or failed; return them in the order of their ids.

    Args:
        dynamodb: An open DynamoDB client.
        settings: Settings with the name of the table.
        image_ids: The ids of the images.
        user_id: Their user.
        until: What else has to be true of each image.
    """
    queries = build_queries(dynamodb, settings)
    images: dict[str, Image] = {}
    pauses = _pauses()
    async with asyncio.timeout(60):
        while remaining := [(image_id, user_id) for image_id in image_ids if image_id not in images]:
            found = await queries.images(remaining, consistent=True)
            images |= {
                image.image_id: image for image in found if image.status in TERMINAL_STATUSES and until(image)
            }
            await asyncio.sleep(next(pauses))
    return [images[image_id] for image_id in image_ids]


async def wait_until_queue_is_empty(sqs: "SQSClient", settings: Settings) -> None:
    """Wait until the queue has no visible, delayed or in-flight messages."""
    pauses = _pauses()
    async with asyncio.timeout(60):
        while await messages_in(sqs, settings.queue_name):
            await asyncio.sleep(next(pauses))


def _pauses() -> Iterator[float]:
    """Yield pauses between requests that get longer: they leave the emulator free for the worker."""
    pause_s = 0.02
    while True:
        yield pause_s
        pause_s = min(1.4 * pause_s, 0.2)


async def take_notifications(sqs: "SQSClient", settings: Settings, count: int) -> list[str]:
    """Receive and delete S3 notifications until there are `count`; return their bodies."""
    url = await queue_url(sqs, settings.queue_name)
    bodies: list[str] = []
    while len(bodies) < count:
        response = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        for message in response["Messages"]:
            await sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            if "Records" in message["Body"]:
                bodies.append(message["Body"])
    return bodies
