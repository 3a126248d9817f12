"""Delete the objects of images whose records have expired, as the table's stream shows it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from worker.domain.errors import RecordError, TransientError, UnreadableRecordError
from worker.domain.image import Image
from worker.domain.keys import RESERVED_IMAGE_IDS, UploadKeyTemplate
from worker.dynamodb.items import from_item
from worker.dynamodb.queries import Queries
from worker.dynamodb.stream import Change, Start, TableStream
from worker.events.follow import Checkpoint, follow_changes
from worker.s3.image_objects import ImageObjects

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_CONCURRENCY: Final = 8
"""Images whose objects are deleted at the same time."""

_MAX_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """
    Deletes the objects of images whose records have expired.

    A record that exists again is of a newer upload, or of the same one: then everything stays. An object that
    has been replaced since the expired record was written stays too, because it has another ETag.

    Attributes:
        bucket: Bucket of the uploads; records of another one are left alone.
        upload_keys: Template of the keys of uploads.
        objects: Deletes the objects of images.
        queries: Reads images from the table.
        sleep: Waits for a number of seconds.
    """

    bucket: str
    upload_keys: UploadKeyTemplate
    objects: ImageObjects
    queries: Queries
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def follow(
        self, stream: TableStream, *, start: Start, checkpoint: Checkpoint
    ) -> AsyncGenerator[Sequence[Image], None]:
        """
        Yield the images of each batch of changes whose objects have been deleted, as their records expire.

        The position of a batch is saved when the next one is asked for, so that a run after a crash repeats
        at most what has been done, which has no effect. While a service is unavailable, the batch waits.
        What cannot be deleted for another reason is logged, and left to `image-worker reconcile --orphans`.

        Args:
            stream: The table's stream.
            start: Where to begin without a checkpoint.
            checkpoint: The positions of an earlier run.
        """
        async for changes in follow_changes(stream, start=start, checkpoint=checkpoint):
            yield await self._delete_all([image for change in changes if (image := _expired(change))])

    async def _delete_all(self, images: Sequence[Image]) -> list[Image]:
        slots = asyncio.Semaphore(_CONCURRENCY)

        async def delete(image: Image) -> bool:
            async with slots:
                return await self._delete_until_available(image)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(delete(image), name=f"expire {image.image_id}") for image in images]
        return [image for image, task in zip(images, tasks, strict=True) if task.result()]

    async def _delete_until_available(self, image: Image) -> bool:
        """Delete the objects of an image, and return whether they are gone; wait while AWS is unavailable."""
        pause_s = 1.0
        while True:
            try:
                return await self._delete(image)
            except TransientError as error:
                log.warning("image.expiry_failed", image_id=image.image_id, reason=str(error))
                if not error.is_dependency_failure:
                    return False
            await self.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    async def _delete(self, image: Image) -> bool:
        is_served = image.bucket == self.bucket and image.key.startswith(self.upload_keys.prefix)
        if not is_served or await self._has_record(image):
            return False
        # The upload goes first: without it, no result of it is made again.
        source = await self.objects.delete_source(image)
        if await self._has_record(image):  # a worker has claimed it in the meantime, and may keep results
            return False
        await self.objects.delete_recorded_results(image)
        log.info("image.expired", image_id=image.image_id, user_id=image.user_id, upload=source.value)
        return True

    async def _has_record(self, image: Image) -> bool:
        try:
            return await self.queries.image(image.image_id, image.user_id, consistent=True) is not None
        except RecordError:
            return True


def _expired(change: Change) -> Image | None:
    """Return the image whose record a change has removed because its retention ended; None for others."""
    if not change.is_expiry or change.before is None or change.before.get("imageId") in RESERVED_IMAGE_IDS:
        return None
    try:
        return from_item(change.before)
    except UnreadableRecordError as error:
        log.warning("image.expiry_failed", image_id=error.image_id, reason=str(error))
        return None
