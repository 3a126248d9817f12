"""The notification of uploads, among the notifications that other programs have configured."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from worker.aws.repairs import Repair
from worker.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

CREATED_EVENTS: Final = "s3:ObjectCreated:*"
_LISTS: Final = ("QueueConfigurations", "TopicConfigurations", "LambdaFunctionConfigurations")
_EVENTBRIDGE: Final = "EventBridgeConfiguration"
_OVERLAP: Final = "overlap"
"""What S3's error message contains if two notifications have the same events and overlapping prefixes."""


class Notification:
    """
    Keeps the notification of uploads in a bucket, and those of others.

    S3 has one notification configuration for each bucket: a request by another program, which does not read
    it first, removes the notification of uploads.

    Args:
        s3: S3 client.
        bucket: Name of the upload bucket.
        prefix: Key prefix of uploads.
        through_eventbridge: Whether uploads are sent to EventBridge, for malware scans, instead of the queue.
    """

    def __init__(self, s3: "S3Client", *, bucket: str, prefix: str, through_eventbridge: bool) -> None:
        self._s3, self._bucket, self._prefix = s3, bucket, prefix
        self._through_eventbridge = through_eventbridge
        self._others: dict[str, Any] = {}

    async def find_before_update(self, queue_arn: str, *, sent_to_eventbridge: bool) -> list[Repair]:
        """
        Remember the notifications of other programs; return the repair if the one of uploads is missing.

        An update of the stack removes the others for a moment, because they are not in its template: it is
        tried first whether S3 accepts both. Without others, there is nothing to do before the update.

        Args:
            queue_arn: ARN of the queue.
            sent_to_eventbridge: Whether the last deployment has turned EventBridge on, for malware scans.
        """
        configured = await self._configured()
        self._others = self._of_others(configured, queue_arn)
        if sent_to_eventbridge:
            self._others.pop(_EVENTBRIDGE, None)
        return self._difference(configured, queue_arn) if self._others else []

    async def find(self, queue_arn: str) -> list[Repair]:
        """Return the repair if the notification of uploads, or one that was remembered, is missing."""
        configured = await self._configured()
        self._others = self._others or self._of_others(configured, queue_arn)
        return self._difference(configured, queue_arn)

    def _difference(self, configured: Mapping[str, Any], queue_arn: str) -> list[Repair]:
        wanted = self._merged(queue_arn)
        if _comparable(configured) == _comparable(wanted):
            return []
        target = "EventBridge" if self._through_eventbridge else queue_arn.rpartition(":")[2]
        description = f"bucket {self._bucket}: notify {target} of uploads under {self._prefix!r}"
        if self._others:
            description += f", and keep the notifications of {_named(self._others)}"
        return [Repair(description, partial(self._put, wanted))]

    async def _configured(self) -> Mapping[str, Any]:
        response = await self._s3.get_bucket_notification_configuration(Bucket=self._bucket)
        return {name: value for name, value in response.items() if name in {*_LISTS, _EVENTBRIDGE}}

    def _of_others(self, configured: Mapping[str, Any], queue_arn: str) -> dict[str, Any]:
        others: dict[str, Any] = {}
        for name in _LISTS:
            if kept := [each for each in configured.get(name, []) if each.get("QueueArn") != queue_arn]:
                others[name] = kept
        if _EVENTBRIDGE in configured and not self._through_eventbridge:
            others[_EVENTBRIDGE] = {}
        return others

    def _merged(self, queue_arn: str) -> dict[str, Any]:
        if self._through_eventbridge:
            return {**self._others, _EVENTBRIDGE: {}}
        uploads: dict[str, Any] = {"QueueArn": queue_arn, "Events": [CREATED_EVENTS]}
        if self._prefix:
            uploads["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": self._prefix}]}}
        queues = [*self._others.get("QueueConfigurations", []), uploads]
        return {**self._others, "QueueConfigurations": queues}

    async def _put(self, wanted: Any) -> None:  # noqa: ANN401 - what S3 has returned, as its request type
        try:
            await self._s3.put_bucket_notification_configuration(
                Bucket=self._bucket,
                NotificationConfiguration=wanted,
                SkipDestinationValidation=True,  # the targets of others are not checked here
            )
        except ClientError as error:
            if _OVERLAP not in str(error).lower():
                raise
            message = (
                f"bucket {self._bucket} notifies {_named(self._others)} of the same events under an "
                "overlapping prefix, and S3 accepts one target for them; the notifications were not changed: "
                "let both receive uploads through an SNS topic or EventBridge, or remove the other one"
            )
            raise ConfigurationError(message) from error


def _named(configured: Mapping[str, Any]) -> str:
    """Return the targets of notifications: `arn:aws:lambda:..., EventBridge`."""
    targets = [
        each.get("QueueArn") or each.get("TopicArn") or each.get("LambdaFunctionArn")
        for name in _LISTS
        for each in configured.get(name, [])
    ]
    return ", ".join([*targets, *(["EventBridge"] if _EVENTBRIDGE in configured else [])])


def _comparable(configured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a configuration in a form that is equal for equal notifications; ids and order do not matter."""
    entries = [(_EVENTBRIDGE,)] if _EVENTBRIDGE in configured else []
    for name in _LISTS:
        for each in configured.get(name, []):
            rules = each.get("Filter", {}).get("Key", {}).get("FilterRules", [])
            entries.append(
                (
                    name,
                    str(each.get("QueueArn") or each.get("TopicArn") or each.get("LambdaFunctionArn")),
                    *sorted(each["Events"]),
                    *sorted(f"{rule['Name'].lower()}={rule['Value']}" for rule in rules),
                )
            )
    return sorted(entries)
