"""Read the metadata of objects."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from worker.aws.errors import is_not_found
from worker.aws.retry import RetryPolicy, call_with_retry

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import HeadObjectOutputTypeDef, HeadObjectRequestTypeDef


async def head_object(
    client: "S3Client", request: "HeadObjectRequestTypeDef", *, retry: RetryPolicy, what: str
) -> "HeadObjectOutputTypeDef | None":
    """
    Return the metadata of an object; None if it does not exist.

    Args:
        client: S3 client.
        request: Bucket, key and, if applicable, version.
        retry: Retry policy.
        what: What could not be done, for the error message.

    Raises:
        TransientError: The bucket was unavailable.
    """
    try:
        return await call_with_retry(lambda: client.head_object(**request), retry, what=what)
    except ClientError as error:
        if is_not_found(error):
            return None
        raise
