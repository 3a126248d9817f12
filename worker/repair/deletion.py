"""
Delete images, and everything that is stored about a user, so that a crash at any call leaves it resumable.

The order: mark the record, which takes the lease away from a worker that is processing the image; wait until
no worker stores results of it; delete the upload and the results; delete the record, with its share of the
statistics. A result does not outlive its record, unless its worker is suspended for longer than its lease.
`docs/deletion.md` describes what each step leaves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from worker.domain.clock import Clock
from worker.domain.errors import ConfigurationError, RecordError, TransientError
from worker.domain.history import taken_over_at
from worker.domain.image import MAX_CLOCK_ERROR, Deletion, Image
from worker.domain.keys import UploadKeyTemplate
from worker.domain.requester import Requester
from worker.dynamodb.deletions import DeletionWrites
from worker.dynamodb.profiles import ProfileStore
from worker.dynamodb.queries import Queries
from worker.repair.context import Reporter
from worker.repair.control import UNCONTROLLED, Control
from worker.s3.image_objects import ImageObjects, SourceEnd

log = structlog.get_logger(__name__)

DELETED: Final = "deleted"
NEWER_KEPT: Final = "deleted, a newer upload kept"
ALREADY_DELETED: Final = "already deleted"

_MAX_ROUNDS: Final = 20
"""How often the image is read again because it changed between the read and the write."""

_POLL_S: Final = 1.0
"""How often the record is read while the workers that processed the image stop."""

_CONCURRENCY: Final = 8
"""Images of a user that are deleted at the same time."""

_PAGE_SIZE: Final = 100

_MAX_PASSES: Final = 10
"""How often the images of a user are listed, because the index lags behind the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionContext:
    """
    The dependencies of deletions.

    Attributes:
        bucket: Bucket of the uploads.
        upload_keys: Template of the keys of uploads.
        results_bucket: Bucket of the results.
        objects: Finds and deletes the objects of images.
        queries: Reads images from the table.
        writes: Begins and ends deletions in the table.
        profiles: Reads profiles from the table.
        reporter: Receives the result for each image.
        requester: Who requests the deletion.
        lease_s: Duration of a lease in seconds.
        clock: Returns the current time.
        dry_run: Report what would be done, and change nothing.
        control: Pauses or stops the deletion of a user between batches of images.
        sleep: Waits for a number of seconds.
    """

    bucket: str
    upload_keys: UploadKeyTemplate
    results_bucket: str
    objects: ImageObjects
    queries: Queries
    writes: DeletionWrites
    profiles: ProfileStore
    reporter: Reporter
    requester: Requester
    lease_s: float
    clock: Clock
    dry_run: bool = False
    control: Control = UNCONTROLLED
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def delete_image(context: DeletionContext, image: Image) -> None:
    """
    Delete an image: its upload, its results, its record and its share of the statistics.

    A deletion that was interrupted is continued. What cannot be deleted is reported, and the marked record
    stays for the next run.
    """
    with structlog.contextvars.bound_contextvars(**context.requester.detail()):
        await _delete_and_report(context, image)


async def _delete_and_report(context: DeletionContext, image: Image) -> None:
    reporter = context.reporter
    if image.bucket != context.bucket or not image.key.startswith(context.upload_keys.prefix):
        reporter.failed(
            image.image_id,
            f"its upload is s3://{image.bucket}/{image.key}, but this worker serves "
            f"s3://{context.bucket}/{context.upload_keys.prefix}: set WORKER_BUCKET and WORKER_UPLOAD_KEY",
        )
        return
    if context.dry_run:
        reporter.done(DELETED, image_id=image.image_id, user_id=image.user_id)
        return
    try:
        source = await _delete(context, image)
    except (TransientError, RecordError) as error:
        reporter.failed(image.image_id, f"{error}; delete it again to continue")
        return
    if source is None:
        reporter.skipped(ALREADY_DELETED)
        return
    # This line is the record of the deletion: everything else about the image is gone.
    log.info(
        "image.deleted",
        image_id=image.image_id,
        user_id=image.user_id,
        upload=source.value,
        **context.requester.detail(),
    )
    action = NEWER_KEPT if source is SourceEnd.REPLACED else DELETED
    reporter.done(action, image_id=image.image_id, user_id=image.user_id)


async def _delete(context: DeletionContext, image: Image) -> SourceEnd | None:
    """Delete an image; return what has become of its upload, or None if its record is gone."""
    marked = await _mark(context, image)
    if marked is not None:
        marked = await _wait_for_workers(context, marked)
    if marked is None:
        return None
    source = await context.objects.delete_source(marked)
    await context.objects.delete_recorded_results(marked)
    await _delete_other_results(context, marked)
    return source if await context.writes.finish(marked) else None


async def _mark(context: DeletionContext, image: Image) -> Image | None:
    """Return the image with its deletion begun; None if its record is gone."""
    seen: Image | None = image
    for _ in range(_MAX_ROUNDS):
        if seen is None or seen.deletion is not None:
            return seen
        marked = await context.writes.begin(seen)
        if marked is not None:
            return marked
        seen = await _read(context, image)
    message = f"{image.image_id} changed {_MAX_ROUNDS} times while its deletion was begun"
    raise TransientError(message, is_dependency_failure=False)


async def _wait_for_workers(context: DeletionContext, marked: Image) -> Image | None:
    """
    Wait until no worker that has processed the image may still store a result of it.

    Return the record as it is then; None if it is gone.
    """
    lease_time = timedelta(seconds=context.lease_s)
    seen: Image | None = marked
    while seen is not None and seen.record_id == marked.record_id and seen.deletion is not None:
        left_s = _busy_for_s(seen, seen.deletion, lease_time=lease_time, now=context.clock())
        if left_s <= 0:
            return seen
        await context.sleep(min(_POLL_S, left_s))
        seen = await _read(context, marked)
    return None


def _busy_for_s(image: Image, deletion: Deletion, *, lease_time: timedelta, now: datetime) -> float:
    """Return for how long a worker may still store a result, in seconds, unless it is suspended."""
    ends = [now]
    if deletion.lease is not None:  # its worker has not acknowledged yet
        ends.append(deletion.lease.expires_at)
    if (taken_over := taken_over_at(image.history)) is not None:
        ends.append(taken_over + lease_time)
    # A lease that ends later than one that began with the deletion is the work of a wrong clock.
    return (min(max(ends), deletion.at + lease_time + MAX_CLOCK_ERROR) - now).total_seconds()


async def _delete_other_results(context: DeletionContext, marked: Image) -> None:
    """
    Delete the results of the image that its record does not name, such as those of a killed worker.

    They were listed before the record is read again. If it is still the marked one, they are not of a later
    record, which would have been created only after this one was deleted.
    """
    found = await context.objects.find_results(marked)
    if not found:
        return
    current = await _read(context, marked)
    if current is None or current.record_id != marked.record_id:
        return
    for result in found:
        await context.objects.delete_result(result.key, e_tag=result.e_tag)


async def _read(context: DeletionContext, image: Image) -> Image | None:
    return await context.queries.image(image.image_id, image.user_id, consistent=True)


async def forget_user(context: DeletionContext, user_id: str, *, before: datetime) -> None:
    """
    Delete everything that is stored about a user: the images, objects without a record, and the profile.

    Args:
        context: Dependencies.
        user_id: The user.
        before: When the run began: objects without a record that were stored later are left, because they
            may belong to uploads that are being processed.

    Raises:
        ConfigurationError: There cannot be such a user.
        RepairStoppedError: The deletion was asked to stop.
        TransientError: S3 or the table was unavailable.
    """
    if "/" in user_id or user_id in {"", ".", ".."}:  # a folder of another user, or of all users
        message = f"there cannot be a user {user_id!r}: give the id as in {context.upload_keys}"
        raise ConfigurationError(message)
    with structlog.contextvars.bound_contextvars(**context.requester.detail()):
        await _forget(context, user_id, before=before)


async def _forget(context: DeletionContext, user_id: str, *, before: datetime) -> None:
    await _delete_images(context, user_id)
    uploads, results = context.upload_keys.user_prefix(user_id), context.objects.results_prefix_of(user_id)
    if uploads is not None:
        is_upload = partial(context.upload_keys.is_of_user, user_id=user_id)
        await _delete_objects(context, context.bucket, uploads, is_upload, user_id=user_id, before=before)
    await _delete_objects(
        context, context.results_bucket, results, lambda _: True, user_id=user_id, before=before
    )
    await _forget_profile(context, user_id)


async def _delete_images(context: DeletionContext, user_id: str) -> None:
    """Delete all images of a user; list them again until none is left, because the index lags."""
    seen: set[str] = set()
    for _ in range(1 if context.dry_run else _MAX_PASSES):
        if not await _delete_listed_images(context, user_id, seen):
            return


async def _delete_listed_images(context: DeletionContext, user_id: str, seen: set[str]) -> bool:
    """Delete the images of a user that the index has; return whether any was there for the first time."""
    has_new = False
    token: str | None = None
    while True:
        await context.control.checkpoint()
        page = await context.queries.images_of_user(user_id, limit=_PAGE_SIZE, token=token)
        for error in page.unreadable:
            if error.image_id not in seen:
                context.reporter.failed(error.image_id, str(error))
        keys = [image.image_id for image in page.images if image.image_id not in seen]
        seen.update(keys, (error.image_id for error in page.unreadable))
        has_new = has_new or bool(keys)
        for start in range(0, len(keys), _CONCURRENCY):
            await context.control.checkpoint()
            batch = [(image_id, user_id) for image_id in keys[start : start + _CONCURRENCY]]
            images = await context.queries.images(batch, consistent=True)
            await asyncio.gather(*(delete_image(context, image) for image in images))
        if page.next_token is None:
            return has_new
        token = page.next_token


async def _delete_objects(
    context: DeletionContext,
    bucket: str,
    prefix: str,
    is_of_user: Callable[[str], bool],
    *,
    user_id: str,
    before: datetime,
) -> None:
    """Delete the objects of a user that no record names: of expired records, and of killed workers."""
    if context.dry_run:
        return  # which ones are left is known only when the images are deleted
    began = before.replace(microsecond=0)  # S3 reports whole seconds
    async for page in context.objects.list_objects(bucket, prefix):
        await context.control.checkpoint()
        for listed in page:
            if not is_of_user(listed.key):
                context.reporter.skipped("objects that are not uploads")
            elif listed.last_modified >= began:
                context.reporter.skipped("objects stored since the command began")
            elif await context.objects.delete_listed(bucket, listed):
                context.reporter.done("object without a record deleted", image_id=listed.key, user_id=user_id)


async def _forget_profile(context: DeletionContext, user_id: str) -> None:
    for _ in range(_MAX_ROUNDS):
        profile = await context.profiles.get(user_id, consistent=True)
        if profile is None:
            return
        if context.dry_run or await context.writes.forget_profile(user_id, profile):
            context.reporter.done("profile deleted", image_id="", user_id=user_id)
            if not context.dry_run:
                log.info("user.forgotten", user_id=user_id, **context.requester.detail())
            return
    message = f"the profile of {user_id} changed {_MAX_ROUNDS} times while it was being deleted"
    raise TransientError(message, is_dependency_failure=False)
