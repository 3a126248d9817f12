"""Read uploads: bounded in size, and only the object version that the event announced."""

from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.errors import (
    error_code,
    error_message,
    is_access_denied,
    is_archived,
    is_damaged,
    is_key_too_long,
    is_not_found,
    is_precondition_failed,
    is_rejected,
    is_unreadable,
)
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import (
    AccessDeniedError,
    RejectedError,
    SourceArchivedError,
    SourceMissingError,
    SourceUnreadableError,
    SupersededError,
    TooManyBytesError,
    TransientError,
)
from worker.domain.focus import Focus, parse_focus
from worker.domain.image import Description, Source
from worker.domain.job import Job

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef, GetObjectRequestTypeDef

_MAX_VALUE_LENGTH = 500
_MAX_TAGS = 20

_SEPARATE = {"tags", "filename", "focus"}
"""User metadata with attributes of their own in the record; the rest becomes its `metadata`."""


class S3Sources:
    """
    Reads uploads from S3; implements `worker.delivery.ports.Sources`.

    Args:
        client: S3 client.
        retry: Retry policy for S3 requests.
    """

    def __init__(self, client: "S3Client", *, retry: RetryPolicy) -> None:
        self._client, self._retry = client, retry
        self._last_read: GetObjectRequestTypeDef | None = None

    async def fetch(self, job: Job, *, max_bytes: int) -> Source:
        """
        Return the object that the job names; its size is read from S3, not from the event.

        Raises:
            TooManyBytesError: The object is larger than `max_bytes`.
            SourceMissingError: The object does not exist.
            SupersededError: Another object has replaced it.
            RejectedError: S3 does not return this object, although it returns others.
            TransientError: The bucket was unavailable.
        """
        request: GetObjectRequestTypeDef = {"Bucket": job.bucket, "Key": job.key}
        if job.version.version_id:
            request["VersionId"] = job.version.version_id
        elif job.version.e_tag:
            request["IfMatch"] = f'"{job.version.e_tag}"'
        try:
            source = await call_with_retry(
                lambda: self._read(request, job, max_bytes),
                self._retry,
                what=f"read s3://{job.bucket}/{job.key}",
            )
        except ClientError as error:
            if is_precondition_failed(error):
                raise SupersededError(image_id=job.image_id) from error
            if is_not_found(error):
                raise SourceMissingError(bucket=job.bucket, key=job.key) from error
            raise
        except TransientError as error:
            cause = error.__cause__
            if is_rejected(cause) or (is_unreadable(cause) and not is_damaged(cause)):
                await self._reject(job, cause)
            raise
        if source.content:
            self._last_read = request
        return source

    async def _reject(self, job: Job, error: ClientError | BotoCoreError) -> None:
        """
        Raise the error for a read that S3 rejected, or whose response cannot be read.

        Some errors are about the object. The others may be about the bucket, its encryption key or the
        worker's permissions, and then concern every upload. The object that was read last shows which it is.

        Raises:
            RejectedError: Only this object cannot be read.
            TransientError: Other objects cannot be read either, or that is not known.
        """
        at = {"bucket": job.bucket, "key": job.key}
        reason = error_message(error)
        rejected: RejectedError = SourceUnreadableError(**at, reason=reason)
        if is_archived(error):
            rejected = SourceArchivedError(**at)
        elif is_access_denied(error) and "kms:" not in reason:
            rejected = AccessDeniedError(**at, reason=reason)
        is_about_object = is_archived(error) or is_key_too_long(error) or _needs_customer_key(error)
        if is_about_object or await self._can_read_another():
            raise rejected from error
        raise TransientError(str(rejected), is_dependency_failure=False, code=rejected.code) from error

    async def _can_read_another(self) -> bool:
        """Return whether the object that was read last can still be read."""
        if self._last_read is None:
            return False
        request: GetObjectRequestTypeDef = {**self._last_read, "Range": "bytes=0-0"}

        async def read() -> None:
            async with (await self._client.get_object(**request))["Body"] as body:
                await body.read()

        try:
            await call_with_retry(read, self._retry, what="read the object that was read last")
        except (ClientError, TransientError):
            return False
        return True

    async def _read(self, request: "GetObjectRequestTypeDef", job: Job, max_bytes: int) -> Source:
        response = await self._client.get_object(**request)
        size_bytes = response["ContentLength"]
        async with response["Body"] as body:
            if size_bytes > max_bytes:
                raise TooManyBytesError(size_bytes=size_bytes, limit_bytes=max_bytes)
            content = bytearray(size_bytes)  # allocated at once: growing it would copy it
            at = 0
            with memoryview(content) as buffer:
                while at < size_bytes and (count := await body.readinto(cast("bytearray", buffer[at:]))):
                    at += count
            await body.read(1)  # at the end of the body, botocore verifies its checksum
        if at != size_bytes:
            message = f"s3://{job.bucket}/{job.key}: received {at} of {size_bytes} bytes"
            raise ConnectionError(message)
        return Source(content=content, description=describe(response, size_bytes=size_bytes))


def _needs_customer_key(error: ClientError | BotoCoreError) -> bool:
    """Return whether the object is encrypted with a key that each request has to contain (SSE-C)."""
    return error_code(error) in {"InvalidArgument", "InvalidRequest"} and "ncrypt" in error_message(error)


def describe(response: "GetObjectOutputTypeDef", *, size_bytes: int) -> Description:
    """Return the metadata of an uploaded object."""
    values = {
        name.lower(): _decode(value)[:_MAX_VALUE_LENGTH]
        for name, value in response.get("Metadata", {}).items()
        if value
    }
    tags = [tag.strip() for tag in values.get("tags", "").split(",")]
    focus: Focus | None = None
    ignored: dict[str, str] = {}
    if (text := values.get("focus")) is not None:
        try:
            focus = parse_focus(text)
        except ValueError as error:
            ignored["focus"] = str(error)
    return Description(
        file_name=values.get("filename"),
        file_size=size_bytes,
        file_type=response.get("ContentType", "application/octet-stream"),
        tags=tuple(tag for tag in tags if tag)[:_MAX_TAGS],
        focus=focus,
        metadata={name: value for name, value in values.items() if name not in _SEPARATE},
        ignored=ignored,
    )


def _decode(value: str) -> str:
    """
    Return the text of a metadata value.

    Metadata is ASCII. S3 returns other text as RFC 2047 encoded words; `image-worker upload` percent-encodes
    it.
    """
    try:
        words = decode_header(value)
        if any(charset for _, charset in words):
            return str(make_header(words)).encode("utf-8", "replace").decode()
    except (HeaderParseError, LookupError, ValueError):  # damaged, or in an unknown charset
        return value
    return unquote(value)
