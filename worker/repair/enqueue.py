"""Enqueue the uploads in the bucket that the table does not have, or has an older version of."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from worker.domain.clock import to_milliseconds
from worker.domain.errors import TransientError, UnreadableMessageError, UnreadableRecordError
from worker.domain.image import Image
from worker.domain.job import Job, SourceVersion
from worker.domain.keys import is_folder
from worker.repair.context import RepairContext
from worker.repair.inventory import Inventory, InventoryObject, read_objects
from worker.repair.source_state import SourceStatus, check_source
from worker.s3.lists import list_objects

_BATCH_SIZE: Final = 100


@dataclass(frozen=True, slots=True)
class Window:
    """
    The uploads that are considered, by the time at which S3 stored them; None is no limit.

    Attributes:
        after: Uploads before this time are skipped.
        before: Uploads after this time are skipped: their messages may still wait in the queue.
    """

    after: datetime | None = None
    before: datetime | None = None

    def skips(self, stored_at: datetime) -> str | None:
        """Return why an upload is skipped, or None."""
        if self.before is not None and stored_at > self.before:
            return "too recent to be judged"
        if self.after is not None and stored_at < self.after:
            return "older than requested"
        return None


ALL_TIMES: Final = Window()


async def enqueue_all(repairs: RepairContext, *, prefix: str, window: Window = ALL_TIMES) -> None:
    """Enqueue every upload under a key prefix that is not recorded in its current version."""
    async for objects in list_objects(
        repairs.s3, bucket=repairs.bucket, prefix=prefix, retry=repairs.s3_retry
    ):
        listed = [
            InventoryObject(
                key=each["Key"],
                e_tag=each["ETag"].strip('"'),
                last_modified=each["LastModified"],
                size_bytes=each["Size"],
                is_current=True,
            )
            for each in objects
        ]
        await _enqueue_objects(repairs, listed, window)


async def enqueue_inventory(
    repairs: RepairContext, inventory: Inventory, *, prefix: str, window: Window = ALL_TIMES
) -> None:
    """Enqueue every upload in an inventory, under a key prefix, that is not recorded in its version there."""
    async with aclosing(read_objects(inventory, s3=repairs.s3, retry=repairs.s3_retry)) as pages:
        async for objects in pages:
            served = [each for each in objects if each.key.startswith(prefix)]
            for _ in range(len(objects) - len(served)):
                repairs.reporter.skipped("outside the prefix")
            await _enqueue_objects(repairs, served, window)


async def _enqueue_objects(
    repairs: RepairContext, objects: Sequence[InventoryObject], window: Window
) -> None:
    jobs = [job for found in objects if (job := _job_of_object(repairs, found, window)) is not None]
    for start in range(0, len(jobs), _BATCH_SIZE):
        await _enqueue_unrecorded(repairs, jobs[start : start + _BATCH_SIZE])


def _job_of_object(repairs: RepairContext, found: InventoryObject, window: Window) -> Job | None:
    """Return the job for an object; report and return None when it is not an upload."""
    if not found.is_current:
        repairs.reporter.skipped("older version or delete marker")
        return None
    if is_folder(found.key, found.size_bytes):
        repairs.reporter.skipped("folder")
        return None
    try:
        name = repairs.upload_keys.parse_key(found.key)
    except UnreadableMessageError:
        repairs.reporter.skipped("not an upload")
        return None
    if (reason := window.skips(found.last_modified)) is not None:
        repairs.reporter.skipped(reason)
        return None
    return Job(
        bucket=repairs.bucket,
        key=found.key,
        user_id=name.user_id,
        image_id=name.image_id,
        version=SourceVersion(
            e_tag=found.e_tag,
            version_id=None,
            sequencer=None,
            uploaded_at=to_milliseconds(found.last_modified),
        ),
        size_bytes=found.size_bytes,
    )


async def _enqueue_unrecorded(repairs: RepairContext, jobs: Sequence[Job]) -> None:
    recorded = await repairs.queries.images_of(jobs, consistent=True)
    requests = []
    for job in jobs:
        image = recorded.get(job.key)
        if isinstance(image, UnreadableRecordError):
            repairs.reporter.failed(job.image_id, str(image))
            continue
        try:
            newer = job if image is None else await _newer_job(repairs, job, image)
        except TransientError as error:
            repairs.reporter.failed(job.image_id, str(error))
            continue
        if newer is None:
            repairs.reporter.skipped("already recorded")
        else:
            requests.append(repairs.request(newer, action="enqueued"))
    await repairs.requeue(requests)


async def _newer_job(repairs: RepairContext, job: Job, image: Image) -> Job | None:
    """
    Return the job for an object if it is newer than the recorded one; None otherwise.

    Listings report whole seconds, and for multipart uploads the time at which they began. An object that
    seems older but differs is therefore read from the bucket again, now that the record has been read.
    """
    if job.version.is_same_object_as(image.version):
        return None
    if job.version.is_newer_than(image.version):
        return job
    source = await check_source(repairs.s3, image, repairs.s3_retry)
    return source.job if source.status is SourceStatus.REPLACED else None
