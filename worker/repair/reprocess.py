"""Retry failed images, and reprocess completed or failed ones."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES, ImageStatus
from worker.repair.context import BEING_DELETED, RepairContext
from worker.repair.source_state import SourceStatus, check_source_or_report
from worker.sqs.batch import MAX_BATCH_ENTRIES

UNKNOWN_CODE: Final = "unknown"
"""Stands for the error code of an image whose record has none."""

MarkPending: TypeAlias = Callable[[Image], Awaitable[Image | None]]


async def retry_image(repairs: RepairContext, image: Image) -> None:
    """Requeue an image if it has failed."""
    if image.deletion is not None:
        repairs.reporter.skipped(BEING_DELETED)
        return
    if image.status is not ImageStatus.FAILED:
        repairs.reporter.skipped(f"already {image.status}")
        return
    await requeue_images(repairs, [image], action="retried", mark_pending=repairs.writes.retry)


async def reprocess_all(
    repairs: RepairContext,
    *,
    user_id: str | None,
    status: ImageStatus,
    before: datetime,
    recipe_changed: bool,
    code: str | None = None,
) -> None:
    """Requeue the images with a status, of all users or of one, with any error code or one."""
    async for images in repairs.images_with_status(status, user_id=user_id):
        await reprocess_images(
            repairs,
            [image for image in images if image.status is status and has_code(image, code)],
            before=before,
            recipe_changed=recipe_changed,
        )


def has_code(image: Image, code: str | None) -> bool:
    """Return whether an image failed with an error code; None matches every image."""
    return code is None or code == (image.error.code if image.error else UNKNOWN_CODE)


async def reprocess_images(
    repairs: RepairContext, images: Sequence[Image], *, before: datetime | None, recipe_changed: bool
) -> None:
    """
    Requeue images that are completed or failed.

    Args:
        repairs: Dependencies.
        images: Images to requeue.
        before: Skip images that ended after this time.
        recipe_changed: Skip images whose recipe is the one that the worker would use now.
    """
    selected: list[Image] = []
    for image in images:
        if image.deletion is not None:
            repairs.reporter.skipped(BEING_DELETED)
        elif image.status not in TERMINAL_STATUSES:
            repairs.reporter.skipped(f"already {image.status}")
        elif before is not None and (image.processed_at or image.updated_at) > before:
            repairs.reporter.skipped("ended later")
        elif recipe_changed and await repairs.recipe_hash(image) == image.recipe:
            repairs.reporter.skipped("up to date")
        else:
            selected.append(image)
    await requeue_images(repairs, selected, action="reprocessed", mark_pending=repairs.writes.reprocess)


async def requeue_images(
    repairs: RepairContext, images: Sequence[Image], *, action: str, mark_pending: MarkPending
) -> None:
    """
    Requeue the images whose uploads still exist.

    The others keep their record and result: processing them could only replace the result by a failure.
    """
    for start in range(0, len(images), MAX_BATCH_ENTRIES):
        await repairs.control.checkpoint()
        batch = images[start : start + MAX_BATCH_ENTRIES]
        sources = await asyncio.gather(*(check_source_or_report(repairs, image) for image in batch))
        requests = []
        for image, source in zip(batch, sources, strict=True):
            if source is None:
                continue
            if source.status is SourceStatus.GONE:
                message = f"s3://{image.bucket}/{image.key} no longer exists; the record is left unchanged"
                repairs.reporter.failed(image.image_id, message)
            else:
                requests.append(
                    repairs.request(source.job, action=action, mark_pending=partial(mark_pending, image))
                )
        await repairs.requeue(requests)
