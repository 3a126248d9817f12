"""Change sets of CloudFormation that compare a template with the resources themselves."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError
from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay, wait_exponential

from worker.aws.errors import error_code
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_cloudformation.literals import CapabilityType
    from types_aiobotocore_cloudformation.type_defs import (
        DescribeChangeSetOutputTypeDef,
        ParameterTypeDef,
        ResourceChangeTypeDef,
    )

REVERT_DRIFT: Final = "REVERT_DRIFT"
FIRST_POLL_S: Final = 0.02
MAX_POLL_S: Final = 5.0
_IN_PROGRESS: Final = frozenset({"CREATE_PENDING", "CREATE_IN_PROGRESS"})
NO_CHANGES: Final = ("didn't contain changes", "No updates are to be performed")
"""Parts of the reason of a change set that failed because there is nothing to change."""
NOTIFICATIONS: Final = "NotificationConfiguration"
_HOLDS_DATA: Final = frozenset({"Bucket", "OutputBucket", "Queue", "DeadLetterQueue", "Table", "Key"})
"""Logical ids of the resources whose replacement would start with empty ones."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """
    A change set that was created and not executed.

    Attributes:
        arn: ARN of the change set.
        changes: What it would change; empty if nothing.
        compares_resources: Whether the template was compared with the resources themselves (AWS), or only
            with that of the last deployment (emulators).
    """

    arn: str
    changes: "Sequence[ResourceChangeTypeDef]"
    compares_resources: bool

    def describe(self) -> list[str]:
        """Return a line for each change: `Queue: modify VisibilityTimeout`."""
        return [_line(change) for change in self.changes]

    def only_restores_notifications(self) -> bool:
        """Return whether all that it would change are notifications of the upload bucket."""
        return bool(self.changes) and all(
            change.get("LogicalResourceId") == "Bucket" and _properties(change) == {NOTIFICATIONS}
            for change in self.changes
        )

    def lost_with_data(self, renamed: frozenset[str]) -> list[str]:
        """
        Return the resources with data that it would replace or remove, although nobody has renamed them.

        Args:
            renamed: Logical ids of resources whose name is another one than in the last deployment.
        """
        return [
            f"{name} ({change.get('PhysicalResourceId', '')})"
            for change in self.changes
            if (name := change.get("LogicalResourceId", "")) in _HOLDS_DATA - renamed
            and change.get("ResourceDriftStatus") != "DELETED"
            and (change.get("Replacement") == "True" or change.get("Action") == "Remove")
        ]


async def create_change_set(
    cloudformation: "CloudFormationClient",
    *,
    stack_id: str,
    template: str,
    parameters: "Sequence[ParameterTypeDef]",
    capabilities: "Sequence[CapabilityType]",
    retry: RetryPolicy,
    timeout_s: float,
) -> ChangeSet:
    """
    Create a change set that would also revert drift, and wait until it is complete.

    Args:
        cloudformation: CloudFormation client.
        stack_id: ARN of the stack.
        template: The template.
        parameters: All parameters of the template.
        capabilities: Capabilities that the template needs.
        retry: Retry policy for the requests that follow its progress.
        timeout_s: How long to wait.

    Raises:
        ConfigurationError: CloudFormation could not create it, or not in time.
    """
    name = f"image-worker-{secrets.token_hex(8)}"
    arguments: dict[str, Any] = {
        "StackName": stack_id,
        "ChangeSetName": name,
        "ChangeSetType": "UPDATE",
        "TemplateBody": template,
        "Parameters": parameters,
        "Capabilities": capabilities,
    }
    try:
        created = await cloudformation.create_change_set(**arguments, DeploymentMode=REVERT_DRIFT)
    except ClientError as error:
        if not _does_not_know_the_mode(error):
            raise
        created = await cloudformation.create_change_set(**arguments)
    described = await _completed(cloudformation, created["Id"], retry=retry, timeout_s=timeout_s)
    # Emulators ignore parameters that they do not know: only the response shows which change set this is.
    compares_resources = described.get("DeploymentMode") == REVERT_DRIFT
    changes = [each["ResourceChange"] for each in described.get("Changes", []) if "ResourceChange" in each]
    if described["Status"] == "FAILED":
        reason = described.get("StatusReason", "CloudFormation gives no reason")
        if not any(text in reason for text in NO_CHANGES):
            await cloudformation.delete_change_set(ChangeSetName=created["Id"])
            message = f"CloudFormation could not prepare the update of the stack: {explained(reason)}"
            raise ConfigurationError(message)
        changes = []
    return ChangeSet(created["Id"], changes, compares_resources)


def _does_not_know_the_mode(error: ClientError) -> bool:
    return error_code(error) == "ValidationError" and "DeploymentMode" in str(error)


async def _completed(
    cloudformation: "CloudFormationClient", arn: str, *, retry: RetryPolicy, timeout_s: float
) -> "DescribeChangeSetOutputTypeDef":
    polling = AsyncRetrying(
        retry=retry_if_result(lambda each: each["Status"] in _IN_PROGRESS),
        wait=wait_exponential(multiplier=FIRST_POLL_S, max=MAX_POLL_S),
        stop=stop_after_delay(timeout_s),
    )

    async def poll() -> "DescribeChangeSetOutputTypeDef":
        return await call_with_retry(
            lambda: cloudformation.describe_change_set(ChangeSetName=arn), retry, what="describe the changes"
        )

    try:
        described: Any = await polling(poll)  # tenacity does not keep the type
    except RetryError as error:
        message = f"the change set {arn} is still in progress after {timeout_s:g} s; provision again later"
        raise ConfigurationError(message) from error
    token = described.get("NextToken")
    while token:
        page = await cloudformation.describe_change_set(ChangeSetName=arn, NextToken=token)
        described["Changes"] = [*described["Changes"], *page["Changes"]]
        token = page.get("NextToken")
    complete: DescribeChangeSetOutputTypeDef = described
    return complete


INDEX_RULES: Final = ("Cannot update GSI", "more than one GSI", "only one index", "Subscriber limit exceeded")
"""Parts of the reasons by which CloudFormation and DynamoDB reject changes of indexes."""


def explained(reason: str) -> str:
    """Return the reason of a failure, with what to do if it is about indexes."""
    if any(text in reason for text in INDEX_RULES):
        return (
            f"{reason.rstrip('. ')}; DynamoDB cannot change an index, and an update creates or deletes one: "
            "a changed index gets a new name, in a deployment of its own "
            "(docs/operations/upgrade.md#change-an-index)"
        )
    return reason


def _properties(change: "ResourceChangeTypeDef") -> set[str]:
    """Return the properties of the resource that a change would set."""
    targets = [detail.get("Target", {}) for detail in change.get("Details", [])]
    paths = [target.get("Path", "").removeprefix("/Properties/").partition("/")[0] for target in targets]
    return {path or target.get("Name", "") for path, target in zip(paths, targets, strict=True)} - {""}


def _line(change: "ResourceChangeTypeDef") -> str:
    action = change.get("Action", "").lower()
    if action == "syncwithactual":
        action = "keep as it is"
    line = f"{change.get('LogicalResourceId', '')} ({change.get('ResourceType', '')}): {action}"
    if properties := _properties(change):
        line += f" {', '.join(sorted(properties))}"
    replaced: Mapping[str, str] = {"True": ", replaces it", "Conditional": ", may replace it"}
    return line + replaced.get(change.get("Replacement", ""), "")
