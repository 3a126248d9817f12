"""
Who gets an image: the rules by which a worker may take it, what taking it writes, and what offers it again.

The moves that offer it again name who asked in the audit trail: the command of the repair tool.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from worker.domain.errors import IllegalMoveError
from worker.domain.image import HistoryEntry, Image, Lease
from worker.domain.job import Job
from worker.domain.status import TERMINAL_STATUSES, ImageMove, ImageStatus, StepName, image_status_after
from worker.domain.transition import initial_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """
    A delivery that asks for an image.

    Attributes:
        owner: `{worker}/{delivery}`: unique, so that the answer to a lost call can be recognised.
        lease_until: When the lease ends if nobody renews it.
        now: The claimant's clock.
        recipe: Hash of the recipe that it will follow.
        retention: How long the record of an upload is kept from its first claim; None keeps it for ever.
    """

    owner: str
    lease_until: datetime
    now: datetime
    recipe: str
    retention: timedelta | None = None

    def not_before(self, moment: datetime, *, passed: timedelta) -> "Claimant":
        """
        Return the claimant at a moment that it has lived to see: it comes after the write that it lost to.

        Args:
            moment: Of that write, by another's clock.
            passed: Since `now`; the claimant never goes further, however fast the other's clock is.
        """
        later = min(max(moment - self.now, timedelta()), passed)
        return replace(self, now=self.now + later, lease_until=self.lease_until + later)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The image is ours: every write from now on carries its attempt and its lease's owner."""

    image: Image


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The very upload that is asked for has been completed, or has failed for good."""

    image: Image


@dataclass(frozen=True, slots=True)
class LeasedByAnother:
    """Another delivery works on this upload."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Superseded:
    """The record knows a newer upload of the same image."""

    image: Image


ClaimResult: TypeAlias = Claimed | AlreadyDone | LeasedByAnother | Superseded


class RenewLease(Protocol):
    """Extends the lease of a claimed image."""

    def __call__(self, *, until: datetime) -> Awaitable[None]:
        """Extend the lease; raises `LeaseLostError` when it belongs to another worker."""
        ...


def decide(existing: Image | None, job: Job, claimant: Claimant) -> ClaimResult:
    """
    Say whether the claimant may take the image, and if so, what the image becomes.

    Absent, expired or pending: taken. Processing: taken when the lease is over, or when this upload is
    newer than the one in work. Completed or failed: taken only by a newer upload. An older upload than the
    recorded one is never taken.
    """
    if existing is None:
        return Claimed(_claimed(_announced(job, claimant), claimant))
    if existing.lease is not None and existing.lease.owner == claimant.owner:
        return Claimed(existing)  # our own earlier call landed, and its answer was lost
    if existing.is_expired(claimant.now) and not existing.is_leased(claimant.now):
        return Claimed(_claimed(_restarted(_announced(job, claimant), existing), claimant))
    if existing.version.is_newer_than(job.version):
        return Superseded(existing)
    if job.version.is_newer_than(existing.version):
        return Claimed(_claimed(_uploaded_again(existing, job, claimant), claimant))
    if existing.status in TERMINAL_STATUSES:
        return AlreadyDone(existing)
    if existing.lease is not None and existing.is_leased(claimant.now):
        return LeasedByAnother(existing.lease.expires_at)
    if existing.status is ImageStatus.PROCESSING:
        existing = _moved(existing, ImageMove.LEASE_EXPIRED, at=claimant.now)
    return Claimed(_claimed(existing, claimant))


def _announced(job: Job, claimant: Claimant) -> Image:
    """Return the image as the upload alone describes it: pending, since the moment of the upload."""
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
        history=(HistoryEntry(at=job.created_at, status=ImageStatus.PENDING, attempt=0),),
    )


def _restarted(fresh: Image, expired: Image) -> Image:
    """Start over in place of an item past its ttl, which still fences its old workers and counts once."""
    return replace(
        fresh,
        attempt=expired.attempt,
        counted_bytes=expired.counted_bytes,
        renditions=expired.renditions,
    )


def _uploaded_again(existing: Image, job: Job, claimant: Claimant) -> Image:
    """Turn to a newer upload of the same image; its old results stay until they are replaced."""
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
    # Counted from now, because an old upload that is only announced today must not be gone at once.
    since = max(job.created_at, claimant.now)
    return int((since + claimant.retention).timestamp()) if claimant.retention else None


def image_retried(image: Image, *, by: str, at: datetime) -> Image:
    """Move a failed image to pending, because somebody asks for it again."""
    return _moved(image, ImageMove.RETRIED, at=at, by=by)


def image_reprocessed(image: Image, *, by: str, at: datetime) -> Image:
    """Move a completed or failed image to pending; its results stay until they are replaced."""
    return _moved(image, ImageMove.REPROCESSED, at=at, by=by)


def lease_expired(image: Image, *, by: str, at: datetime) -> Image:
    """Move an image from processing to pending, because its lease is over and nobody has come for it."""
    return _moved(image, ImageMove.LEASE_EXPIRED, at=at, by=by)


def image_requeued(image: Image, *, by: str, at: datetime) -> Image:
    """
    Note that a pending image has been asked for once more; no status changes.

    Raises:
        IllegalMoveError: The image is not pending.
    """
    if image.status is not ImageStatus.PENDING:
        raise IllegalMoveError(what="the image", move="requeued", status=image.status)
    entry = HistoryEntry(
        at=at, status=image.status, attempt=image.attempt, detail={"reason": "requeued", "by": by}
    )
    return replace(image, updated_at=at, history=(*image.history, entry))


def _moved(image: Image, move: ImageMove, *, at: datetime, by: str | None = None) -> Image:
    status = image_status_after(move, image.status)
    detail = {"reason": move.value} | ({"by": by} if by else {})
    entry = HistoryEntry(at=at, status=status, attempt=image.attempt, detail=detail)
    return replace(image, status=status, lease=None, updated_at=at, history=(*image.history, entry))


def _claimed(image: Image, claimant: Claimant) -> Image:
    status = image_status_after(ImageMove.CLAIMED, image.status)
    attempt = image.attempt + 1
    lease = Lease(owner=claimant.owner, expires_at=claimant.lease_until)
    started = HistoryEntry(
        at=claimant.now, step=StepName.VALIDATION, status=status, attempt=attempt, worker=lease.worker
    )
    return replace(
        image,
        status=status,
        attempt=attempt,
        updated_at=claimant.now,
        processed_at=None,
        lease=lease,
        steps=initial_steps(validation_started_at=claimant.now),
        recipe=claimant.recipe,
        history=(*image.history, replace(started, step=None), started),
    )
