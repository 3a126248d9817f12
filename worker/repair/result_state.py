"""Compare the results of completed images with the bucket, and requeue the images whose results differ."""

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from worker.domain.errors import TransientError
from worker.domain.image import Image, Rendition
from worker.domain.status import ImageStatus
from worker.repair.context import RepairContext
from worker.repair.leftovers import delete_leftovers
from worker.repair.reprocess import requeue_images
from worker.s3.heads import head_object
from worker.s3.results import identity_of

MAX_REQUESTS: Final = 16
"""Requests to S3 at the same time."""


class ResultState(StrEnum):
    """How the results in the bucket compare with the record; the worst one of an image counts."""

    AS_RECORDED = "results as recorded"
    REPLACED = "requeued: another object in place of a result"
    MISSING = "requeued: a result is missing"
    OF_ANOTHER_IMAGE = "a result of another image"


async def reconcile_results(repairs: RepairContext) -> None:
    """
    Compare all results of completed images with the bucket; requeue the images whose results differ.

    Results that workers have left over are deleted. It reads each record, and the metadata of each of its
    results: one HEAD request for each result.
    """
    async for images in repairs.images_with_status(ImageStatus.FAILED):
        await _delete_leftovers(repairs, images)
    async for images in repairs.images_with_status(ImageStatus.COMPLETED):
        await _delete_leftovers(repairs, images)
        await _reconcile(repairs, [image for image in images if image.status is ImageStatus.COMPLETED])


async def _delete_leftovers(repairs: RepairContext, images: Sequence[Image]) -> None:
    for image in images:
        await delete_leftovers(repairs, image)


async def _reconcile(repairs: RepairContext, images: Sequence[Image]) -> None:
    limit = asyncio.Semaphore(MAX_REQUESTS)
    states = await asyncio.gather(*(_state_or_report(repairs, image, limit) for image in images))
    found: dict[ResultState, list[Image]] = {}
    for image, state in zip(images, states, strict=True):
        if state is ResultState.AS_RECORDED:
            repairs.reporter.skipped(state.value)
        elif state is not None:
            found.setdefault(state, []).append(image)
    for state in (ResultState.MISSING, ResultState.REPLACED):
        # If the image has changed since it was read, so have its results, and the write is rejected.
        await requeue_images(
            repairs, found.get(state, []), action=state.value, mark_pending=repairs.writes.reprocess
        )


async def _state_or_report(
    repairs: RepairContext, image: Image, limit: asyncio.Semaphore
) -> ResultState | None:
    """Return the state of an image's results; report a failure and return None if it cannot be repaired."""
    states = [ResultState.AS_RECORDED]
    for size, rendition in image.renditions.items():
        try:
            async with limit:
                state = _compare(await _head(repairs, rendition), rendition, image)
        except TransientError as error:
            repairs.reporter.failed(image.image_id, str(error))
            return None
        if state is ResultState.OF_ANOTHER_IMAGE and not repairs.results.has_own_key(image, size):
            state = ResultState.REPLACED  # processed again, the image gets a key of its own
        if state is ResultState.OF_ANOTHER_IMAGE:
            repairs.reporter.failed(
                image.image_id,
                f"its result s3://{repairs.results_bucket}/{rendition.key} is of another image; "
                "reprocess that image, delete the object, and reconcile again",
            )
            return None
        states.append(state)
    order = list(ResultState)
    return max(states, key=order.index)


def _compare(head: Mapping[str, Any] | None, rendition: Rendition, image: Image) -> ResultState:
    if head is None:
        return ResultState.MISSING
    owner = head["Metadata"].get("image")
    if owner is not None and owner != identity_of(image):
        return ResultState.OF_ANOTHER_IMAGE
    is_recorded = str(head["ETag"]).strip('"') == rendition.e_tag
    return ResultState.AS_RECORDED if is_recorded else ResultState.REPLACED


async def _head(repairs: RepairContext, rendition: Rendition) -> Mapping[str, Any] | None:
    bucket, key = repairs.results_bucket, rendition.key
    return await head_object(
        repairs.s3, {"Bucket": bucket, "Key": key}, retry=repairs.s3_retry, what=f"read s3://{bucket}/{key}"
    )
