"""The whole worker in this process: started, given pictures, waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.emulators import messages_in
from worker.bootstrap import build_queries, open_clients, open_consumer, queue_url
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

USER = "user_1"


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[None]:
    """Run the service on the settings while the body runs."""
    settings = settings.model_copy(update={"processes": 2, "wait_time_s": 1})
    async with open_clients(settings) as clients, open_consumer(settings, clients) as service:
        task = asyncio.create_task(service.run())
        try:
            yield
        finally:
            service.stop()
            await task


async def put(s3: "S3Client", settings: Settings, image_id: str, content: bytes, **metadata: str) -> str:
    """Upload a picture, and return its key."""
    key = f"uploads/{USER}/{image_id}.jpg"
    await s3.put_object(
        Bucket=settings.bucket, Key=key, Body=content, ContentType="image/jpeg", Metadata=metadata
    )
    return key


async def ended(
    dynamodb: "DynamoDBClient", settings: Settings, *image_ids: str, user_id: str = USER
) -> list[Image]:
    """Wait until the images have ended, whoever works on them, and return them."""
    queries = build_queries(dynamodb, settings)
    images: dict[str, Image] = {}
    async with asyncio.timeout(60):
        while left := [(image_id, user_id) for image_id in image_ids if image_id not in images]:
            found = await queries.images(left, consistent=True)
            images |= {image.image_id: image for image in found if image.status in TERMINAL_STATUSES}
            await asyncio.sleep(0.02)  # leaves the emulator to the worker
    return [images[image_id] for image_id in image_ids]


async def emptied(sqs: "SQSClient", settings: Settings) -> None:
    """Wait until nothing waits in the queue and nothing is in flight."""
    async with asyncio.timeout(60):
        while await messages_in(sqs, settings.queue_name):
            await asyncio.sleep(0.02)  # leaves the emulator to the worker


async def announcements(sqs: "SQSClient", settings: Settings, count: int) -> list[str]:
    """Take so many notifications out of the queue."""
    url = await queue_url(sqs, settings.queue_name)
    bodies: list[str] = []
    while len(bodies) < count:
        answer = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        for message in answer["Messages"]:
            await sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            if "Records" in message["Body"]:
                bodies.append(message["Body"])
    return bodies
