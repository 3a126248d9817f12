"""A job: one upload of one image to process."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from worker.domain.errors import ImageIdTakenError
from worker.domain.keys import next_image_id
from worker.domain.scan import ScanStatus

_SEQUENCER_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVersion:
    """
    Identifies an upload of a key and orders it among the others.

    Attributes:
        e_tag: ETag of the object, without quotes; None if the message does not contain it.
        version_id: Version id in a versioned bucket.
        sequencer: S3's ordering of the events of one key, right-padded to a fixed length so that it compares
            as text; None if the message does not contain it (requeued from a listing, some emulators).
        uploaded_at: Orders different objects whose sequencers do not.
    """

    e_tag: str | None
    version_id: str | None
    sequencer: str | None
    uploaded_at: datetime

    def is_newer_than(self, other: "SourceVersion") -> bool:
        """Return whether this upload is newer than the other."""
        if self.sequencer and other.sequencer and self.sequencer != other.sequencer:
            return self.sequencer > other.sequencer
        return not self.is_same_object_as(other) and self.uploaded_at > other.uploaded_at

    def is_same_object_as(self, other: "SourceVersion") -> bool:
        """Return whether both are the same object, as far as their versions and ETags are known."""
        if self.version_id and other.version_id and self.version_id != other.version_id:
            return False  # perhaps the same content with other metadata
        return self.e_tag is None or other.e_tag is None or self.e_tag == other.e_tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    An upload to process.

    Attributes:
        bucket: Bucket of the upload.
        key: Key of the upload, URL-decoded.
        user_id: Id of the owner, from the key.
        image_id: Id of the image, from the key; see `worker.domain.keys`.
        version: Identifies this upload of the key.
        size_bytes: Size according to the message, unverified; None if the message does not contain it.
        scan: Result of the malware scan that the message announces; None for other messages.
        extra: Fields of the message that a newer version has added; they are sent on with the job.
        supersedes: Whether it can replace another upload in the record: not if its object was not found, and
            may be an older one.
    """

    bucket: str
    key: str
    user_id: str
    image_id: str
    version: SourceVersion
    size_bytes: int | None = None
    scan: ScanStatus | None = None
    supersedes: bool = True
    extra: Mapping[str, object] = field(default_factory=dict, compare=False)

    @property
    def created_at(self) -> datetime:
        """Time of the upload, which is the image's `createdAt`."""
        return self.version.uploaded_at

    def with_next_image_id(self, *, taken_by: str) -> "Job":
        """
        Return the job with the image id that it has if another upload has this one.

        Args:
            taken_by: Key of the other upload.

        Raises:
            ImageIdTakenError: There is none.
        """
        image_id = next_image_id(self.image_id, key=self.key)
        if image_id is None:
            raise ImageIdTakenError(key=self.key, image_id=self.image_id, taken_by=taken_by)
        return replace(self, image_id=image_id)


def padded_sequencer(sequencer: str) -> str:
    """
    Return a sequencer in a form that sorts as text in the order of the events.

    S3: "right pad the shorter value with zeros, then do a lexicographic comparison"
    (Amazon S3 User Guide, "Event message structure").
    """
    return sequencer.upper().ljust(_SEQUENCER_DIGITS, "0")
