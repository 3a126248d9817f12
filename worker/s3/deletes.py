"""Delete objects on condition that they are unchanged."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from worker.aws.errors import is_not_found, is_precondition_failed
from worker.aws.retry import RetryPolicy, call_with_retry

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


async def delete_object(client: "S3Client", *, bucket: str, key: str, e_tag: str, retry: RetryPolicy) -> bool:
    """
    Delete the current version of an object if it has this ETag.

    A bucket with versions keeps the content as a noncurrent version. IAM has to allow `s3:DeleteObject` and
    `s3:GetObject`.

    Args:
        client: S3 client.
        bucket: Name of the bucket.
        key: Key of the object.
        e_tag: ETag, without quotes.
        retry: Retry policy.

    Returns:
        Whether this request deleted it; False if there is no object, or another one, or if an earlier request
        had deleted it and its response was lost.

    Raises:
        TransientError: The bucket was unavailable, or does not allow the request.
    """
    try:
        await call_with_retry(
            lambda: client.delete_object(Bucket=bucket, Key=key, IfMatch=f'"{e_tag}"'),
            retry,
            what=f"delete s3://{bucket}/{key}",
        )
    except ClientError as error:
        if is_precondition_failed(error) or is_not_found(error):
            return False
        raise
    return True
