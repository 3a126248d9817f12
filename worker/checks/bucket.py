"""Whether the buckets are there, and uploads are announced."""

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.errors import is_no_such_bucket, is_not_found, is_wrong_region
from worker.aws.retry import RetryPolicy, retry_at_startup
from worker.checks.finding import PROVISION, Finding, permitted, refused, right, wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import (
        NotificationConfigurationResponseTypeDef,
        QueueConfigurationOutputTypeDef,
        TopicConfigurationOutputTypeDef,
    )

    from worker.settings import Settings

NO_OBJECT: Final = ".image-worker-check"
NO_ETAG: Final = '"00000000000000000000000000000000"'
CREATED: Final = "s3:ObjectCreated:"


async def find_bucket(s3: "S3Client", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Find whether the bucket of the uploads exists and can be reached."""
    return await _find(s3, "bucket", settings.bucket, retry, setting="WORKER_BUCKET")


async def find_output_bucket(s3: "S3Client", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Find whether the bucket of the results exists and can be reached."""
    return await _find(s3, "output bucket", settings.results_bucket, retry, setting="WORKER_OUTPUT_BUCKET")


async def check_bucket(s3: "S3Client", settings: "Settings", retry: RetryPolicy) -> list[Finding]:
    """Check the buckets, the announcement of uploads, and what may be done with objects."""
    uploads, results = await find_bucket(s3, settings, retry), await find_output_bucket(s3, settings, retry)
    found = [uploads] if settings.results_bucket == settings.bucket else [uploads, results]
    if uploads.ok:
        found += [await _check_notification(s3, settings), await _may_read(s3, settings)]
    if results.ok:
        found.append(await _may_write(s3, settings))
    return found


async def _find(s3: "S3Client", what: str, name: str, retry: RetryPolicy, *, setting: str) -> Finding:
    try:
        await retry_at_startup(lambda: s3.head_bucket(Bucket=name), retry)
    except ClientError as error:
        if is_not_found(error) or is_no_such_bucket(error):
            return wrong(what, f"there is no bucket {name}", remedy=f"{PROVISION}, or set {setting}")
        if is_wrong_region(error):
            region = error.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "another")
            message = f"the bucket {name} lies in the region {region}"
            return wrong(what, message, remedy=f"set AWS_REGION={region}, or {setting}")
        return refused(what, error, action="s3:ListBucket", on=name)
    except BotoCoreError as error:
        return refused(what, error, action="s3:ListBucket", on=name)
    return right(what, f"{name} exists")


async def _may_read(s3: "S3Client", settings: "Settings") -> Finding:
    bucket, key = settings.bucket, settings.uploads_prefix + NO_OBJECT
    return await permitted(
        "permission",
        "s3:GetObject",
        on=f"{bucket}/{settings.uploads_prefix}*",
        call=lambda: s3.head_object(Bucket=bucket, Key=key),
    )


async def _may_write(s3: "S3Client", settings: "Settings") -> Finding:
    bucket, key = settings.results_bucket, settings.processed_prefix + NO_OBJECT
    return await permitted(
        "permission",
        "s3:PutObject",
        on=f"{bucket}/{settings.processed_prefix}*",
        # Comes to nothing: it may only replace an object that is not there.
        call=lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"", IfMatch=NO_ETAG),
    )


async def _check_notification(s3: "S3Client", settings: "Settings") -> Finding:
    what, bucket = "notification", settings.bucket
    try:
        configured = await s3.get_bucket_notification_configuration(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        return refused(what, error, action="s3:GetBucketNotification", on=bucket)
    return _judge_notification(what, configured, settings)


def _judge_notification(
    what: str, configured: "NotificationConfigurationResponseTypeDef", settings: "Settings"
) -> Finding:
    queues = [
        each
        for each in configured.get("QueueConfigurations", [])
        if each["QueueArn"].rpartition(":")[2] == settings.queue_name
    ]
    prefixes = _announced_prefixes(queues)
    if settings.uploads_prefix in prefixes:
        return right(what, f"uploads under {settings.uploads_prefix} are announced to {settings.queue_name}")
    if settings.uploads_prefix in _announced_prefixes(configured.get("TopicConfigurations", [])):
        return right(what, f"uploads under {settings.uploads_prefix} are announced to an SNS topic")
    if "EventBridgeConfiguration" in set(configured):  # present, but empty
        return right(what, f"uploads to {settings.bucket} are announced to EventBridge")
    remedy = PROVISION
    if prefixes:
        message = (
            f"{settings.bucket} announces uploads under {' and '.join(repr(each) for each in prefixes)}, "
            f"not {settings.uploads_prefix!r}"
        )
        if all(prefixes):
            remedy = f"{PROVISION}, or set WORKER_UPLOADS_PREFIX={prefixes[0]}"
    else:
        message = (
            f"{settings.bucket} does not announce uploads to {settings.queue_name}: nothing would arrive"
        )
    return wrong(what, message, remedy=remedy)


def _announced_prefixes(
    configurations: "Sequence[QueueConfigurationOutputTypeDef | TopicConfigurationOutputTypeDef]",
) -> list[str]:
    """List the prefixes whose new objects are announced; an empty one means all objects."""
    prefixes = []
    for each in configurations:
        if any(event.startswith(CREATED) for event in each["Events"]):
            rules = each.get("Filter", {}).get("Key", {}).get("FilterRules", [])
            values = [rule.get("Value", "") for rule in rules if rule.get("Name", "").lower() == "prefix"]
            prefixes.append(values[0] if values else "")
    return prefixes
