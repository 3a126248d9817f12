"""An image and its steps, as recorded in the table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from worker.domain.focus import Focus
from worker.domain.job import SourceVersion
from worker.domain.status import StepName, StepStatus
from worker.domain.step import Json

MAX_CLOCK_ERROR: Final = timedelta(minutes=5)
"""Difference of two workers' clocks that is tolerated; AWS rejects requests signed with a larger one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """
    Status, times and details of one step.

    Attributes:
        status: A `StepStatus`, or the name of one that a newer version has added.
        started_at: When it started.
        completed_at: When it ended.
        detail: Its other attributes.
    """

    status: str = StepStatus.PENDING
    started_at: datetime | None = None
    completed_at: datetime | None = None
    detail: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """
    A stored result.

    Attributes:
        key: Key in the results bucket.
        width: Width in pixels.
        height: Height in pixels.
        size_bytes: Size of the file.
        format: A key of `EXTENSIONS` in `domain.step`.
        e_tag: ETag in S3, without quotes.
        counted_bytes: Bytes that a deleted record of the image counted for the object which this one replaces
            or is; None if there is none. Not part of the record.
    """

    key: str
    width: int
    height: int
    size_bytes: int
    format: str
    e_tag: str
    counted_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """
    A stored result that the image no longer has: of an earlier upload, extension, size or key template.

    Attributes:
        key: Key in the results bucket.
        e_tag: ETag in S3, without quotes: an object with another one is not deleted.
        extra: Further attributes that a newer version has written.
    """

    key: str
    e_tag: str
    extra: Mapping[str, Json] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an image failed or was released."""

    code: str
    message: str
    step: str | None
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """
    An entry of the history.

    Attributes:
        at: When it happened.
        status: Status of the step, or of the image, since then.
        step: Name of the step; None if the status of the image itself changed.
        attempt: Number of the attempt.
        worker: Name of the worker; None if no worker caused it.
        detail: Why, how long it took, and the like.
        extra: Further attributes that a newer version has written.
    """

    at: datetime
    status: str
    step: str | None = None
    attempt: int
    worker: str | None = None
    detail: Mapping[str, Json] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The exclusive right to write to an image until it expires."""

    owner: str
    expires_at: datetime

    @property
    def worker(self) -> str:
        """Name of the worker, as in the history: the owner is `{worker}/{delivery}`."""
        return self.owner.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """
    A deletion of an image that has begun, and which only has to be finished.

    Attributes:
        by: Name of the person who requested it first.
        via: How: see `worker.domain.requester`.
        at: When it began.
        lease: The lease that it took away, until its worker has stopped; None if there was none.
    """

    by: str
    via: str
    at: datetime
    lease: Lease | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """
    An image's item in the table.

    Attributes:
        record_id: Identifies the record; it differs after the record was deleted and created again. None if
            an earlier version of the worker created it.
        status: An `ImageStatus`, or the name of one that a newer version has added: then nothing may be
            written to the record.
        steps: Steps by name; a newer version may have added some.
        attempt: Number of claims; the fencing token that every write is conditional on.
        renditions: Results by size name.
        processed_key: Key of the main result; the previous attempt's until this one completes.
        leftovers: Results that completed attempts have left over, until they are deleted.
        counted_bytes: Bytes included for this image in the owner's statistics; None if it is not included.
        ttl: Expiry time in seconds since 1970.
        deletion: The deletion that has begun: nothing but its end changes the record any more.
    """

    image_id: str
    user_id: str
    bucket: str
    key: str
    version: SourceVersion
    status: str
    created_at: datetime
    updated_at: datetime
    processed_at: datetime | None = None
    file_name: str
    file_size: int | None = None
    file_type: str | None = None
    steps: Mapping[str, StepRecord]
    attempt: int
    lease: Lease | None = None
    recipe: str | None = None
    renditions: Mapping[str, Rendition] = field(default_factory=dict)
    processed_key: str | None = None
    leftovers: tuple[Leftover, ...] = ()
    error: Failure | None = None
    history: tuple[HistoryEntry, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    counted_bytes: int | None = None
    ttl: int | None = None
    record_id: str | None = None
    deletion: Deletion | None = None

    def detail_of(self, step: StepName) -> Mapping[str, Json]:
        """Return what a step has found out; empty if it has not ended."""
        record = self.steps.get(step)
        return record.detail if record else {}

    def is_expired(self, now: datetime) -> bool:
        """Return whether its retention has ended, although DynamoDB may not have deleted it yet."""
        return self.ttl is not None and self.ttl <= now.timestamp()

    def is_leased(self, now: datetime, *, lease_time: timedelta) -> bool:
        """
        Return whether a worker holds an unexpired lease.

        A lease that ends later than any worker could have set it by now is the work of a wrong clock, and
        counts as expired: otherwise a dead worker whose clock was an hour fast would hold it for an hour.

        Args:
            now: The current time.
            lease_time: How long a lease is when it is set.
        """
        return self.lease is not None and now < self.lease.expires_at <= now + lease_time + MAX_CLOCK_ERROR

    def step_durations_ms(self) -> dict[str, int]:
        """Return the duration of each step of the last attempt, as far as the history contains it."""
        return {
            entry.step: ms
            for entry in self.history
            if entry.step and entry.attempt == self.attempt and isinstance(ms := entry.detail.get("ms"), int)
        }

    def total_bytes(self) -> int:
        """Return the storage that a completed image uses: its upload and all results."""
        return (self.file_size or 0) + sum(rendition.size_bytes for rendition in self.renditions.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSummary:
    """The attributes of an image that lists show, named as in `Image`."""

    image_id: str
    user_id: str
    status: str
    created_at: datetime
    processed_at: datetime | None
    file_name: str
    file_size: int | None
    key: str
    processed_key: str | None
    ttl: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedImage:
    """
    What lists of failed images show.

    Attributes:
        code: Error code of the failure; None if the record has no error.
        message: Message of the failure.
        failed_at: Time of the last write: that of the failure, unless the retention was set since.
        has_result: Whether a result of an earlier attempt exists.
    """

    image_id: str
    user_id: str
    code: str | None
    message: str
    failed_at: datetime
    created_at: datetime
    file_name: str
    file_size: int | None
    has_result: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """
    Metadata of an uploaded object.

    Attributes:
        focus: Focal point that the uploader names.
        ignored: Name of each value that cannot be used, and why.
    """

    file_name: str | None
    file_size: int
    file_type: str
    tags: tuple[str, ...] = ()
    focus: Focus | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """An uploaded object with its content."""

    content: bytes | bytearray | memoryview
    description: Description
