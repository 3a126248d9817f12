"""Check that the queue and the dead-letter queue exist and match the settings."""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.errors import is_no_such_queue
from worker.aws.retry import RetryPolicy, retry_at_startup
from worker.checks.finding import PROVISION, Call, Finding, check_permission, failed, passed, request_failed

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

    from worker.settings import Settings

_SENDERS: Final = frozenset({"events.amazonaws.com", "s3.amazonaws.com", "sns.amazonaws.com"})
"""Services that bring notifications of uploads to the queue, directly or not."""
INVALID_RECEIPT: Final = "image-worker-check"


async def find_queue(sqs: "SQSClient", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Check that the queue exists."""
    return (await _find(sqs, "queue", settings.queue_name, retry, setting="WORKER_QUEUE_NAME"))[0]


async def find_dead_letter_queue(sqs: "SQSClient", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Check that the dead-letter queue exists."""
    name = settings.dead_letter_queue_name
    return (await _find(sqs, "dead-letter queue", name, retry, setting="WORKER_DEAD_LETTER_QUEUE_NAME"))[0]


async def check_queue(sqs: "SQSClient", settings: "Settings", retry: RetryPolicy) -> list[Finding]:
    """Check the queue, its attributes, the dead-letter queue, and the permissions on messages."""
    queue, url = await _find(sqs, "queue", settings.queue_name, retry, setting="WORKER_QUEUE_NAME")
    dead = await find_dead_letter_queue(sqs, settings, retry)
    if not queue.ok:
        return [queue, dead]
    attributes = await _check_attributes(sqs, url, settings)
    return [queue, dead, *attributes, *await _check_permissions(sqs, url, settings)]


async def _find(
    sqs: "SQSClient", what: str, name: str, retry: RetryPolicy, *, setting: str
) -> tuple[Finding, str]:
    """Check that a queue exists; return the finding, and the URL or an empty string."""
    try:
        url = (await retry_at_startup(lambda: sqs.get_queue_url(QueueName=name), retry))["QueueUrl"]
    except (BotoCoreError, ClientError) as error:
        if is_no_such_queue(error):
            return failed(what, f"queue {name} does not exist", fix=f"{PROVISION}, or set {setting}"), ""
        return request_failed(what, error, action="sqs:GetQueueUrl", on=name), ""
    return passed(what, f"{name} exists"), url


async def _check_attributes(sqs: "SQSClient", url: str, settings: "Settings") -> list[Finding]:
    try:
        response = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    except (BotoCoreError, ClientError) as error:
        return [
            request_failed("queue attributes", error, action="sqs:GetQueueAttributes", on=settings.queue_name)
        ]
    attributes = response.get("Attributes", {})
    policy = json.loads(attributes.get("Policy", "{}"))
    return [
        _scan_results(policy, settings) if settings.require_scan else _queue_policy(policy, settings),
        _redrive_policy(json.loads(attributes.get("RedrivePolicy", "{}")), settings),
        _long_polling(int(attributes.get("ReceiveMessageWaitTimeSeconds", "0"))),
        _visibility_timeout(int(attributes.get("VisibilityTimeout", "30")), settings),
    ]


async def _check_permissions(sqs: "SQSClient", url: str, settings: "Settings") -> list[Finding]:
    calls: dict[str, Call] = {
        "sqs:ChangeMessageVisibility": lambda: sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=INVALID_RECEIPT, VisibilityTimeout=0
        ),
        "sqs:DeleteMessage": lambda: sqs.delete_message(QueueUrl=url, ReceiptHandle=INVALID_RECEIPT),
    }
    on = settings.queue_name
    return [await check_permission(action, on=on, call=call) for action, call in calls.items()]


def _scan_results(policy: Mapping[str, Any], settings: "Settings") -> Finding:
    what = "scan results"
    if not any(map(_allows_eventbridge, policy.get("Statement", []))):
        message = (
            f"images start from scan results (WORKER_REQUIRE_SCAN), but {settings.queue_name} receives none: "
            "its policy does not allow EventBridge to send messages"
        )
        return failed(what, message, fix=PROVISION)
    return passed(what, f"{settings.queue_name} receives scan results from EventBridge")


def _queue_policy(policy: Mapping[str, Any], settings: "Settings") -> Finding:
    what, queue, bucket = "queue policy", settings.queue_name, settings.bucket
    senders = {
        service
        for statement in policy.get("Statement", [])
        if _allows_bucket(statement, bucket)
        for service in _senders(statement)
    }
    if not senders & _SENDERS:
        message = (
            f"the policy of {queue} does not allow S3 to send notifications of {bucket}: "
            "no image would be processed"
        )
        return failed(what, message, fix=PROVISION)
    return passed(what, f"{' and '.join(sorted(senders & _SENDERS))} may send messages to {queue}")


def _allows_bucket(statement: Mapping[str, Any], bucket: str) -> bool:
    """Return whether a statement's source, if it has one and S3 is the sender, is the bucket."""
    if "s3.amazonaws.com" not in _senders(statement):
        return True  # SNS and EventBridge have topics and rules as their sources
    sources = [
        arn
        for operator, conditions in statement.get("Condition", {}).items()
        if operator in {"ArnEquals", "ArnLike", "StringEquals", "StringLike"}
        for key, value in conditions.items()
        if key.lower() == "aws:sourcearn"
        for arn in _as_list(value)
    ]
    return not sources or any(fnmatchcase(bucket, arn.rpartition(":")[2]) for arn in sources)


def _allows_eventbridge(statement: Mapping[str, Any]) -> bool:
    return "events.amazonaws.com" in _senders(statement)


def _senders(statement: Mapping[str, Any]) -> list[str]:
    """Return the AWS services that a statement allows to send messages."""
    principal = statement.get("Principal")
    sends = any(
        action.lower() in {"sqs:sendmessage", "sqs:*"} for action in _as_list(statement.get("Action", []))
    )
    if statement.get("Effect") != "Allow" or not sends or not isinstance(principal, dict):
        return []
    return _as_list(principal.get("Service", []))


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _redrive_policy(policy: Mapping[str, str | int], settings: "Settings") -> Finding:
    what = "redrive policy"
    target = str(policy.get("deadLetterTargetArn", "")).rpartition(":")[2]
    max_receives = int(policy.get("maxReceiveCount", 0))
    if not target:
        message = (
            f"{settings.queue_name} has no dead-letter queue: a failing message would be received for days"
        )
        return failed(what, message, fix=PROVISION)
    if target != settings.dead_letter_queue_name:
        message = (
            f"dead letters of {settings.queue_name} go to {target}, not {settings.dead_letter_queue_name}"
        )
        fix = f"{PROVISION}, or set WORKER_DEAD_LETTER_QUEUE_NAME={target}"
        return failed(what, message, fix=fix)
    if max_receives <= settings.max_receives:
        message = (
            f"{settings.queue_name} moves a message to the dead-letter queue after {max_receives} receives, "
            f"but the worker records the reason on receive {settings.max_receives}"
        )
        fix = f"{PROVISION}, or set WORKER_MAX_RECEIVES={max(1, max_receives - 3)}"
        return failed(what, message, fix=fix, required=False)
    return passed(what, f"a message moves to {target} after {max_receives} receives")


def _long_polling(wait_s: int) -> Finding:
    if wait_s == 0:
        message = "the queue does not use long polling, so an empty queue costs many requests"
        return failed("long polling", message, fix=PROVISION, required=False)
    return passed("long polling", f"a receive waits up to {wait_s} s for messages", required=False)


def _visibility_timeout(timeout_s: int, settings: "Settings") -> Finding:
    what = "visibility timeout"
    if timeout_s != settings.visibility_timeout_s:
        message = f"the visibility timeout is {timeout_s} s, not {settings.visibility_timeout_s} s"
        fix = f"{PROVISION}, or set WORKER_VISIBILITY_TIMEOUT_S={timeout_s}"
        return failed(what, message, fix=fix, required=False)
    return passed(what, f"the visibility timeout is {timeout_s} s", required=False)
