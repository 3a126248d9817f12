"""
Decide whether a worker may claim an image, and apply the claim and the moves back to pending.

The repair tools' moves record in the history who requested them.

A worker that ends without releasing its images leaves leases that expire. One of these images may be what
ended it, for example by exhausting the memory of its container. Each of them is a suspect: it is claimed
again only by a delivery that is alone in its worker, and that claim writes the error `worker_killed` to its
record, where it stays until the image is completed, failed or released. An image released with
`decoder_killed` is a suspect too: the kernel may have killed its decoder because of another image.
"""

import hashlib
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from worker.domain.errors import (
    WORKER_KILLED,
    DecoderKilledError,
    IllegalMoveError,
    ImageBusyError,
    NewerRecordError,
    NotScannedError,
    ScanFailedError,
)
from worker.domain.history import REQUEUED, RETENTION_SET, bounded
from worker.domain.image import Deletion, Failure, HistoryEntry, Image, Lease
from worker.domain.job import Job
from worker.domain.requester import Requester
from worker.domain.scan import ScanStatus
from worker.domain.status import TERMINAL_STATUSES, ImageMove, ImageStatus, StepName, image_status_after
from worker.domain.step import Json
from worker.domain.transition import current_step, initial_steps

_RECORD_ID_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """
    A delivery that claims an image.

    Attributes:
        owner: `{worker}/{delivery}`; unique, to recognise its own claim when the response was lost.
        lease_until: When the lease expires unless it is renewed.
        now: Current time of the claimant.
        recipe: Hash of the recipe that it will use.
        retention: How long the record is kept after the upload's first claim; None keeps it forever.
        leaves_suspects: Whether an image that may have killed a worker is left unclaimed.
        fails_attempt: Number of an attempt that killed a worker; a claim after it is only to fail the image.
    """

    owner: str
    lease_until: datetime
    now: datetime
    recipe: str
    retention: timedelta | None = None
    leaves_suspects: bool = False
    fails_attempt: int | None = None

    def not_before(self, moment: datetime, *, passed: timedelta) -> "Claimant":
        """
        Return the claimant with its time advanced to the write that made its claim fail.

        Args:
            moment: Time of that write, by the other worker's clock.
            passed: Time since `now`; limits the advance, in case the other clock is fast.
        """
        later = min(max(moment - self.now, timedelta()), passed)
        return replace(self, now=self.now + later, lease_until=self.lease_until + later)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The claim succeeded: later writes are conditional on the image's attempt and lease owner."""

    image: Image


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The image has already completed or failed for the same upload, or is being deleted with it."""

    image: Image


@dataclass(frozen=True, slots=True)
class LeasedByAnother:
    """Another delivery is processing this upload."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Suspect:
    """The image may have killed a worker: a delivery has to be alone in its worker to claim it."""

    image: Image


@dataclass(frozen=True, slots=True)
class Superseded:
    """The record is about a newer upload of the same image."""

    image: Image


@dataclass(frozen=True, slots=True)
class BeingDeleted:
    """The image is being deleted; this upload is newer, and gets a record of its own after that."""

    image: Image


ClaimResult: TypeAlias = Claimed | AlreadyDone | LeasedByAnother | Suspect | Superseded | BeingDeleted


class RenewLease(Protocol):
    """Extends the lease of a claimed image."""

    def __call__(self, *, until: datetime) -> Awaitable[None]:
        """Extend the lease; raises `LeaseLostError` when it belongs to another worker."""
        ...


def decide(existing: Image | None, job: Job, claimant: Claimant) -> ClaimResult:
    """
    Return whether the claimant may claim the image, with the image as the claim writes it.

    An absent, expired or pending image can be claimed. A processing one can be claimed when its lease has
    expired or this upload is newer; a completed or failed one only when this upload is newer, or if it failed
    for want of a malware scan, which has found no threat now. An upload that is older than the recorded one,
    or another one that is not newer, can never be claimed, and no upload while the image is being deleted.

    Raises:
        NewerRecordError: The image has a status that a newer version has added.
    """
    if existing is None:
        return Claimed(_claimed(_new_image(job, claimant), claimant))
    require_known_status(existing)
    if existing.lease is not None and existing.lease.owner == claimant.owner:
        return Claimed(existing)  # an earlier request of this claimant succeeded, but its response was lost
    if existing.deletion is not None:
        return AlreadyDone(existing) if _is_deleted_too(job, existing) else BeingDeleted(existing)
    is_leased = existing.is_leased(claimant.now, lease_time=claimant.lease_until - claimant.now)
    if existing.is_expired(claimant.now) and not is_leased:
        return Claimed(_claimed(_replacing_expired(_new_image(job, claimant), existing), claimant))
    is_newer = job.supersedes and job.version.is_newer_than(existing.version)
    is_same = job.version.is_same_object_as(existing.version)
    if existing.version.is_newer_than(job.version) or not (is_newer or is_same):
        return Superseded(existing)
    if is_newer:
        return Claimed(_claimed(_with_newer_upload(existing, job, claimant), claimant))
    existing = _retried_after_scan(existing, job, at=claimant.now)
    if existing.status in TERMINAL_STATUSES:
        return AlreadyDone(existing)
    if existing.lease is not None and is_leased:
        return LeasedByAnother(existing.lease.expires_at)
    if claimant.leaves_suspects and (existing.status is ImageStatus.PROCESSING or has_killed(existing)):
        return Suspect(existing)
    is_abandoned = existing.status is ImageStatus.PROCESSING
    pending = lease_expired(existing, at=claimant.now) if is_abandoned else existing
    return Claimed(_claimed(pending, claimant))


def require_known_status(image: Image) -> None:
    """
    Raise an error if the image has a status from which this version knows no moves.

    Raises:
        NewerRecordError: A newer version has added the status.
    """
    if not isinstance(image.status, ImageStatus):
        reason = f"its status is {image.status!r}, which this version does not know"
        raise NewerRecordError(image_id=image.image_id, user_id=image.user_id, reason=reason)


def _is_deleted_too(job: Job, marked: Image) -> bool:
    """Return whether the deletion of an image is also that of an upload: the recorded or an older one."""
    if job.version.is_newer_than(marked.version):
        return False
    return marked.version.is_newer_than(job.version) or job.version.is_same_object_as(marked.version)


def _retried_after_scan(image: Image, job: Job, *, at: datetime) -> Image:
    """Return the image pending if it failed for want of a malware scan, which has found no threat now."""
    code = image.error.code if image.error and image.status is ImageStatus.FAILED else None
    is_clean = job.scan is ScanStatus.NO_THREATS_FOUND
    if is_clean and code in {NotScannedError.code, ScanFailedError.code}:
        return _moved(image, ImageMove.RETRIED, at=at)
    return image


def has_killed(image: Image) -> bool:
    """Return whether a worker or decoder was killed while it processed the image, the last time."""
    return image.error is not None and image.error.code in {WORKER_KILLED, DecoderKilledError.code}


def _new_image(job: Job, claimant: Claimant) -> Image:
    """Return the image of a new upload: pending since the time of the upload."""
    return Image(
        image_id=job.image_id,
        user_id=job.user_id,
        bucket=job.bucket,
        key=job.key,
        version=job.version,
        status=ImageStatus.PENDING,
        created_at=job.created_at,
        updated_at=job.created_at,
        file_name=job.key.rpartition("/")[2],
        file_size=job.size_bytes,
        steps={},
        attempt=0,
        ttl=_ttl(job, claimant),
        record_id=hashlib.sha256(f"{claimant.owner} {claimant.now}".encode()).hexdigest()[:_RECORD_ID_DIGITS],
        history=(HistoryEntry(at=job.created_at, status=ImageStatus.PENDING, attempt=0),),
    )


def _replacing_expired(fresh: Image, expired: Image) -> Image:
    """Return a new image over an expired item, with its fencing token and its share of the statistics."""
    return replace(
        fresh,
        attempt=expired.attempt,
        record_id=expired.record_id,
        counted_bytes=expired.counted_bytes,
        renditions=expired.renditions,
        leftovers=expired.leftovers,
    )


def _with_newer_upload(existing: Image, job: Job, claimant: Claimant) -> Image:
    """Return the image with a newer upload; the earlier results stay until they are replaced."""
    moved = _moved(existing, ImageMove.UPLOADED_AGAIN, at=claimant.now)
    return replace(
        moved,
        bucket=job.bucket,
        key=job.key,
        version=job.version,
        created_at=job.created_at,
        file_name=job.key.rpartition("/")[2],
        file_size=job.size_bytes,
        file_type=None,
        tags=(),
        metadata={},
        error=None,
        ttl=_ttl(job, claimant),
    )


def _ttl(job: Job, claimant: Claimant) -> int | None:
    # From now on, because an old upload whose event arrives today must not expire at once.
    since = max(job.created_at, claimant.now)
    return int((since + claimant.retention).timestamp()) if claimant.retention else None


def image_retried(image: Image, *, requester: Requester, at: datetime) -> Image:
    """Move a failed image to pending, for a retry."""
    return _moved(image, ImageMove.RETRIED, at=at, requester=requester)


def image_reprocessed(image: Image, *, requester: Requester, at: datetime) -> Image:
    """Move a completed or failed image to pending; its results stay until they are replaced."""
    return _moved(image, ImageMove.REPROCESSED, at=at, requester=requester)


def lease_expired(image: Image, *, requester: Requester | None = None, at: datetime) -> Image:
    """Move a processing image to pending, because its worker ended without releasing it."""
    moved = _moved(image, ImageMove.LEASE_EXPIRED, at=at, requester=requester)
    return replace(moved, error=worker_killed(image))


def worker_killed(image: Image) -> Failure:
    """Return why the last attempt at a processing image, whose lease has expired, did not end."""
    worker = image.lease.worker if image.lease else "unknown"
    message = (
        f"attempt {image.attempt} never ended: the worker {worker} was killed, ran out of memory or lost its "
        "connection while it processed the image; look for the end of that worker, then retry the image"
    )
    return Failure(code=WORKER_KILLED, message=message, step=current_step(image), retryable=True)


def image_requeued(image: Image, *, requester: Requester, at: datetime) -> Image:
    """
    Record that the message of a pending image was sent again; its status stays.

    Raises:
        IllegalMoveError: The image is not pending.
    """
    require_known_status(image)
    if image.status is not ImageStatus.PENDING:
        raise IllegalMoveError(what="the image", move="requeued", status=image.status)
    detail: dict[str, Json] = {"reason": REQUEUED, **requester.detail()}
    return _with_entry(image, image.status, at=at, detail=detail)


def retention_set(image: Image, *, ttl: int | None, requester: Requester, at: datetime) -> Image:
    """
    Set when the record expires, in seconds since 1970, or never; its status stays.

    Under a lease, only the worker adds to the history.

    Raises:
        ImageBusyError: The image is processing, or being deleted.
        NewerRecordError: The image has a status that a newer version has added.
    """
    require_known_status(image)
    if image.deletion is not None:
        raise ImageBusyError(image_id=image.image_id, is_being_deleted=True)
    if image.status is ImageStatus.PROCESSING:
        raise ImageBusyError(image_id=image.image_id)
    expires: dict[str, Json] = {} if ttl is None else {"ttl": ttl}
    after = _with_entry(image, RETENTION_SET, at=at, detail={**expires, **requester.detail()})
    return replace(after, ttl=ttl)


def deletion_begun(image: Image, *, requester: Requester, at: datetime) -> Image:
    """
    Mark the image as being deleted, whatever its status; its objects and its statistics stay as they are.

    The attempt gets a higher number, so that a worker which is processing the image has lost its lease. The
    record no longer expires: it has to last until its objects are deleted.
    """
    at = _after_last_change(image, at)
    fenced = replace(image, attempt=image.attempt + 1, error=None, ttl=None)
    moved = _moved(fenced, ImageMove.DELETION_BEGUN, at=at, requester=requester)
    detail = requester.detail()
    deletion = Deletion(by=str(detail["by"]), via=str(detail["via"]), at=at, lease=image.lease)
    return replace(moved, deletion=deletion)


def is_deleted(stored: Image | None, image: Image) -> bool:
    """
    Return whether the record of an image is being deleted, or no longer exists.

    Args:
        stored: The record that the table has under the image's key now; None if there is none.
        image: The image as it was claimed.
    """
    return stored is None or stored.deletion is not None or stored.record_id != image.record_id


def _with_entry(image: Image, status: str, *, at: datetime, detail: Mapping[str, Json]) -> Image:
    """
    Return the image with a further entry of its history, which changes nothing else.

    `updated_at` always increases, so that of two concurrent requests only the first finds what it has read.
    """
    at = _after_last_change(image, at)
    entry = HistoryEntry(at=at, status=status, attempt=image.attempt, detail=detail)
    return replace(image, updated_at=at, history=bounded((*image.history, entry)))


def _after_last_change(image: Image, at: datetime) -> datetime:
    return max(at, image.updated_at + timedelta(milliseconds=1))


def _moved(image: Image, move: ImageMove, *, at: datetime, requester: Requester | None = None) -> Image:
    require_known_status(image)
    status = image_status_after(move, image.status)
    detail: dict[str, Json] = {"reason": move.value, **(requester.detail() if requester else {})}
    entry = HistoryEntry(at=at, status=status, attempt=image.attempt, detail=detail)
    return replace(image, status=status, lease=None, updated_at=at, history=bounded((*image.history, entry)))


def _claimed(image: Image, claimant: Claimant) -> Image:
    status = image_status_after(ImageMove.CLAIMED, image.status)
    attempt = image.attempt + 1
    lease = Lease(owner=claimant.owner, expires_at=claimant.lease_until)
    claimed = HistoryEntry(at=claimant.now, status=status, attempt=attempt, worker=lease.worker)
    image = replace(
        image,
        status=status,
        attempt=attempt,
        updated_at=claimant.now,
        processed_at=None,
        lease=lease,
        history=bounded((*image.history, claimed)),
    )
    if image.attempt - 1 == claimant.fails_attempt:
        return image  # with the steps as the attempt left them
    return replace(
        image,
        steps=initial_steps(image.steps, validation_started_at=claimant.now),
        recipe=claimant.recipe,
        history=(*image.history, replace(claimed, step=StepName.VALIDATION)),
    )
