"""Attributes and policies of the queue and the dead-letter queue."""

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from worker.aws.errors import is_no_such_queue
from worker.aws.repairs import Repair

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

LONG_POLLING_S: Final = 20
RETENTION_S: Final = 345_600
DEAD_LETTER_RETENTION_S: Final = 1_209_600
DATA_KEY_S: Final = 3600


class Queues:
    """
    Keeps the attributes of the queue and of the dead-letter queue.

    Args:
        sqs: SQS client.
        bucket: Name of the bucket whose notifications the queue receives.
        visibility_timeout_s: Visibility timeout of the queue in seconds.
        max_receive_count: Receives after which SQS moves a message to the dead-letter queue.
        requires_scan: Whether an EventBridge rule sends the results of malware scans to the queue.
    """

    def __init__(
        self,
        sqs: "SQSClient",
        *,
        bucket: str,
        visibility_timeout_s: int,
        max_receive_count: int,
        requires_scan: bool,
    ) -> None:
        self._sqs, self._bucket, self._requires_scan = sqs, bucket, requires_scan
        self._visibility_timeout_s, self._max_receive_count = visibility_timeout_s, max_receive_count

    async def find(self, *, queue_arn: str, dead_letter_arn: str, key_arn: str) -> list[Repair]:
        """Return the repairs, those of the dead-letter queue first, which the queue refers to."""
        encryption = {"KmsMasterKeyId": key_arn, "KmsDataKeyReusePeriodSeconds": str(DATA_KEY_S)}
        sources = {"redrivePermission": "byQueue", "sourceQueueArns": [queue_arn]}
        dead_letters = {
            "MessageRetentionPeriod": str(DEAD_LETTER_RETENTION_S),
            "RedriveAllowPolicy": json.dumps(sources),
            **encryption,
        }
        redrive = {"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": self._max_receive_count}
        messages = {
            "ReceiveMessageWaitTimeSeconds": str(LONG_POLLING_S),
            "VisibilityTimeout": str(self._visibility_timeout_s),
            "MessageRetentionPeriod": str(RETENTION_S),
            "RedrivePolicy": json.dumps(redrive),
            **encryption,
        }
        return [
            *await self._find(dead_letter_arn, dead_letters, [_tls_only(dead_letter_arn)]),
            *await self._find(queue_arn, messages, self._statements(queue_arn)),
        ]

    def _statements(self, queue_arn: str) -> list[dict[str, Any]]:
        _, partition, _, region, account, queue_name = queue_arn.split(":")
        send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue_arn}
        statements: list[dict[str, Any]] = [
            {
                **send,
                "Sid": "AllowS3Notifications",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Condition": {
                    "ArnEquals": {"aws:SourceArn": f"arn:{partition}:s3:::{self._bucket}"},
                    "StringEquals": {"aws:SourceAccount": account},
                },
            }
        ]
        if self._requires_scan:
            rule = f"arn:{partition}:events:{region}:{account}:rule/{queue_name}-scan-results"
            statements.append(
                {
                    **send,
                    "Sid": "AllowScanResults",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
                }
            )
        return [*statements, _tls_only(queue_arn)]

    async def _find(
        self, arn: str, wanted: Mapping[str, str], statements: list[dict[str, Any]]
    ) -> list[Repair]:
        name = arn.rpartition(":")[2]
        try:
            url = (await self._sqs.get_queue_url(QueueName=name))["QueueUrl"]
        except ClientError as error:
            if not is_no_such_queue(error):
                raise
            policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
            attributes: Any = {**wanted, "Policy": policy}  # the stubs have a literal for each name
            create = partial(self._sqs.create_queue, QueueName=name, Attributes=attributes)
            return [Repair(f"queue {name}: create it again, without the messages that it had", create)]
        response = await self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        found: Any = response.get("Attributes", {})
        changed: Any = {
            attribute: value
            for attribute, value in wanted.items()
            if _parsed(found.get(attribute, "")) != _parsed(value)
        }
        policy_found = json.loads(found.get("Policy") or "{}")
        others = [
            each for each in policy_found.get("Statement", []) if each not in statements and not _is_of(each)
        ]
        if [each for each in statements if each not in policy_found.get("Statement", [])]:
            document = {"Version": "2012-10-17", "Statement": [*statements, *others]}
            changed["Policy"] = json.dumps(document)
        if not changed:
            return []
        apply = partial(self._sqs.set_queue_attributes, QueueUrl=url, Attributes=changed)
        return [Repair(f"queue {name}: set {', '.join(sorted(changed))}", apply)]


_SIDS: Final = frozenset({"AllowS3Notifications", "AllowScanResults", "DenyInsecureTransport"})


def _is_of(statement: Mapping[str, Any]) -> bool:
    """Return whether a statement is one of the template, with other values than now."""
    return statement.get("Sid") in _SIDS


def _tls_only(arn: str) -> dict[str, Any]:
    return {
        "Sid": "DenyInsecureTransport",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": arn,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def _parsed(value: str) -> object:
    """Return an attribute in a comparable form: numbers in JSON may be strings."""
    if not value.startswith("{"):
        return value
    document = json.loads(value)
    return {name: each if isinstance(each, list) else str(each) for name, each in document.items()}
