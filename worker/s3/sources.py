"""Reading uploads: bounded, streamed, and pinned to the very object that was announced."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from botocore.exceptions import ClientError

from worker.aws.errors import is_not_found, is_precondition_failed
from worker.aws.retry import BUCKET, call_with_retry
from worker.domain.errors import SourceMissingError, SupersededError, TooManyBytesError
from worker.domain.image import Description, Source
from worker.domain.job import Job

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectRequestTypeDef

_LONGEST_VALUE = 500
_MOST_TAGS = 20

_OF_RECORD = {"tags", "filename"}
"""User metadata with a place of its own in the record; the rest goes into its `metadata`."""


class S3Sources:
    """
    The sources of `worker.delivery.ports`, on one bucket's client.

    Args:
        client: Of S3.
    """

    def __init__(self, client: "S3Client") -> None:
        self._client = client

    async def fetch(self, job: Job, *, max_bytes: int) -> Source:
        """
        Read the very object that the job means, counting its bytes whatever the event said.

        Raises:
            TooManyBytesError: It is larger than allowed.
            SourceMissingError: It is gone.
            SupersededError: Another object lies under the key now.
            TransientError: The bucket cannot be reached within its retries.
        """
        request: GetObjectRequestTypeDef = {"Bucket": job.bucket, "Key": job.key}
        if job.version.version_id:
            request["VersionId"] = job.version.version_id
        elif job.version.e_tag:
            request["IfMatch"] = f'"{job.version.e_tag}"'
        try:
            return await call_with_retry(
                lambda: self._read(request, job, max_bytes), BUCKET, what=f"read s3://{job.bucket}/{job.key}"
            )
        except ClientError as error:
            if is_precondition_failed(error):
                raise SupersededError(image_id=job.image_id) from error
            if is_not_found(error):
                raise SourceMissingError(bucket=job.bucket, key=job.key) from error
            raise

    async def _read(self, request: "GetObjectRequestTypeDef", job: Job, max_bytes: int) -> Source:
        answer = await self._client.get_object(**request)
        length = answer["ContentLength"]
        async with answer["Body"] as body:
            if length > max_bytes:
                raise TooManyBytesError(size_bytes=length, limit_bytes=max_bytes)
            content = bytearray(length)  # all of it at once: one that grows is copied each time it does
            at = 0
            with memoryview(content) as room:
                while at < length and (got := await body.readinto(cast("bytearray", room[at:]))):
                    at += got
            await body.read(1)  # nothing is left; asked for more, the body compares its checksum
        if at != length:
            message = f"s3://{job.bucket}/{job.key}: {at} of {length} bytes came"
            raise ConnectionError(message)
        return Source(content=content, description=_describe(answer, size_bytes=length))


def _describe(answer: Mapping[str, Any], *, size_bytes: int) -> Description:
    said = {
        name.lower(): unquote(value)[:_LONGEST_VALUE]
        for name, value in answer.get("Metadata", {}).items()
        if value
    }
    tags = [tag.strip() for tag in said.get("tags", "").split(",")]
    return Description(
        file_name=said.get("filename"),
        file_size=size_bytes,
        file_type=answer.get("ContentType", "application/octet-stream"),
        tags=tuple(tag for tag in tags if tag)[:_MOST_TAGS],
        metadata={name: value for name, value in said.items() if name not in _OF_RECORD},
    )
