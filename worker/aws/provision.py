"""Deploy the storage stack (`config/cloudformation/storage.yaml`): buckets, queues and table."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay, wait_exponential

from worker.aws.error_explanation import explain
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_cloudformation.literals import CapabilityType
    from types_aiobotocore_cloudformation.type_defs import ParameterTypeDef, StackTypeDef
    from types_aiobotocore_dynamodb import DynamoDBClient

STACK_NAME: Final = "image-worker-storage"
_PACKAGE: Final = Path(__file__).parents[1]
_PACKAGED: Final = _PACKAGE / "data" / "storage.yaml"
STORAGE_TEMPLATE: Final = (
    _PACKAGED if _PACKAGED.exists() else _PACKAGE.parent / "config" / "cloudformation" / "storage.yaml"
)
"""The wheel contains a copy of the template; a checkout has the original only."""
CAPABILITIES: "Final[tuple[CapabilityType, ...]]" = ("CAPABILITY_IAM",)
"""CloudFormation requires this acknowledgement, because the template creates IAM policies."""

DEPLOY_TIMEOUT_S: Final = 900.0
"""AWS takes a minute for a table with three indexes, and longer to add an index to a full one."""

FIRST_POLL_S: Final = 0.02
MAX_POLL_S: Final = 5.0

NEVER_COMPLETED: Final = frozenset(
    {"CREATE_FAILED", "DELETE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS"}
)
"""Statuses in which CloudFormation does not update a stack."""
SETTING_OF: Final = {
    "Bucket": "WORKER_BUCKET",
    "OutputBucket": "WORKER_OUTPUT_BUCKET",
    "Queue": "WORKER_QUEUE_NAME",
    "DeadLetterQueue": "WORKER_DEAD_LETTER_QUEUE_NAME",
    "Table": "WORKER_TABLE_NAME",
}
"""Logical id of a resource in the template -> the setting with its name."""

Done: TypeAlias = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """
    Result of a deployment.

    Attributes:
        stack_name: Name of the stack.
        done: What happened to the stack.
        outputs: Outputs of the stack, by name.
    """

    stack_name: str
    done: Done
    outputs: Mapping[str, str]


async def deploy(
    cloudformation: "CloudFormationClient",
    dynamodb: "DynamoDBClient",
    parameters: Mapping[str, str],
    *,
    retry: RetryPolicy,
    stack_name: str = STACK_NAME,
    timeout_s: float = DEPLOY_TIMEOUT_S,
) -> Deployment:
    """
    Create or update the storage stack. Safe to repeat.

    Args:
        cloudformation: CloudFormation client.
        dynamodb: DynamoDB client, for the table's TTL.
        parameters: Parameters of the template, by name. Others keep the value that the stack has.
        retry: Retry policy for the requests that follow the progress of the stack.
        stack_name: Name of the stack.
        timeout_s: How long to wait for CloudFormation to finish.

    Raises:
        ConfigurationError: AWS is unreachable or rejected a request, the stack failed (with the first reason
            that CloudFormation reports), or it did not finish in time.
        TransientError: AWS became unavailable during the deployment.
    """
    try:
        stack = await _describe(cloudformation, stack_name)
        if stack is not None:  # another deployment may be in progress
            stack = await _finished(cloudformation, stack["StackId"], retry=retry, timeout_s=timeout_s)
        if stack is None or stack["StackStatus"] == "DELETE_COMPLETE":
            done, stack_id = await _create(cloudformation, parameters, stack_name)
        else:
            done, stack_id = await _update(cloudformation, parameters, stack)
        stack = await _finished(cloudformation, stack_id, retry=retry, timeout_s=timeout_s)
        if done != "unchanged" and stack["StackStatus"] not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            reason = await _first_failure(cloudformation, stack_id)
            message = f"the stack {stack_name} could not be {done} ({stack['StackStatus']}): {reason}"
            raise ConfigurationError(message)
        await _ensure_ttl(dynamodb, parameters["TableName"])
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(explain(error)) from error
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    return Deployment(stack_name=stack_name, done=done, outputs=outputs)


async def _create(
    cloudformation: "CloudFormationClient", parameters: Mapping[str, str], stack_name: str
) -> tuple[Done, str]:
    created = await cloudformation.create_stack(
        StackName=stack_name,
        TemplateBody=STORAGE_TEMPLATE.read_text(encoding="utf-8"),
        Parameters=_as_list(parameters),
        Capabilities=CAPABILITIES,
        OnFailure="DELETE",  # a stack whose creation failed could never be updated
    )
    return "created", created["StackId"]


async def _update(
    cloudformation: "CloudFormationClient", parameters: Mapping[str, str], stack: "StackTypeDef"
) -> tuple[Done, str]:
    stack_name, stack_id = stack["StackName"], stack["StackId"]
    if stack["StackStatus"] in NEVER_COMPLETED:
        message = (
            f"the stack {stack_name} was never completed ({stack['StackStatus']}) and cannot be updated; "
            f"delete it with `aws cloudformation delete-stack --stack-name {stack_name}` and provision again"
        )
        raise ConfigurationError(message)
    template = STORAGE_TEMPLATE.read_text(encoding="utf-8")
    in_template = (await cloudformation.validate_template(TemplateBody=template))["Parameters"]
    kept = {parameter["ParameterKey"] for parameter in stack.get("Parameters", [])} - parameters.keys()
    kept &= {parameter["ParameterKey"] for parameter in in_template}
    all_parameters = _as_list(parameters)
    all_parameters += [{"ParameterKey": name, "UsePreviousValue": True} for name in sorted(kept)]
    try:
        await cloudformation.update_stack(
            StackName=stack_id, TemplateBody=template, Parameters=all_parameters, Capabilities=CAPABILITIES
        )
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return "unchanged", stack_id
        raise
    return "updated", stack_id


def _as_list(parameters: Mapping[str, str]) -> "list[ParameterTypeDef]":
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]


async def _describe(cloudformation: "CloudFormationClient", name_or_id: str) -> "StackTypeDef | None":
    try:
        described = await cloudformation.describe_stacks(StackName=name_or_id)
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return next(iter(described["Stacks"]), None)


async def _finished(
    cloudformation: "CloudFormationClient", stack_id: str, *, retry: RetryPolicy, timeout_s: float
) -> "StackTypeDef":
    """Wait until no operation on the stack is in progress; return the stack."""
    polling = AsyncRetrying(
        retry=retry_if_result(_is_in_progress),
        wait=wait_exponential(multiplier=FIRST_POLL_S, max=MAX_POLL_S),
        stop=stop_after_delay(timeout_s),
    )

    async def poll() -> "StackTypeDef":
        return await call_with_retry(
            lambda: _describe_or_deleted(cloudformation, stack_id), retry, what="describe the stack"
        )

    try:
        return await polling(poll)
    except RetryError as error:
        message = (
            f"the stack {stack_id} is still in progress after {timeout_s:g} s; "
            "watch it in the CloudFormation console, and provision again when it has finished"
        )
        raise ConfigurationError(message) from error


def _is_in_progress(stack: "StackTypeDef") -> bool:
    status = stack["StackStatus"]
    return status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"  # waits for a person


async def _describe_or_deleted(cloudformation: "CloudFormationClient", stack_id: str) -> "StackTypeDef":
    stack = await _describe(cloudformation, stack_id)
    if stack is None:
        return {"StackName": stack_id, "StackStatus": "DELETE_COMPLETE", "CreationTime": datetime.now(UTC)}
    return stack


async def _first_failure(cloudformation: "CloudFormationClient", stack_id: str) -> str:
    """Return the first failure of the stack's last operation, which caused the later ones."""
    resource, reason = stack_id, "CloudFormation gives no reason"
    for event in (await cloudformation.describe_stack_events(StackName=stack_id))["StackEvents"]:
        event_reason = event.get("ResourceStatusReason", "")
        if event_reason and event["ResourceStatus"].endswith("_FAILED"):
            resource, reason = event["LogicalResourceId"], event_reason
        if event_reason == "User Initiated":  # the operation started here; events are newest first
            break
    if "DescribeEvents" in reason:  # rejected before any resource was created: another call has the reason
        events = await cloudformation.describe_events(StackName=stack_id, Filters={"FailedEvents": True})
        for failed in events["OperationEvents"]:
            if "ValidationStatusReason" in failed:
                resource, reason = failed["LogicalResourceId"], failed["ValidationStatusReason"]
                break
    if "already exists" in reason.lower() or "AlreadyExists" in reason:
        fix = f"set {SETTING_OF.get(resource, 'its name')} to another name, or import it into the stack"
        reason = f"{reason.rstrip('.')}; it was created outside of this stack: {fix}"
    return f"{resource}: {reason}"


async def _ensure_ttl(dynamodb: "DynamoDBClient", table_name: str) -> None:
    """
    Enable the table's TTL if it is disabled.

    MiniStack and moto ignore TimeToLiveSpecification. On AWS, it may have been disabled by hand, which an
    update without changes does not revert.
    """
    described = await dynamodb.describe_time_to_live(TableName=table_name)
    if described["TimeToLiveDescription"].get("TimeToLiveStatus") == "DISABLED":
        await dynamodb.update_time_to_live(
            TableName=table_name, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True}
        )
