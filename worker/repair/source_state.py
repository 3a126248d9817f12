"""What lies under an upload's key now, and the job that asks for it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from worker.aws.errors import is_not_found
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.clock import to_milliseconds
from worker.domain.errors import TransientError
from worker.domain.image import Image
from worker.domain.job import Job, SourceVersion
from worker.repair.requests import RepairContext, job_of

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


class Source(Enum):
    """How the bucket stands to the record of an image."""

    AS_RECORDED = auto()
    REPLACED = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Standing:
    """What the bucket holds of an image, and the job that asks for that: for what was recorded, when gone."""

    source: Source
    job: Job


async def look(client: "S3Client", image: Image, retry: RetryPolicy) -> Standing:
    """
    Compare the object that the record knows with what the bucket holds.

    The image has to be read before: what lies under the key now is then no older than what it knows.

    Raises:
        TransientError: The bucket cannot be reached within its retries, or refuses to tell.
    """
    version_id = image.version.version_id
    if version_id and await _head(client, image, retry, version_id=version_id):
        return Standing(Source.AS_RECORDED, job_of(image))
    found = await _head(client, image, retry)
    if found is None:
        return Standing(Source.GONE, job_of(image))
    version = SourceVersion(
        e_tag=str(found["ETag"]).strip('"'),
        version_id=None,
        sequencer=None,
        uploaded_at=_later(to_milliseconds(found["LastModified"]), image),
    )
    if version_id is None and version.is_same_object_as(image.version):
        return Standing(Source.AS_RECORDED, job_of(image))
    job = replace(job_of(image), version=version, size_bytes=found["ContentLength"])
    return Standing(Source.REPLACED, job)


async def look_or_tell(asking: RepairContext, image: Image) -> Standing | None:
    """Look at what is there of an image that this worker serves; report it when that cannot be known."""
    if not asking.serves(image):
        return None
    try:
        return await look(asking.clients.s3, image, asking.retries.bucket)
    except TransientError as error:
        asking.report.could_not(image.image_id, str(error))
        return None


def _later(last_modified: datetime, image: Image) -> datetime:
    """
    Date what replaced an object after it.

    S3 tells whole seconds only, and of a multipart upload when it began.
    """
    return max(last_modified, image.version.uploaded_at + timedelta(milliseconds=1))


async def _head(
    client: "S3Client", image: Image, retry: RetryPolicy, *, version_id: str | None = None
) -> Mapping[str, Any] | None:
    request: Any = {"Bucket": image.bucket, "Key": image.key}
    if version_id:
        request["VersionId"] = version_id
    try:
        return await call_with_retry(
            lambda: client.head_object(**request), retry, what=f"look at s3://{image.bucket}/{image.key}"
        )
    except ClientError as error:
        if is_not_found(error):
            return None
        raise
