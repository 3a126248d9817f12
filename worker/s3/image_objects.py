"""Find and delete the objects of an image: its upload and its results."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from worker.aws.retry import RetryPolicy
from worker.domain.clock import to_milliseconds
from worker.domain.image import Image
from worker.domain.result_keys import ResultKeyTemplate
from worker.s3.deletes import delete_object
from worker.s3.heads import head_object
from worker.s3.lists import list_objects
from worker.s3.results import identity_of

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


_TIME_TOLERANCE: Final = timedelta(seconds=1)
"""An object may be dated later than its event: both times come from S3, and are rounded differently."""


class SourceEnd(StrEnum):
    """What has become of an upload that was to be deleted."""

    DELETED = "deleted"
    MISSING = "missing"
    REPLACED = "replaced by a newer upload, which was kept"


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object as it was listed; its ETag has no quotes."""

    key: str
    e_tag: str
    last_modified: datetime


class ImageObjects:
    """
    Deletes the objects of images, each on condition that it has not been replaced.

    In a versioned bucket, an object gets a delete marker, and its versions stay. Every method raises
    `TransientError` if the bucket was unavailable, or rejected the request.

    Args:
        client: S3 client.
        retry: Retry policy for S3 requests.
        results_bucket: Name of the bucket of the results.
        result_keys: Template of their keys.
    """

    def __init__(
        self, client: "S3Client", *, retry: RetryPolicy, results_bucket: str, result_keys: ResultKeyTemplate
    ) -> None:
        self._client, self._retry = client, retry
        self._results_bucket, self._result_keys = results_bucket, result_keys

    async def delete_source(self, image: Image) -> SourceEnd:
        """
        Delete the upload that the record is about, unless a newer one has replaced it.

        A newer upload may have the same content, and so the same ETag: the time of the object distinguishes
        it, in the whole seconds that S3 reports, and with a second for the difference of an event's time.
        """
        bucket, key, recorded = image.bucket, image.key, image.version
        found = await head_object(
            self._client, {"Bucket": bucket, "Key": key}, retry=self._retry, what=f"read s3://{bucket}/{key}"
        )
        if found is None:
            return SourceEnd.MISSING
        e_tag = found["ETag"].strip('"')
        is_newer = to_milliseconds(found["LastModified"]) > recorded.uploaded_at + _TIME_TOLERANCE
        if is_newer or e_tag != (recorded.e_tag or e_tag):
            return SourceEnd.REPLACED
        is_gone = await delete_object(self._client, bucket=bucket, key=key, e_tag=e_tag, retry=self._retry)
        return SourceEnd.DELETED if is_gone else SourceEnd.REPLACED

    async def delete_recorded_results(self, image: Image) -> None:
        """Delete the results that the record names, except what has replaced them."""
        for key, e_tag in recorded_results(image):
            await self.delete_result(key, e_tag=e_tag)

    async def delete_result(self, key: str, *, e_tag: str) -> None:
        """Delete a result if it still has the ETag."""
        await delete_object(
            self._client, bucket=self._results_bucket, key=key, e_tag=e_tag, retry=self._retry
        )

    async def find_results(self, image: Image) -> Sequence[ListedObject]:
        """
        Return the results that are stored for an image, whether its record names them or not.

        A worker that was killed may have left results that no record names. Results without the image in
        their metadata, which early versions stored, are not found.
        """
        return [
            listed
            for prefix in self._result_keys.prefixes(user_id=image.user_id, image_id=image.image_id)
            async for page in self.list_objects(self._results_bucket, prefix)
            for listed in page
            if await self._is_result_of(image, listed)
        ]

    def results_prefix_of(self, user_id: str) -> str:
        """Return what the keys of all results of a user begin with."""
        return self._result_keys.user_prefix(user_id)

    async def list_objects(self, bucket: str, prefix: str) -> AsyncIterator[Sequence[ListedObject]]:
        """Yield the objects whose keys begin with a prefix, page by page."""
        async for page in list_objects(self._client, bucket=bucket, prefix=prefix, retry=self._retry):
            yield [
                ListedObject(found["Key"], found["ETag"].strip('"'), to_milliseconds(found["LastModified"]))
                for found in page
            ]

    async def delete_listed(self, bucket: str, listed: ListedObject) -> bool:
        """Delete an object that was listed; return False if another one has replaced it."""
        return await delete_object(
            self._client, bucket=bucket, key=listed.key, e_tag=listed.e_tag, retry=self._retry
        )

    async def _is_result_of(self, image: Image, listed: ListedObject) -> bool:
        found = await head_object(
            self._client,
            {"Bucket": self._results_bucket, "Key": listed.key},
            retry=self._retry,
            what=f"read the metadata of s3://{self._results_bucket}/{listed.key}",
        )
        if found is None or found["ETag"].strip('"') != listed.e_tag:
            return False  # it was replaced or deleted since
        metadata: Mapping[str, str] = found["Metadata"]
        return metadata.get("image") == identity_of(image)


def recorded_results(image: Image) -> Sequence[tuple[str, str]]:
    """Return key and ETag of each result that the record names, those left over included."""
    leftovers = [(leftover.key, leftover.e_tag) for leftover in image.leftovers]
    return [(rendition.key, rendition.e_tag) for rendition in image.renditions.values()] + leftovers
