"""
What can go wrong with a picture, and what its base class says happens next.

```
ImageWorkerError
├── RejectedError            permanent: the image fails with this code, the message is deleted
│   ├── NotAnImageError         not_an_image
│   ├── FormatNotAllowedError   format_not_allowed
│   ├── TooManyBytesError       too_many_bytes
│   ├── TooManyPixelsError      too_many_pixels
│   ├── TooManyFramesError      too_many_frames
│   ├── TooSmallError           too_small
│   ├── TruncatedError          truncated
│   ├── CorruptError            corrupt
│   ├── DecodeTimeoutError      decode_timeout
│   ├── DecodeOutOfMemoryError  decode_out_of_memory
│   ├── DecoderCrashedError     decoder_crashed
│   └── SourceMissingError      source_missing
├── TransientError           passing: the image is released, the message comes back later
├── LeaseLostError           another worker has the image: walk away, write nothing
├── ReceiptLostError         the message is gone or another's; whoever has it settles it
├── SupersededError          a newer upload is on its way: nothing left to do for this one
├── UnreadableMessageError   the message goes to the dead letters with the reason
├── IllegalMoveError         a bug: the state machine has no such move
├── PageTokenError           the token of a list is not this query's; exit status 2
└── ConfigurationError       one sentence for the person who runs the worker; exit status 2
```
"""

from typing import ClassVar, Final


class ImageWorkerError(Exception):
    """Base of every error that the worker raises on purpose."""


class RejectedError(ImageWorkerError):
    """The picture itself is at fault, and trying again would end the same way."""

    code: str = "rejected"
    retryable: ClassVar[bool] = False

    @classmethod
    def from_report(cls, code: str, message: str) -> "RejectedError":
        """Rebuild the refusal that a decoder child reported by its code."""
        found = next((kind for kind in cls.__subclasses__() if kind.code == code), cls)
        error = found.__new__(found)
        Exception.__init__(error, message)
        error.code = code
        return error


class NotAnImageError(RejectedError):
    """The bytes are not a picture in any format."""

    code = "not_an_image"

    def __init__(self) -> None:
        super().__init__("the file is not a picture in any format that this worker knows")


class FormatNotAllowedError(RejectedError):
    """The picture is in a format that this worker does not take."""

    code = "format_not_allowed"

    def __init__(self, *, found: str, allowed: tuple[str, ...], hint: str = "") -> None:
        why = f" ({hint})" if hint else ""
        super().__init__(f"{found} is not taken{why}; these are: {', '.join(allowed)}")
        self.found, self.allowed = found, allowed


class TooManyBytesError(RejectedError):
    """The file is larger than this worker reads."""

    code = "too_many_bytes"

    def __init__(self, *, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{size_bytes:,} bytes or more; the limit is {limit_bytes:,}")
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


class TooManyPixelsError(RejectedError):
    """The picture has more pixels than this worker decodes."""

    code = "too_many_pixels"

    def __init__(self, *, pixels: int, limit: int) -> None:
        super().__init__(f"{pixels:,} pixels; the limit is {limit:,}")
        self.pixels, self.limit = pixels, limit


class TooManyFramesError(RejectedError):
    """The animation has more frames, or more pixels in all its frames, than this worker accepts."""

    code = "too_many_frames"

    def __init__(self, *, frames: int, limit: int) -> None:
        super().__init__(f"{frames:,} frames or more; the limit is {limit:,}")
        self.frames, self.limit = frames, limit


class TooSmallError(RejectedError):
    """The picture is smaller than this worker accepts."""

    code = "too_small"

    def __init__(self, *, width: int, height: int, limit_px: int) -> None:
        super().__init__(f"{width}x{height} pixels; each side needs at least {limit_px}")
        self.width, self.height, self.limit_px = width, height, limit_px


class TruncatedError(RejectedError):
    """The file ends before the picture does."""

    code = "truncated"

    def __init__(self) -> None:
        super().__init__("the file ends before the picture does; upload it again, whole")


class CorruptError(RejectedError):
    """The decoder cannot make sense of the file."""

    code = "corrupt"

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the picture is damaged: {reason}")
        self.reason = reason


class DecodeTimeoutError(RejectedError):
    """The decoder did not finish the step in its time."""

    code = "decode_timeout"
    retryable = True

    def __init__(self, *, limit_s: float) -> None:
        super().__init__(f"the step took longer than {limit_s:g} s and was stopped")
        self.limit_s = limit_s


class DecodeOutOfMemoryError(RejectedError):
    """The decoder needed more memory than a child may have."""

    code = "decode_out_of_memory"
    retryable = True

    def __init__(self) -> None:
        super().__init__("the picture needs more memory than a decoder may have")


class DecoderCrashedError(RejectedError):
    """The decoder child died while it had this picture."""

    code = "decoder_crashed"
    retryable = True

    def __init__(self, *, exit_status: str) -> None:
        super().__init__(f"the decoder died on this picture ({exit_status})")
        self.exit_status = exit_status


class SourceMissingError(RejectedError):
    """The uploaded object is gone from the bucket."""

    code = "source_missing"

    def __init__(self, *, bucket: str, key: str) -> None:
        super().__init__(f"s3://{bucket}/{key} was deleted before it was read")
        self.bucket, self.key = bucket, key


class TransientError(ImageWorkerError):
    """Something outside failed in a way that passes: the same picture may succeed later."""

    code: str = "unavailable"


INTERNAL_ERROR: Final = "internal_error"
"""The code of a failure that is a bug of ours."""


class LeaseLostError(ImageWorkerError):
    """Another worker holds the image now: nothing that this one does may be written."""

    def __init__(self, *, image_id: str, attempt: int) -> None:
        super().__init__(f"{image_id}: attempt {attempt} no longer holds the lease")
        self.image_id, self.attempt = image_id, attempt


class ReceiptLostError(ImageWorkerError):
    """The queue no longer accepts this receipt: the message is gone, or has been handed to another."""


class SupersededError(ImageWorkerError):
    """The object was replaced: the event of the newer upload does the work."""

    def __init__(self, *, image_id: str) -> None:
        super().__init__(f"{image_id}: a newer upload has replaced this one")
        self.image_id = image_id


class UnreadableMessageError(ImageWorkerError):
    """The message names no picture that this worker could process."""


class IllegalMoveError(ImageWorkerError):
    """The state machine has no such move: a bug of ours, never of a picture."""

    def __init__(self, *, what: str, move: str, status: str) -> None:
        super().__init__(f"{what} is {status}: it cannot be {move}")
        self.what, self.move, self.status = what, move, status


class PageTokenError(ImageWorkerError):
    """A page token is damaged, or belongs to another query."""

    def __init__(self) -> None:
        super().__init__(
            "this page token is damaged or belongs to another query; use the nextToken of the page before, "
            "with the same command and options, or leave it out to begin anew"
        )


class ConfigurationError(ImageWorkerError):
    """A setting or a resource is wrong; the message says which, and what to do."""
