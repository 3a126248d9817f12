"""
Making the resources: `config/cloudformation/storage.yaml` deployed to whatever AWS the clients talk to.

Part of bootstrap's layer: it may import `config`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay, wait_exponential

from worker.aws.error_explanation import explain
from worker.aws.retry import TABLE, call_with_retry
from worker.domain.errors import ConfigurationError
from worker.settings import Settings

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
"""The wheel has a copy of the template; a checkout has the original only."""
CAPABILITIES: "Final[tuple[CapabilityType, ...]]" = ("CAPABILITY_IAM",)
"""The template makes IAM policies (without names of their own), which CloudFormation wants to be told."""

DEPLOY_TIMEOUT_S: Final = 900.0
"""A table with three indexes takes AWS a minute; adding an index to a full one takes longer."""

FIRST_POLL_S: Final = 0.02
LONGEST_POLL_S: Final = 5.0

NEVER_COMPLETED: Final = frozenset(
    {"CREATE_FAILED", "DELETE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS"}
)
NAMED_BY: Final = {
    "Bucket": "WORKER_BUCKET",
    "OutputBucket": "WORKER_OUTPUT_BUCKET",
    "Queue": "WORKER_QUEUE_NAME",
    "DeadLetterQueue": "WORKER_DEAD_LETTER_QUEUE_NAME",
    "Table": "WORKER_TABLE_NAME",
}
"""Logical id in the template -> the setting that names the resource."""

Done: TypeAlias = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """What deploying did, and the stack's outputs by name."""

    stack_name: str
    done: Done
    outputs: Mapping[str, str]


def storage_parameters(settings: Settings) -> dict[str, str]:
    """Translate the settings to the parameters of `storage.yaml`."""
    return {
        "BucketName": settings.bucket,
        "OutputBucketName": settings.output_bucket or "",
        "UploadsPrefix": settings.uploads_prefix,
        "LogosPrefix": settings.watermark_logos_prefix,
        "ProcessedPrefix": settings.processed_prefix,
        "QueueName": settings.queue_name,
        "DeadLetterQueueName": settings.dead_letter_queue_name,
        "VisibilityTimeout": str(settings.visibility_timeout_s),
        "MaxReceiveCount": str(settings.queue_receives),
        "TableName": settings.table_name,
    }


async def deploy(
    cloudformation: "CloudFormationClient",
    dynamodb: "DynamoDBClient",
    settings: Settings,
    *,
    stack_name: str = STACK_NAME,
    timeout_s: float = DEPLOY_TIMEOUT_S,
) -> Deployment:
    """
    Create the resources, or bring them up to date. Safe to repeat.

    Parameters of the template that no setting names keep the value that the stack has.

    Raises:
        ConfigurationError: AWS cannot be reached or refuses, with the reason of what failed first.
        TransientError: AWS stopped answering on the way.
    """
    try:
        stack = await _stack(cloudformation, stack_name)
        if stack is not None:  # somebody may be at it
            stack = await _settled(cloudformation, stack["StackId"], timeout_s=timeout_s)
        if stack is None or stack["StackStatus"] == "DELETE_COMPLETE":
            done, stack_id = await _create(cloudformation, storage_parameters(settings), stack_name)
        else:
            done, stack_id = await _update(cloudformation, storage_parameters(settings), stack)
        stack = await _settled(cloudformation, stack_id, timeout_s=timeout_s)
        if done != "unchanged" and stack["StackStatus"] not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            reason = await _first_failure(cloudformation, stack_id)
            message = f"the stack {stack_name} could not be {done} ({stack['StackStatus']}): {reason}"
            raise ConfigurationError(message)
        await _ensure_ttl(dynamodb, settings.table_name)
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(explain(error)) from error
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    return Deployment(stack_name=stack_name, done=done, outputs=outputs)


async def _create(
    cloudformation: "CloudFormationClient", values: Mapping[str, str], stack_name: str
) -> tuple[Done, str]:
    created = await cloudformation.create_stack(
        StackName=stack_name,
        TemplateBody=STORAGE_TEMPLATE.read_text(encoding="utf-8"),
        Parameters=_given(values),
        Capabilities=CAPABILITIES,
        OnFailure="DELETE",  # what is left of a failed creation could never be updated
    )
    return "created", created["StackId"]


async def _update(
    cloudformation: "CloudFormationClient", values: Mapping[str, str], stack: "StackTypeDef"
) -> tuple[Done, str]:
    stack_name, stack_id = stack["StackName"], stack["StackId"]
    if stack["StackStatus"] in NEVER_COMPLETED:
        message = (
            f"the stack {stack_name} was never completed ({stack['StackStatus']}) and cannot be updated; "
            f"delete it with `aws cloudformation delete-stack --stack-name {stack_name}` and provision again"
        )
        raise ConfigurationError(message)
    template = STORAGE_TEMPLATE.read_text(encoding="utf-8")
    known = (await cloudformation.validate_template(TemplateBody=template))["Parameters"]
    kept = {parameter["ParameterKey"] for parameter in stack.get("Parameters", [])} - values.keys()
    kept &= {parameter["ParameterKey"] for parameter in known}
    parameters = _given(values)
    parameters += [{"ParameterKey": name, "UsePreviousValue": True} for name in sorted(kept)]
    try:
        await cloudformation.update_stack(
            StackName=stack_id, TemplateBody=template, Parameters=parameters, Capabilities=CAPABILITIES
        )
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return "unchanged", stack_id
        raise
    return "updated", stack_id


def _given(values: Mapping[str, str]) -> "list[ParameterTypeDef]":
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]


async def _stack(cloudformation: "CloudFormationClient", name_or_id: str) -> "StackTypeDef | None":
    try:
        described = await cloudformation.describe_stacks(StackName=name_or_id)
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return next(iter(described["Stacks"]), None)


async def _settled(
    cloudformation: "CloudFormationClient", stack_id: str, *, timeout_s: float
) -> "StackTypeDef":
    polling = AsyncRetrying(
        retry=retry_if_result(_is_in_progress),
        wait=wait_exponential(multiplier=FIRST_POLL_S, max=LONGEST_POLL_S),
        stop=stop_after_delay(timeout_s),
    )

    async def ask() -> "StackTypeDef":
        return await call_with_retry(
            lambda: _known_stack(cloudformation, stack_id), TABLE, what="follow the stack"
        )

    try:
        return await polling(ask)
    except RetryError as error:
        message = (
            f"the stack {stack_id} is still not done after {timeout_s:g} s; AWS goes on with it: "
            "watch it in the CloudFormation console, then provision again"
        )
        raise ConfigurationError(message) from error


def _is_in_progress(stack: "StackTypeDef") -> bool:
    status = stack["StackStatus"]
    return status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"  # which waits for a person


async def _known_stack(cloudformation: "CloudFormationClient", stack_id: str) -> "StackTypeDef":
    stack = await _stack(cloudformation, stack_id)
    if stack is None:
        return {"StackName": stack_id, "StackStatus": "DELETE_COMPLETE", "CreationTime": datetime.now(UTC)}
    return stack


async def _first_failure(cloudformation: "CloudFormationClient", stack_id: str) -> str:
    """Return what failed first in the stack's last operation: the rest failed because of it."""
    named, reason = stack_id, "CloudFormation gives no reason"
    for event in (await cloudformation.describe_stack_events(StackName=stack_id))["StackEvents"]:
        told = event.get("ResourceStatusReason", "")
        if told and event["ResourceStatus"].endswith("_FAILED"):
            named, reason = event["LogicalResourceId"], told
        if told == "User Initiated":  # where the operation began; what lies before is another's
            break
    if "DescribeEvents" in reason:  # refused before anything was made: the reason is told elsewhere
        events = await cloudformation.describe_events(StackName=stack_id, Filters={"FailedEvents": True})
        for failed in events["OperationEvents"]:
            if "ValidationStatusReason" in failed:
                named, reason = failed["LogicalResourceId"], failed["ValidationStatusReason"]
                break
    if "already exists" in reason.lower() or "AlreadyExists" in reason:
        way_out = f"set {NAMED_BY.get(named, 'its name')} to another name, or import it into the stack"
        reason = f"{reason.rstrip('.')}; it was made outside of this stack: {way_out}"
    return f"{named}: {reason}"


async def _ensure_ttl(dynamodb: "DynamoDBClient", table_name: str) -> None:
    """
    Turn on expiry where CloudFormation did not.

    AWS does what the template says. MiniStack and moto leave TimeToLiveSpecification out, and somebody may
    have turned it off by hand, which a deployment without changes does not mend.
    """
    described = await dynamodb.describe_time_to_live(TableName=table_name)
    if described["TimeToLiveDescription"].get("TimeToLiveStatus") == "DISABLED":
        await dynamodb.update_time_to_live(
            TableName=table_name, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True}
        )
