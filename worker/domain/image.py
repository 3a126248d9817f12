"""An image as the record knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from worker.domain.job import SourceVersion
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.step import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """Where one step is, since when, and what it found."""

    status: StepStatus = StepStatus.PENDING
    started_at: datetime | None = None
    completed_at: datetime | None = None
    detail: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """
    One stored result.

    Attributes:
        key: In the output bucket.
        width: In pixels.
        height: In pixels.
        size_bytes: Of the encoded picture.
        format: One of `EXTENSIONS` of `domain.step`.
        e_tag: As S3 answered, without quotes.
    """

    key: str
    width: int
    height: int
    size_bytes: int
    format: str
    e_tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an image failed or was released."""

    code: str
    message: str
    step: StepName | None
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One line of the audit trail; `step` is None where the image itself moved."""

    at: datetime
    status: str
    step: StepName | None = None
    attempt: int
    worker: str | None = None
    detail: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who may write to an image, and until when if nobody renews it."""

    owner: str
    expires_at: datetime

    @property
    def worker(self) -> str:
        """The worker's name, as the audit trail has it: the owner is `{worker}/{delivery}`."""
        return self.owner.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """
    One picture's item.

    Attributes:
        attempt: Raised by each claim: the fencing token of every write that follows it.
        renditions: Size name to result.
        processed_key: The key of the main one; of the attempt before until this one is completed.
        counted_bytes: What the owner's statistics hold for this image; None when it is not counted.
        ttl: Seconds since 1970 after which the image counts as gone.
    """

    image_id: str
    user_id: str
    bucket: str
    key: str
    version: SourceVersion
    status: ImageStatus
    created_at: datetime
    updated_at: datetime
    processed_at: datetime | None = None
    file_name: str
    file_size: int | None = None
    file_type: str | None = None
    steps: Mapping[StepName, StepRecord]
    attempt: int
    lease: Lease | None = None
    recipe: str | None = None
    renditions: Mapping[str, Rendition] = field(default_factory=dict)
    processed_key: str | None = None
    error: Failure | None = None
    history: tuple[HistoryEntry, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    counted_bytes: int | None = None
    ttl: int | None = None

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its retention is over, although the table may still hold it."""
        return self.ttl is not None and self.ttl <= now.timestamp()

    def is_leased(self, now: datetime) -> bool:
        """Tell whether somebody works on it."""
        return self.lease is not None and self.lease.expires_at > now

    def step_durations_ms(self) -> dict[StepName, int]:
        """Return how long each step of the last attempt computed, as far as the audit trail has noted it."""
        return {
            entry.step: ms
            for entry in self.history
            if entry.step and entry.attempt == self.attempt and isinstance(ms := entry.detail.get("ms"), int)
        }

    def total_bytes(self) -> int:
        """Return the bytes that a completed image occupies: the upload and all its results."""
        return (self.file_size or 0) + sum(rendition.size_bytes for rendition in self.renditions.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSummary:
    """What lists show of an image; the names are those of `Image`."""

    image_id: str
    user_id: str
    status: ImageStatus
    created_at: datetime
    processed_at: datetime | None
    file_name: str
    file_size: int | None
    key: str
    processed_key: str | None
    ttl: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the uploaded object says of itself."""

    file_name: str | None
    file_size: int
    file_type: str
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """An uploaded object, read whole."""

    content: bytes | bytearray | memoryview
    description: Description
