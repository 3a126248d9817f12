"""Failed images in the table, with their uploads in the bucket and nothing in the queue."""

import asyncio
from datetime import timedelta

from tests.support.whole_worker import USER
from worker.bootstrap import RETRY_POLICIES, Clients, queue_url, table_of
from worker.domain.claim import Claimant, Claimed, decide
from worker.domain.clock import to_milliseconds, utc_now
from worker.domain.image import Failure, Image
from worker.domain.job import Job, SourceVersion
from worker.domain.transition import apply_all, failed
from worker.dynamodb.batches import put_items
from worker.dynamodb.items import to_item
from worker.settings import Settings

_AT_ONCE = 16


async def put_failed_images(
    clients: Clients, settings: Settings, image_ids: list[str], *, content: bytes, code: str = "unavailable"
) -> None:
    """Upload images, and record each as failed an hour ago."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def put(image_id: str) -> Image:
        key = f"{settings.uploads_prefix}{USER}/{image_id}.jpg"
        async with slots:
            response = await clients.s3.put_object(Bucket=settings.bucket, Key=key, Body=content)
        at = to_milliseconds(utc_now() - timedelta(hours=1))
        version = SourceVersion(
            e_tag=response["ETag"].strip('"'), version_id=None, sequencer=None, uploaded_at=at
        )
        job = Job(bucket=settings.bucket, key=key, user_id=USER, image_id=image_id, version=version)
        claimant = Claimant(
            owner="worker-a/1", now=at, lease_until=at + timedelta(seconds=60), recipe="0123456789abcdef"
        )
        claim = decide(None, job, claimant)
        assert isinstance(claim, Claimed)
        failure = Failure(code=code, message=f"the reason of {image_id}", step=None, retryable=True)
        return apply_all(claim.image, failed(failure, at=at + timedelta(seconds=1)))

    images = await asyncio.gather(*map(put, image_ids))
    table = table_of(settings)
    await put_items(clients.dynamodb, table, RETRY_POLICIES.table, [to_item(each, table) for each in images])
    await clients.sqs.purge_queue(QueueUrl=await queue_url(clients.sqs, settings.queue_name))
