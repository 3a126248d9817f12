"""Check the buckets and the notification of uploads."""

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.errors import is_no_such_bucket, is_not_found, is_wrong_region
from worker.aws.retry import RetryPolicy, retry_at_startup
from worker.checks.finding import PROVISION, Finding, check_permission, failed, passed, request_failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import (
        NotificationConfigurationResponseTypeDef,
        QueueConfigurationOutputTypeDef,
        TopicConfigurationOutputTypeDef,
    )

    from worker.settings import Settings

MISSING_OBJECT: Final = ".image-worker-check"
MISSING_ETAG: Final = '"00000000000000000000000000000000"'
CREATED_EVENTS: Final = "s3:ObjectCreated:"


async def find_bucket(s3: "S3Client", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Check that the upload bucket exists and is accessible."""
    return await _find(s3, "bucket", settings.bucket, retry, setting="WORKER_BUCKET")


async def find_output_bucket(s3: "S3Client", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Check that the bucket for results exists and is accessible."""
    return await _find(s3, "output bucket", settings.results_bucket, retry, setting="WORKER_OUTPUT_BUCKET")


async def check_bucket(s3: "S3Client", settings: "Settings", retry: RetryPolicy) -> list[Finding]:
    """Check the buckets, the notification of uploads, and the permissions on objects."""
    uploads, results = await find_bucket(s3, settings, retry), await find_output_bucket(s3, settings, retry)
    found = [uploads] if settings.results_bucket == settings.bucket else [uploads, results]
    if uploads.ok:
        found += [await _check_notification(s3, settings), await _may_read(s3, settings)]
    if results.ok:
        found += [await _may_write(s3, settings), await _may_delete(s3, settings)]
    return found


async def _find(s3: "S3Client", what: str, name: str, retry: RetryPolicy, *, setting: str) -> Finding:
    try:
        await retry_at_startup(lambda: s3.head_bucket(Bucket=name), retry)
    except ClientError as error:
        if is_not_found(error) or is_no_such_bucket(error):
            return failed(what, f"bucket {name} does not exist", fix=f"{PROVISION}, or set {setting}")
        if is_wrong_region(error):
            region = error.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "another")
            message = f"bucket {name} is in region {region}"
            return failed(what, message, fix=f"set AWS_REGION={region}, or {setting}")
        return request_failed(what, error, action="s3:ListBucket", on=name)
    except BotoCoreError as error:
        return request_failed(what, error, action="s3:ListBucket", on=name)
    return passed(what, f"{name} exists")


async def _may_read(s3: "S3Client", settings: "Settings") -> Finding:
    bucket, prefix = settings.bucket, settings.upload_keys.prefix
    key = prefix + MISSING_OBJECT
    return await check_permission(
        "s3:GetObject",
        on=f"{bucket}/{prefix}*",
        call=lambda: s3.head_object(Bucket=bucket, Key=key),
    )


async def _may_write(s3: "S3Client", settings: "Settings") -> Finding:
    bucket, key = settings.results_bucket, settings.processed_prefix + MISSING_OBJECT
    return await check_permission(
        "s3:PutObject",
        on=f"{bucket}/{settings.processed_prefix}*",
        # Has no effect: it could only replace an object with an ETag that no object has.
        call=lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"", IfMatch=MISSING_ETAG),
    )


async def _may_delete(s3: "S3Client", settings: "Settings") -> Finding:
    bucket, key = settings.results_bucket, settings.processed_prefix + MISSING_OBJECT
    return await check_permission(
        "s3:DeleteObject",
        on=f"{bucket}/{settings.processed_prefix}*",
        # Has no effect either, for the same reason.
        call=lambda: s3.delete_object(Bucket=bucket, Key=key, IfMatch=MISSING_ETAG),
    )


async def _check_notification(s3: "S3Client", settings: "Settings") -> Finding:
    what, bucket = "notification", settings.bucket
    try:
        configured = await s3.get_bucket_notification_configuration(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        return request_failed(what, error, action="s3:GetBucketNotification", on=bucket)
    return _notification_finding(what, configured, settings)


def _notification_finding(
    what: str, configured: "NotificationConfigurationResponseTypeDef", settings: "Settings"
) -> Finding:
    queues = [
        each
        for each in configured.get("QueueConfigurations", [])
        if each["QueueArn"].rpartition(":")[2] == settings.queue_name
    ]
    prefix, prefixes = settings.upload_keys.prefix, _notified_prefixes(queues)
    notifies_eventbridge = "EventBridgeConfiguration" in set(configured)  # present, but empty
    if settings.require_scan:
        return _scan_finding(what, settings, notifies_eventbridge=notifies_eventbridge)
    if prefix in prefixes:
        return passed(what, f"S3 notifies {settings.queue_name} of uploads under {prefix}")
    if prefix in _notified_prefixes(configured.get("TopicConfigurations", [])):
        return passed(what, f"S3 notifies an SNS topic of uploads under {prefix}")
    if notifies_eventbridge:
        return passed(what, f"S3 notifies EventBridge of uploads to {settings.bucket}")
    fix = PROVISION
    if prefixes:
        message = (
            f"{settings.bucket} notifies of uploads under {' and '.join(repr(each) for each in prefixes)}, "
            f"not under {prefix!r}"
        )
        if all(prefixes) and prefix == settings.uploads_prefix:
            fix = f"{PROVISION}, or set WORKER_UPLOADS_PREFIX={prefixes[0]}"
    else:
        message = (
            f"{settings.bucket} does not notify {settings.queue_name} of uploads: no image would be processed"
        )
    return failed(what, message, fix=fix)


def _scan_finding(what: str, settings: "Settings", *, notifies_eventbridge: bool) -> Finding:
    bucket = settings.bucket
    if not notifies_eventbridge:
        message = (
            f"images start from scan results (WORKER_REQUIRE_SCAN), but {bucket} does not notify EventBridge "
            "of uploads: GuardDuty would scan none, and notifications of uploads alone start no image"
        )
        return failed(what, message, fix=PROVISION)
    return passed(what, f"S3 notifies EventBridge of uploads to {bucket}, so that GuardDuty can scan them")


def _notified_prefixes(
    configurations: "Sequence[QueueConfigurationOutputTypeDef | TopicConfigurationOutputTypeDef]",
) -> list[str]:
    """Return the key prefixes with notifications for new objects; an empty prefix means all objects."""
    prefixes = []
    for each in configurations:
        if any(event.startswith(CREATED_EVENTS) for event in each["Events"]):
            rules = each.get("Filter", {}).get("Key", {}).get("FilterRules", [])
            values = [rule.get("Value", "") for rule in rules if rule.get("Name", "").lower() == "prefix"]
            prefixes.append(values[0] if values else "")
    return prefixes
