"""Check whether the upload of an image is in the bucket as recorded, was replaced, or no longer exists."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from worker.aws.retry import RetryPolicy
from worker.domain.clock import to_milliseconds
from worker.domain.errors import TransientError
from worker.domain.image import Image
from worker.domain.job import Job, SourceVersion
from worker.repair.context import RepairContext
from worker.repair.requests import job_of
from worker.s3.heads import head_object

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


class SourceStatus(Enum):
    """How the object in the bucket compares with the record."""

    AS_RECORDED = auto()
    REPLACED = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True)
class SourceState:
    """
    The state of an image's upload in the bucket.

    Attributes:
        status: How the object compares with the record.
        job: Job for the object that is there now; for the recorded one if it no longer exists.
    """

    status: SourceStatus
    job: Job


async def check_source(client: "S3Client", image: Image, retry: RetryPolicy) -> SourceState:
    """
    Compare an image's record with the object in the bucket.

    Read the image first: the object found under the key is then at least as new as the recorded one.

    Raises:
        TransientError: S3 is unreachable or denies the request.
    """
    version_id = image.version.version_id
    if version_id and await _head(client, image, retry, version_id=version_id):
        return SourceState(SourceStatus.AS_RECORDED, job_of(image))
    found = await _head(client, image, retry)
    if found is None:
        return SourceState(SourceStatus.GONE, job_of(image))
    version = SourceVersion(
        e_tag=str(found["ETag"]).strip('"'),
        version_id=None,
        sequencer=None,
        uploaded_at=_after_recorded(to_milliseconds(found["LastModified"]), image),
    )
    if version_id is None and version.is_same_object_as(image.version):
        return SourceState(SourceStatus.AS_RECORDED, job_of(image))
    job = replace(job_of(image), version=version, size_bytes=found["ContentLength"])
    return SourceState(SourceStatus.REPLACED, job)


async def check_source_or_report(repairs: RepairContext, image: Image) -> SourceState | None:
    """Return the state of an image's upload; report a failure and return None if unknown."""
    if not repairs.serves_or_report(image):
        return None
    try:
        return await check_source(repairs.s3, image, repairs.s3_retry)
    except TransientError as error:
        repairs.reporter.failed(image.image_id, str(error))
        return None


def _after_recorded(last_modified: datetime, image: Image) -> datetime:
    """
    Return the upload time of a replacement, which has to be later than that of the recorded object.

    S3 reports whole seconds, and for a multipart upload the time at which it began.
    """
    return max(last_modified, image.version.uploaded_at + timedelta(milliseconds=1))


async def _head(
    client: "S3Client", image: Image, retry: RetryPolicy, *, version_id: str | None = None
) -> Mapping[str, Any] | None:
    request: Any = {"Bucket": image.bucket, "Key": image.key}
    if version_id:
        request["VersionId"] = version_id
    return await head_object(client, request, retry=retry, what=f"read s3://{image.bucket}/{image.key}")
