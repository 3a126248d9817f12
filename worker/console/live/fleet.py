"""Derive completions a minute and the workers of the fleet from a bounded number of records."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Protocol

from worker.domain.image import Image, ImageSummary
from worker.domain.status import ImageStatus
from worker.dynamodb.queries import Page

MAX_READ: Final = 1000
"""How many images are read for their completions: the newest by the time of their upload."""

MAX_IMAGES: Final = 100
"""How many images' histories are read for their workers: the newest by the time of their upload."""

MINUTES: Final = 30

_FIRST_PAGE: Final = 100
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_LONGEST_WAIT: Final = timedelta(minutes=30)
"""An image that waited longer in the queue may not be counted: few records are read while all is quiet."""


class FleetReader(Protocol):
    """The queries that the view needs; `worker.dynamodb.queries.Queries` implements them."""

    async def recent_images(
        self, first_day: date, last_day: date, *, limit: int = 20, token: str | None = None
    ) -> Page:
        """Return a page of the images uploaded from one day to another, newest first."""
        ...

    async def images(self, keys: Iterable[tuple[str, str]], *, consistent: bool = False) -> list[Image]:
        """Return the images with the given keys."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions:
    """
    Completed images by minute.

    Attributes:
        per_minute: How many were completed in each of the last minutes, oldest first.
        last_minute: How many were completed in the last 60 seconds.
        read: How many images were read.
        is_bounded: Whether the limit was reached, so that earlier minutes may have had more.
    """

    per_minute: tuple[int, ...]
    last_minute: int
    read: int
    is_bounded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenWorker:
    """
    A worker in the histories of the newest images.

    Attributes:
        name: Its name.
        last_seen_at: Time of its latest entry.
        attempts: How many of these images' attempts are its own.
        processing: How many of these images it is processing.
        completed: How many of them it completed.
        failed: How many of them it found to fail.
        expired: How many of its attempts ended because their lease expired.
    """

    name: str
    last_seen_at: datetime
    attempts: int
    processing: int
    completed: int
    failed: int
    expired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Completions, and the workers of the newest images."""

    at: datetime
    completions: Completions
    workers: tuple[SeenWorker, ...]
    images_read: int


async def read_fleet(reader: FleetReader, *, now: datetime) -> Fleet:
    """
    Return completions and workers from a bounded number of records, of today's and yesterday's uploads.

    Raises:
        TransientError: The table is unavailable.
    """
    newest, is_bounded = await _newest(reader, now=now)
    images = await reader.images([(image.image_id, image.user_id) for image in newest[:MAX_IMAGES]])
    return Fleet(
        at=now,
        completions=count_completions(newest, now=now, is_bounded=is_bounded),
        workers=tuple(seen_workers(images)),
        images_read=len(images),
    )


async def _newest(reader: FleetReader, *, now: datetime) -> tuple[Sequence[ImageSummary], bool]:
    """
    Return the newest images that may have been completed in the last minutes, and whether there are more.

    They are read by day and not by status: a day has a bounded number of images, and a status has not.
    """
    days, since = ((now - _DAY).date(), now.date()), now - MINUTES * _MINUTE - _LONGEST_WAIT
    first = await reader.recent_images(*days, limit=_FIRST_PAGE)
    if first.next_token is None or not first.images or first.images[-1].created_at < since:
        return first.images, False
    rest = await reader.recent_images(*days, limit=MAX_READ - _FIRST_PAGE, token=first.next_token)
    has_all = rest.next_token is None or not rest.images or rest.images[-1].created_at < since
    return (*first.images, *rest.images), not has_all


def count_completions(images: Sequence[ImageSummary], *, now: datetime, is_bounded: bool) -> Completions:
    """Return how many images were completed in each of the last minutes."""
    ages = [now - image.processed_at for image in images if image.processed_at is not None]
    minutes = Counter(max(age, timedelta()) // _MINUTE for age in ages)
    return Completions(
        per_minute=tuple(minutes[back] for back in reversed(range(MINUTES))),
        last_minute=minutes[0],
        read=len(images),
        is_bounded=is_bounded,
    )


def seen_workers(images: Iterable[Image]) -> list[SeenWorker]:
    """Return the workers in the histories of images, the last seen first."""
    seen: dict[str, datetime] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for image in images:
        owners: Mapping[int, str] = {e.attempt: e.worker for e in image.history if e.worker is not None}
        for entry in image.history:
            if entry.worker is not None:
                seen[entry.worker] = max(entry.at, seen.get(entry.worker, entry.at))
            owner = owners.get(entry.attempt)
            if owner is not None and entry.step is None:
                is_expired = entry.detail.get("reason") == "lease_expired"
                counts[owner, "expired" if is_expired else entry.status] += 1
        for owner in owners.values():
            counts[owner, "attempts"] += 1
        if image.lease is not None and image.status is ImageStatus.PROCESSING:
            counts[image.lease.worker, "leased"] += 1
            seen.setdefault(image.lease.worker, image.updated_at)
    workers = [
        SeenWorker(
            name=name,
            last_seen_at=at,
            attempts=counts[name, "attempts"],
            processing=counts[name, "leased"],
            completed=counts[name, ImageStatus.COMPLETED],
            failed=counts[name, ImageStatus.FAILED],
            expired=counts[name, "expired"],
        )
        for name, at in seen.items()
    ]
    return sorted(workers, key=lambda worker: worker.last_seen_at, reverse=True)
