"""Let an image start only after a malware scan of exactly its upload has found no threat."""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from worker.aws.errors import is_not_found, is_rejected
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.clock import to_milliseconds
from worker.domain.errors import (
    NotScannedError,
    ScanFailedError,
    SourceMissingError,
    ThreatFoundError,
    TransientError,
)
from worker.domain.image import Image
from worker.domain.job import Job
from worker.domain.scan import ScanStatus
from worker.s3.heads import head_object

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectTaggingRequestTypeDef, HeadObjectOutputTypeDef

SCAN_TAG: Final = "GuardDutyMalwareScanStatus"
"""Tag in which GuardDuty stores the result of a scan with the object."""


class S3Scans:
    """
    Knows the scan results of uploads; implements `worker.delivery.ports.Scans`.

    Args:
        client: S3 client.
        retry: Retry policy for S3 requests.
    """

    def __init__(self, client: "S3Client", *, retry: RetryPolicy) -> None:
        self._client, self._retry = client, retry

    async def find_upload(self, job: Job, *, recorded: Image | None = None) -> Job | None:
        """
        Return the job for the object that was scanned, with the time of its upload; None if it was replaced.

        If it does not exist, or cannot be read, the job does not supersede another upload in the record.

        A scan result names no order of uploads, and can arrive after that of a later upload. The object that
        is stored now is the latest upload, so a result of any other one is obsolete.

        Args:
            job: Job of a scan result, or one that may not name its object.
            recorded: The record, if it was read before and is about another object. The object found now is
                then at least as new: S3 reports upload times in whole seconds, and for a multipart upload
                the time at which it began.

        Raises:
            TransientError: The bucket was unavailable.
        """
        if job.scan is None and (job.version.e_tag or job.version.version_id):
            return job
        found = await self._head(job)
        if found is None:
            return replace(job, supersedes=False)
        scanned, version_id = job.version, found.get("VersionId")
        stored = replace(
            scanned,
            e_tag=found["ETag"].strip('"'),
            version_id=version_id if version_id != "null" else None,
            uploaded_at=to_milliseconds(found["LastModified"]),
        )
        is_other_version = scanned.version_id not in {None, stored.version_id}
        if is_other_version or not stored.is_same_object_as(scanned):
            return None
        if recorded is not None:
            after_recorded = recorded.version.uploaded_at + timedelta(milliseconds=1)
            stored = replace(stored, uploaded_at=max(stored.uploaded_at, after_recorded))
        return replace(job, version=stored)

    async def require_clean(self, job: Job) -> None:
        """
        Return if the scan of the upload has found no threat.

        The result is that of the message, or that of the object's tag if the message has none.

        Raises:
            ThreatFoundError: The scan has found a threat.
            ScanFailedError: The object could not be scanned.
            NotScannedError: The object has no scan result, at least not yet.
            SourceMissingError: The object does not exist.
            TransientError: The bucket was unavailable.
        """
        status = job.scan or await self._tagged_status(job)
        match status:
            case ScanStatus.NO_THREATS_FOUND:
                return
            case ScanStatus.THREATS_FOUND:
                raise ThreatFoundError(bucket=job.bucket, key=job.key)
            case None:
                raise NotScannedError(bucket=job.bucket, key=job.key)
            case _:
                raise ScanFailedError(bucket=job.bucket, key=job.key, status=status)

    async def _head(self, job: Job) -> "HeadObjectOutputTypeDef | None":
        try:
            return await head_object(
                self._client,
                {"Bucket": job.bucket, "Key": job.key},
                retry=self._retry,
                what=f"read the metadata of s3://{job.bucket}/{job.key}",
            )
        except TransientError as error:
            if not is_rejected(error.__cause__):
                raise
            return None  # if it is to be read, that shows whether S3 rejects only this object

    async def _tagged_status(self, job: Job) -> str | None:
        request: GetObjectTaggingRequestTypeDef = {"Bucket": job.bucket, "Key": job.key}
        if job.version.version_id:
            request["VersionId"] = job.version.version_id
        try:
            response = await call_with_retry(
                lambda: self._client.get_object_tagging(**request),
                self._retry,
                what=f"read the tags of s3://{job.bucket}/{job.key}",
            )
        except ClientError as error:
            if is_not_found(error):
                raise SourceMissingError(bucket=job.bucket, key=job.key) from error
            raise
        return next((tag["Value"] for tag in response["TagSet"] if tag["Key"] == SCAN_TAG), None)
