"""
The errors of the worker; an error's base class decides what happens next.

```
ImageWorkerError
├── RejectedError            permanent: the image fails with this code, the message is deleted
│   ├── NotAnImageError         not_an_image
│   ├── FormatNotAllowedError   format_not_allowed
│   ├── TooManyBytesError       too_many_bytes
│   ├── TooManyPixelsError      too_many_pixels
│   ├── TooManyFramesError      too_many_frames
│   ├── TooManyScansError       too_many_scans
│   ├── TooSmallError           too_small
│   ├── TruncatedError          truncated
│   ├── CorruptError            corrupt
│   ├── DecodeTimeoutError      decode_timeout
│   ├── DecodeOutOfMemoryError  decode_out_of_memory
│   ├── DecoderCrashedError     decoder_crashed
│   ├── SourceMissingError      source_missing
│   ├── ResultKeyTakenError     result_key_taken
│   ├── SourceArchivedError     source_archived
│   ├── SourceUnreadableError   source_unreadable
│   ├── AccessDeniedError       access_denied
│   ├── ThreatFoundError        threat_found
│   ├── ScanFailedError         scan_failed
│   ├── KeyTooLongError         key_too_long
│   └── RecordRejectedError     record_rejected
├── TransientError           transient: the image and the message are released for a retry
│   ├── NotScannedError         not_scanned
│   └── DecoderKilledError      decoder_killed; alone in its worker, the image fails with this code
├── LeaseLostError           another worker owns the image: nothing is written, the message is abandoned
│   └── LaterResultError        the bucket has a result of a later attempt, which may be that of a lost record
├── ReceiptLostError         the receipt handle expired: the message's next receiver settles it
├── SupersededError          a newer upload replaced this one: the message is deleted
├── UnreadableMessageError   the message goes to the dead-letter queue with the reason
│   └── NewerMessageError       before the last receive, the message is released
├── RecordError              the record cannot be used: the message goes to the dead-letter queue
│   ├── UnreadableRecordError   record_unreadable
│   │   └── NewerRecordError       record_unreadable; before the last receive, the message is released
│   └── ImageIdTakenError       image_id_taken
├── ImageBusyError           a worker is processing the image: the change has to wait until it has ended
├── IllegalMoveError         a bug: the state machine does not allow the move
├── PageTokenError           a page token is invalid for the query; exit status 2
├── InvalidUploadError       a file cannot be uploaded under these names; exit status 2
└── ConfigurationError       a setting or resource is wrong; one sentence on stderr, exit status 2
```
"""

from typing import ClassVar, Final

_QUOTED_CHARACTERS: Final = 60


class ImageWorkerError(Exception):
    """Base class of the errors that the worker raises."""


class RejectedError(ImageWorkerError):
    """Raised when an image cannot be processed, and another attempt would fail in the same way."""

    code: str = "rejected"
    retryable: ClassVar[bool] = False

    @classmethod
    def from_report(cls, code: str, message: str) -> "RejectedError":
        """Return the error that a decoder process reported by its code."""
        error_type = next((subclass for subclass in cls.__subclasses__() if subclass.code == code), cls)
        error = error_type.__new__(error_type)
        Exception.__init__(error, message)
        error.code = code
        return error


class NotAnImageError(RejectedError):
    """Raised when the upload is not an image in any known format."""

    code = "not_an_image"

    def __init__(self, *, is_empty: bool = False) -> None:
        found = "the file is empty" if is_empty else "the file is not an image in any known format"
        super().__init__(f"{found}; upload one in a common format, such as JPEG or PNG")


class FormatNotAllowedError(RejectedError):
    """Raised when the image is in a format that the worker does not process."""

    code = "format_not_allowed"

    def __init__(self, *, found: str, allowed: tuple[str, ...], hint: str = "") -> None:
        why = f" ({hint})" if hint else ""
        super().__init__(f"the format {found} is not supported{why}; upload one of: {', '.join(allowed)}")
        self.found, self.allowed = found, allowed


class TooManyBytesError(RejectedError):
    """Raised when the upload is larger than the limit."""

    code = "too_many_bytes"

    def __init__(self, *, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the file has {size_bytes:,} bytes or more, above the limit of {limit_bytes:,}; "
            "upload a smaller file"
        )
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


class TooManyPixelsError(RejectedError):
    """Raised when the image has more pixels than the limit."""

    code = "too_many_pixels"

    def __init__(self, *, pixels: int, limit: int) -> None:
        super().__init__(
            f"the image has {pixels:,} pixels, above the limit of {limit:,}; upload a smaller image"
        )
        self.pixels, self.limit = pixels, limit


class TooManyFramesError(RejectedError):
    """Raised when an animation has too many frames, or too many pixels in all its frames."""

    code = "too_many_frames"

    def __init__(self, *, frames: int, limit: int) -> None:
        super().__init__(
            f"the animation has {frames:,} frames or more, above the limit of {limit:,}; "
            "upload a shorter or smaller animation"
        )
        self.frames, self.limit = frames, limit


class TooManyScansError(RejectedError):
    """Raised when a progressive JPEG has too many scans."""

    code = "too_many_scans"

    def __init__(self, *, limit: int) -> None:
        super().__init__(
            f"the JPEG has more than {limit:,} scans, each of which takes as long as a whole image; "
            "save the image again with another program and upload that file"
        )
        self.limit = limit


class TooSmallError(RejectedError):
    """Raised when a side of the image is shorter than the limit."""

    code = "too_small"

    def __init__(self, *, width: int, height: int, limit_px: int) -> None:
        super().__init__(
            f"the image has {width}x{height} pixels, but each side must have at least {limit_px}; "
            "upload a larger image"
        )
        self.width, self.height, self.limit_px = width, height, limit_px


class TruncatedError(RejectedError):
    """Raised when the file ends before the image data does."""

    code = "truncated"

    def __init__(self) -> None:
        super().__init__("the file is incomplete: it ends before the image data does; upload it again")


class CorruptError(RejectedError):
    """Raised when the image data cannot be decoded."""

    code = "corrupt"

    def __init__(self, *, reason: str) -> None:
        super().__init__(
            f"the image data is corrupt: {reason}; "
            "save the image again with another program and upload that file"
        )
        self.reason = reason


class DecodeTimeoutError(RejectedError):
    """
    Raised when a step takes longer than its timeout, or more CPU time than an image of its size may take.

    Args:
        limit_s: Timeout of the step in seconds; None for the CPU time.
    """

    code = "decode_timeout"
    retryable = True

    def __init__(self, *, limit_s: float | None) -> None:
        super().__init__(
            "decoding took more CPU time than an image of this size may take and was stopped; "
            "save the image again with another program and upload that file"
            if limit_s is None
            else f"the step took longer than {limit_s:g} s and was stopped; "
            "raise WORKER_STEP_TIMEOUT_S and retry the image"
        )
        self.limit_s = limit_s


class DecodeOutOfMemoryError(RejectedError):
    """Raised when decoding needs more memory than a decoder process may use."""

    code = "decode_out_of_memory"
    retryable = True

    def __init__(self) -> None:
        super().__init__(
            "the image needs more memory than a decoder process may use; "
            "raise WORKER_DECODER_MEMORY_MB and retry the image"
        )


class DecoderCrashedError(RejectedError):
    """Raised when the decoder process exits while it processes the image."""

    code = "decoder_crashed"
    retryable = True

    def __init__(self, *, exit_status: str) -> None:
        super().__init__(
            f"the decoder process crashed while it processed the image ({exit_status}); retry the image"
        )
        self.exit_status = exit_status


class SourceMissingError(RejectedError):
    """Raised when the uploaded object no longer exists."""

    code = "source_missing"

    def __init__(self, *, bucket: str, key: str) -> None:
        super().__init__(f"s3://{bucket}/{key} was deleted before it was read; upload it again")
        self.bucket, self.key = bucket, key


class ResultKeyTakenError(RejectedError):
    """Raised when a result of another image is stored under the key of a result."""

    code = "result_key_taken"
    retryable = True

    def __init__(self, *, bucket: str, key: str, taken_by: str) -> None:
        super().__init__(
            f"s3://{bucket}/{key} is a result of {taken_by}, and was not overwritten; "
            "reprocess or delete that image, delete the object, and retry this image"
        )
        self.bucket, self.key, self.taken_by = bucket, key, taken_by


class SourceArchivedError(RejectedError):
    """Raised when the upload is in an archive, from which it has to be restored before it can be read."""

    code = "source_archived"
    retryable = True

    def __init__(self, *, bucket: str, key: str) -> None:
        super().__init__(
            f"s3://{bucket}/{key} cannot be read because S3 has archived it; restore the object, "
            "then retry the image"
        )
        self.bucket, self.key = bucket, key


class SourceUnreadableError(RejectedError):
    """Raised when S3 does not return the upload although it returns others."""

    code = "source_unreadable"
    retryable = True

    def __init__(self, *, bucket: str, key: str, reason: str) -> None:
        super().__init__(
            f"s3://{bucket}/{key} cannot be read: {reason}; store the object so that the worker can read it, "
            "without a key of its own, then retry the image"
        )
        self.bucket, self.key, self.reason = bucket, key, reason


class AccessDeniedError(RejectedError):
    """Raised when S3 denies access to the upload although it allows it for others."""

    code = "access_denied"
    retryable = True

    def __init__(self, *, bucket: str, key: str, reason: str) -> None:
        super().__init__(
            f"S3 denies access to s3://{bucket}/{key}: {reason}; allow s3:GetObject for this object, "
            "then retry the image"
        )
        self.bucket, self.key, self.reason = bucket, key, reason


class ThreatFoundError(RejectedError):
    """Raised when a malware scan has found a threat in the upload."""

    code = "threat_found"

    def __init__(self, *, bucket: str, key: str) -> None:
        super().__init__(
            f"GuardDuty has found malware in s3://{bucket}/{key}, which was not read; delete the object"
        )
        self.bucket, self.key = bucket, key


class ScanFailedError(RejectedError):
    """Raised when the upload could not be scanned for malware."""

    code = "scan_failed"
    retryable = True

    def __init__(self, *, bucket: str, key: str, status: str) -> None:
        super().__init__(
            f"GuardDuty could not scan s3://{bucket}/{key} ({status[:_QUOTED_CHARACTERS]}), and it was not "
            "read; remove the cause, scan the object again, then retry the image"
        )
        self.bucket, self.key, self.status = bucket, key, status


class KeyTooLongError(RejectedError):
    """Raised when the key of a result would be longer than S3 allows."""

    code = "key_too_long"

    def __init__(self, *, key: str, length_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the key {key[:_QUOTED_CHARACTERS]!r}... of a result has {length_bytes:,} bytes, above "
            f"the limit of S3, {limit_bytes:,}; upload the image under a shorter key"
        )
        self.key, self.length_bytes, self.limit_bytes = key, length_bytes, limit_bytes


class RecordRejectedError(RejectedError):
    """Raised when DynamoDB rejects a write because of what it contains, such as an item that is too large."""

    code = "record_rejected"
    retryable = True

    def __init__(self, *, what: str, reason: str) -> None:
        super().__init__(
            f"could not {what}: DynamoDB rejected the item: {reason}; remove attributes of your own from the "
            "record or the profile, then retry the image"
        )
        self.what, self.reason = what, reason


class TransientError(ImageWorkerError):
    """
    Raised when a dependency fails in a way that a retry may resolve.

    Attributes:
        code: Code of the image's failure if no retry resolves it.
        is_dependency_failure: Whether the dependency is unavailable or throttles, so that requests for other
            images would fail too; False for an error response about one object, key or request.
    """

    code: str = "unavailable"

    def __init__(self, message: str, *, is_dependency_failure: bool = True, code: str | None = None) -> None:
        super().__init__(message)
        self.is_dependency_failure = is_dependency_failure
        self.code = code or self.code


class NotScannedError(TransientError):
    """Raised when the upload has to be scanned for malware, and no scan result is stored with it."""

    code = "not_scanned"

    def __init__(self, *, bucket: str, key: str) -> None:
        super().__init__(
            f"s3://{bucket}/{key} has no tag with the result of a malware scan, which WORKER_REQUIRE_SCAN "
            "requires; turn on tagging in GuardDuty, scan the object, then retry the image",
            is_dependency_failure=False,
        )
        self.bucket, self.key = bucket, key


class DecoderKilledError(TransientError):
    """
    Raised when something else than the worker kills the decoder process while it processes the image.

    Usually it is the kernel, when the container is out of memory: perhaps because of another image.
    """

    code = "decoder_killed"

    def __init__(self) -> None:
        super().__init__(
            "the decoder process was killed while it processed the image, most likely because the container "
            "was out of memory; raise its memory limit or lower WORKER_PROCESSES, and retry the image",
            is_dependency_failure=False,
        )


INTERNAL_ERROR: Final = "internal_error"
"""Error code of a failure caused by a bug in the worker."""

WORKER_KILLED: Final = "worker_killed"
"""Error code of an image whose workers ended without releasing it; see `worker.domain.claim`."""


class LeaseLostError(ImageWorkerError):
    """Raised when another worker owns the image, so that this one must not write its record or results."""

    def __init__(self, *, image_id: str, attempt: int) -> None:
        super().__init__(f"{image_id}: attempt {attempt} no longer holds the lease")
        self.image_id, self.attempt = image_id, attempt


class LaterResultError(LeaseLostError):
    """
    Raised when the bucket has a result of a later attempt than the image's, or of another record of it.

    The record decides what it means: if it still has the image's lease, the result is from a record that was
    deleted, or from the time after the backup that the table was restored from, and the image's attempt gets
    a number above `stored_attempt`.
    """

    def __init__(self, *, image_id: str, attempt: int, stored_attempt: int) -> None:
        super().__init__(image_id=image_id, attempt=attempt)
        self.stored_attempt = stored_attempt


class ReceiptLostError(ImageWorkerError):
    """Raised when SQS rejects a receipt handle: the message was deleted or received again."""


class SupersededError(ImageWorkerError):
    """Raised when a newer upload has replaced the object; its own event processes it."""

    def __init__(self, *, image_id: str) -> None:
        super().__init__(f"{image_id}: a newer upload has replaced this one")
        self.image_id = image_id


class UnreadableMessageError(ImageWorkerError):
    """Raised when a message does not name an image that the worker could process."""


class NewerMessageError(UnreadableMessageError):
    """Raised when a newer version of the worker has sent the message, in a format unknown to this one."""


class RecordError(ImageWorkerError):
    """Raised when an image's record cannot be used; the record is left as it is."""

    code: str


class UnreadableRecordError(RecordError):
    """Raised when an item of the table is not a record that this version can read."""

    code = "record_unreadable"

    def __init__(self, *, image_id: str, user_id: str, reason: str) -> None:
        super().__init__(
            f"the record of image {image_id} of user {user_id} cannot be read: {reason}; a newer version of "
            "image-worker wrote it, or it is damaged: update image-worker, or correct or delete the item"
        )
        self.image_id, self.user_id, self.reason = image_id, user_id, reason


class NewerRecordError(UnreadableRecordError):
    """Raised when a newer version has written a record in a way that this one must not change."""

    def __init__(self, *, image_id: str, user_id: str, reason: str) -> None:
        super().__init__(image_id=image_id, user_id=user_id, reason=reason)
        message = (
            f"a newer version of image-worker has written the record of image {image_id} of user {user_id}: "
            f"{reason}; update image-worker"
        )
        self.args = (message,)


class ImageIdTakenError(RecordError):
    """Raised when other uploads have every image id that an upload can have."""

    code = "image_id_taken"

    def __init__(self, *, key: str, image_id: str, taken_by: str) -> None:
        super().__init__(
            f"other uploads have every image id of {key}, the last one, {image_id}, is that of {taken_by}; "
            "upload the file under another name"
        )
        self.key, self.image_id, self.taken_by = key, image_id, taken_by


class ImageBusyError(ImageWorkerError):
    """Raised when an image cannot be changed because a worker is processing it, or it is being deleted."""

    def __init__(self, *, image_id: str, is_being_deleted: bool = False) -> None:
        super().__init__(
            f"{image_id} is being deleted; run `image-worker images delete` again if that was interrupted"
            if is_being_deleted
            else f"{image_id} is being processed, and only its worker may change its record; "
            "try again when it is completed or failed"
        )
        self.image_id = image_id


class IllegalMoveError(ImageWorkerError):
    """Raised when the state machine does not allow a move; always a bug in the worker."""

    def __init__(self, *, what: str, move: str, status: str) -> None:
        super().__init__(f"{what} is {status}: it cannot be {move}")
        self.what, self.move, self.status = what, move, status


class PageTokenError(ImageWorkerError):
    """Raised when a page token is invalid, or belongs to another query."""

    def __init__(self) -> None:
        super().__init__(
            "the page token is invalid or belongs to another query; use the nextToken of the previous page "
            "with the same command and options, or omit it to start at the first page"
        )


class InvalidUploadError(ImageWorkerError):
    """Raised when a file cannot be uploaded for this user, or with these names; the message says why."""


class ConfigurationError(ImageWorkerError):
    """Raised when a setting or an AWS resource is wrong; the message says which, and what to do."""
