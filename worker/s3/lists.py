"""List the objects of a bucket."""

from functools import partial
from typing import TYPE_CHECKING

from worker.aws.retry import RetryPolicy, call_with_retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import ListObjectsV2RequestTypeDef, ObjectTypeDef


async def list_objects(
    client: "S3Client", *, bucket: str, prefix: str, retry: RetryPolicy
) -> "AsyncIterator[Sequence[ObjectTypeDef]]":
    """Yield the objects under a key prefix, up to 1,000 at once; raises `TransientError`."""
    request: ListObjectsV2RequestTypeDef = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = await call_with_retry(
            partial(client.list_objects_v2, **request), retry, what=f"list s3://{bucket}/{prefix}"
        )
        yield page.get("Contents", [])
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]
