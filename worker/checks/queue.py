"""Whether the queue and its dead letters are there, and set up as the settings say."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.errors import is_no_such_queue
from worker.aws.retry import RetryPolicy, retry_at_startup
from worker.checks.finding import PROVISION, Call, Finding, permitted, refused, right, wrong

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

    from worker.settings import Settings

NO_RECEIPT: Final = "image-worker-check"


async def find_queue(sqs: "SQSClient", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Find whether the queue exists."""
    return (await _find(sqs, "queue", settings.queue_name, retry, setting="WORKER_QUEUE_NAME"))[0]


async def find_dead_letter_queue(sqs: "SQSClient", settings: "Settings", retry: RetryPolicy) -> Finding:
    """Find whether the queue for dead letters exists."""
    name = settings.dead_letter_queue_name
    return (await _find(sqs, "dead-letter queue", name, retry, setting="WORKER_DEAD_LETTER_QUEUE_NAME"))[0]


async def check_queue(sqs: "SQSClient", settings: "Settings", retry: RetryPolicy) -> list[Finding]:
    """Check the queue, its attributes, its dead letters, and what may be done with its messages."""
    queue, url = await _find(sqs, "queue", settings.queue_name, retry, setting="WORKER_QUEUE_NAME")
    dead = await find_dead_letter_queue(sqs, settings, retry)
    if not queue.ok:
        return [queue, dead]
    attributes = await _check_attributes(sqs, url, settings)
    return [queue, dead, *attributes, *await _check_permissions(sqs, url, settings)]


async def _find(
    sqs: "SQSClient", what: str, name: str, retry: RetryPolicy, *, setting: str
) -> tuple[Finding, str]:
    """Find the queue, and its URL if it is there."""
    try:
        url = (await retry_at_startup(lambda: sqs.get_queue_url(QueueName=name), retry))["QueueUrl"]
    except (BotoCoreError, ClientError) as error:
        if is_no_such_queue(error):
            return wrong(what, f"there is no queue {name}", remedy=f"{PROVISION}, or set {setting}"), ""
        return refused(what, error, action="sqs:GetQueueUrl", on=name), ""
    return right(what, f"{name} exists"), url


async def _check_attributes(sqs: "SQSClient", url: str, settings: "Settings") -> list[Finding]:
    try:
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    except (BotoCoreError, ClientError) as error:
        return [refused("queue attributes", error, action="sqs:GetQueueAttributes", on=settings.queue_name)]
    attributes = answer.get("Attributes", {})
    return [
        _dead_letter_policy(json.loads(attributes.get("RedrivePolicy", "{}")), settings),
        _long_polling(int(attributes.get("ReceiveMessageWaitTimeSeconds", "0"))),
        _visibility_timeout(int(attributes.get("VisibilityTimeout", "30")), settings),
    ]


async def _check_permissions(sqs: "SQSClient", url: str, settings: "Settings") -> list[Finding]:
    calls: dict[str, Call] = {
        "sqs:ChangeMessageVisibility": lambda: sqs.change_message_visibility(
            QueueUrl=url, ReceiptHandle=NO_RECEIPT, VisibilityTimeout=0
        ),
        "sqs:DeleteMessage": lambda: sqs.delete_message(QueueUrl=url, ReceiptHandle=NO_RECEIPT),
    }
    on = settings.queue_name
    return [await permitted("permission", action, on=on, call=call) for action, call in calls.items()]


def _dead_letter_policy(policy: Mapping[str, str | int], settings: "Settings") -> Finding:
    what = "dead-letter policy"
    target = str(policy.get("deadLetterTargetArn", "")).rpartition(":")[2]
    tries = int(policy.get("maxReceiveCount", 0))
    if not target:
        message = (
            f"{settings.queue_name} has no dead-letter queue: a message that fails would be tried for days"
        )
        return wrong(what, message, remedy=PROVISION)
    if target != settings.dead_letter_queue_name:
        message = (
            f"dead letters of {settings.queue_name} go to {target}, not {settings.dead_letter_queue_name}"
        )
        remedy = f"{PROVISION}, or set WORKER_DEAD_LETTER_QUEUE_NAME={target}"
        return wrong(what, message, remedy=remedy)
    if tries <= settings.max_receives:
        message = (
            f"{settings.queue_name} makes a dead letter after {tries} receives, "
            f"before the worker has recorded the reason on try {settings.max_receives}"
        )
        remedy = f"{PROVISION}, or set WORKER_MAX_RECEIVES={max(1, tries - 3)}"
        return wrong(what, message, remedy=remedy, required=False)
    return right(what, f"after {tries} receives a message goes to {target}")


def _long_polling(wait_s: int) -> Finding:
    if wait_s == 0:
        message = "the queue answers at once when it is empty, which costs requests"
        return wrong("long polling", message, remedy=PROVISION, required=False)
    return right("long polling", f"the queue waits up to {wait_s} s for messages", required=False)


def _visibility_timeout(timeout_s: int, settings: "Settings") -> Finding:
    what = "visibility timeout"
    if timeout_s != settings.visibility_timeout_s:
        message = f"the queue hides a message for {timeout_s} s, not {settings.visibility_timeout_s}"
        remedy = f"{PROVISION}, or set WORKER_VISIBILITY_TIMEOUT_S={timeout_s}"
        return wrong(what, message, remedy=remedy, required=False)
    return right(what, f"a message stays hidden for {timeout_s} s", required=False)
