"""What a message asks for: one uploaded version of one picture."""

from dataclasses import dataclass
from datetime import datetime

_SEQUENCER_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVersion:
    """
    Which upload of a key is meant, and how it stands to others.

    Attributes:
        e_tag: Of the object, without quotes; None when the message did not tell.
        version_id: In a versioned bucket.
        sequencer: S3's ordering of the events of one key, padded to a fixed length on its right so that
            text compares as S3 says it must; None when the message had none (a job of our own made from a
            listing, some emulators).
        uploaded_at: Decides where sequencers cannot, between different objects.
    """

    e_tag: str | None
    version_id: str | None
    sequencer: str | None
    uploaded_at: datetime

    def is_newer_than(self, other: "SourceVersion") -> bool:
        """Tell whether this upload came after the other."""
        if self.sequencer and other.sequencer and self.sequencer != other.sequencer:
            return self.sequencer > other.sequencer
        return not self.is_same_object_as(other) and self.uploaded_at > other.uploaded_at

    def is_same_object_as(self, other: "SourceVersion") -> bool:
        """Tell whether both mean the same bytes, as far as their eTags say."""
        return self.e_tag is None or other.e_tag is None or self.e_tag == other.e_tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    One picture to process.

    Attributes:
        bucket: Where the upload lies.
        key: The upload's key, decoded.
        user_id: The owner, from the key.
        image_id: The image, from the key.
        version: Which upload of the key.
        size_bytes: As announced, not to be believed; None when the message did not tell.
    """

    bucket: str
    key: str
    user_id: str
    image_id: str
    version: SourceVersion
    size_bytes: int | None = None

    @property
    def created_at(self) -> datetime:
        """The upload's time, which is the image's `createdAt`."""
        return self.version.uploaded_at


def padded_sequencer(sequencer: str) -> str:
    """
    Bring a sequencer into the form in which text compares as S3 orders events.

    S3: "right pad the shorter value with zeros, then do a lexicographic comparison"
    (Amazon S3 User Guide, "Event message structure").
    """
    return sequencer.upper().ljust(_SEQUENCER_DIGITS, "0")
