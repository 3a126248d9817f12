"""Delete objects on condition that they have not been replaced."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from worker.aws.errors import is_not_found, is_precondition_failed
from worker.aws.retry import RetryPolicy, call_with_retry

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


async def delete_object(client: "S3Client", *, bucket: str, key: str, e_tag: str, retry: RetryPolicy) -> bool:
    """
    Delete an object if it still has an ETag, with or without quotes; a versioned bucket adds a delete marker.

    Returns:
        Whether the object is gone; False if another one has replaced it.

    Raises:
        TransientError: The bucket was unavailable, or rejected the request.
    """
    try:
        await call_with_retry(
            lambda: client.delete_object(Bucket=bucket, Key=key, IfMatch=f'"{e_tag.strip(chr(34))}"'),
            retry,
            what=f"delete s3://{bucket}/{key}",
        )
    except ClientError as error:
        if is_precondition_failed(error):
            return False
        if not is_not_found(error):
            raise
    return True
