"""Find images that are pending or processing without a worker or a message, and requeue them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import uuid4

from worker.domain import transition
from worker.domain.claim import Claimant, Claimed, has_killed, worker_killed
from worker.domain.clock import utc_now
from worker.domain.errors import (
    WORKER_KILLED,
    LeaseLostError,
    RecordError,
    SourceMissingError,
    TransientError,
)
from worker.domain.image import Failure, Image
from worker.domain.job import Job
from worker.domain.status import ImageStatus, StepName
from worker.repair.context import BEING_DELETED, CHANGED, RepairContext
from worker.repair.source_state import SourceStatus, check_source_or_report
from worker.sqs.batch import MAX_BATCH_ENTRIES

PENDING_TIMEOUTS: Final = 5
"""Visibility timeouts after which a pending image counts as stuck by default."""


async def reconcile_all(repairs: RepairContext, *, now: datetime, pending_for: timedelta) -> None:
    """
    Requeue all stuck images; fail those whose upload no longer exists, or that killed their workers.

    Args:
        repairs: Dependencies.
        now: The time at which the run began: images that become pending later are skipped, because their
            message may be on its way.
        pending_for: Time after which a pending image counts as stuck, and one that killed its worker as
            given up.
    """
    for status in (ImageStatus.PENDING, ImageStatus.PROCESSING):
        async for images in repairs.images_with_status(status):
            for _ in filter(_is_being_deleted, images):
                repairs.reporter.skipped(BEING_DELETED)
            stuck = [
                image
                for image in images
                if is_stuck(image, now=now, pending_for=pending_for, lease_s=repairs.lease_s)
            ]
            for start in range(0, len(stuck), MAX_BATCH_ENTRIES):
                await repairs.control.checkpoint()
                await _repair_batch(repairs, stuck[start : start + MAX_BATCH_ENTRIES])


def _is_being_deleted(image: Image) -> bool:
    return image.deletion is not None


def is_stuck(image: Image, *, now: datetime, pending_for: timedelta, lease_s: float) -> bool:
    """
    Return whether an image is processing without a valid lease, or has been pending for too long.

    One that is being deleted is not: only the deletion may change it.
    """
    if _is_being_deleted(image):
        return False
    if image.is_leased(now, lease_time=timedelta(seconds=lease_s)):
        return False
    if is_given_up(image) and image.lease is not None:
        return image.lease.expires_at < now - pending_for  # until then, its message is received again
    if image.status is ImageStatus.PROCESSING:
        return True
    return image.status is ImageStatus.PENDING and image.updated_at < now - pending_for


def is_given_up(image: Image) -> bool:
    """Return whether an image whose lease has expired killed a worker although it was processed alone."""
    return image.status is ImageStatus.PROCESSING and has_killed(image)


async def _repair_batch(repairs: RepairContext, images: Sequence[Image]) -> None:
    requests = []
    failures: list[tuple[Image, Job, Failure]] = []
    sources = await asyncio.gather(*(check_source_or_report(repairs, image) for image in images))
    for image, source in zip(images, sources, strict=True):
        if source is None:
            continue
        if source.status is SourceStatus.GONE:
            failures.append((image, source.job, _source_missing(image)))
            continue
        if is_given_up(image) and source.status is SourceStatus.AS_RECORDED:
            failures.append((image, source.job, worker_killed(image)))
            continue
        is_pending = image.status is ImageStatus.PENDING
        # Even a pending image is written, so that a later or concurrent run sees that it was requeued.
        mark_pending = repairs.writes.requeue if is_pending else repairs.writes.expire_lease
        requests.append(
            repairs.request(source.job, action="requeued", mark_pending=partial(mark_pending, image))
        )
    await repairs.requeue(requests)
    for image, job, failure in failures:
        await _fail(repairs, image, job, failure)


def _source_missing(image: Image) -> Failure:
    error = SourceMissingError(bucket=image.bucket, key=image.key)
    return Failure(code=error.code, message=str(error), step=StepName.VALIDATION, retryable=error.retryable)


async def _fail(repairs: RepairContext, image: Image, job: Job, failure: Failure) -> None:
    """Claim an image as a worker would, and fail it."""
    if not repairs.dry_run:
        now = utc_now()
        claimant = Claimant(
            owner=f"{repairs.worker_id}/{uuid4().hex[:8]}",
            lease_until=now + timedelta(seconds=repairs.lease_s),
            now=now,
            recipe=image.recipe or await repairs.recipe_hash(image),
            fails_attempt=image.attempt if failure.code == WORKER_KILLED else None,
        )
        try:
            claim = await repairs.ledger.claim(job, claimant)
            if not isinstance(claim, Claimed):
                repairs.reporter.skipped(CHANGED)
                return
            failed = transition.failed(failure, at=utc_now(), requester=repairs.requester)
            await repairs.ledger.settle(claim.image, failed)
        except LeaseLostError:
            repairs.reporter.skipped(CHANGED)
            return
        except (TransientError, RecordError) as write_error:
            repairs.reporter.failed(image.image_id, str(write_error))
            return
    repairs.reporter.done("marked failed", image_id=image.image_id, user_id=image.user_id)
