"""Deploy the storage stack (`config/cloudformation/storage.yaml`): buckets, queues and table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay, wait_exponential

from worker.aws.change_set import (
    FIRST_POLL_S,
    MAX_POLL_S,
    ChangeSet,
    create_change_set,
    explained,
)
from worker.aws.error_explanation import explain
from worker.aws.repairs import Deployed, Repair, StorageDrift
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_cloudformation.literals import CapabilityType
    from types_aiobotocore_cloudformation.type_defs import ParameterTypeDef, StackTypeDef

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
PARAMETER_OF: Final = {
    "Bucket": "BucketName",
    "OutputBucket": "OutputBucketName",
    "Queue": "QueueName",
    "DeadLetterQueue": "DeadLetterQueueName",
    "Table": "TableName",
    "Key": "KeyArn",
}
"""Logical id of a resource in the template -> the parameter with its name."""

Done: TypeAlias = Literal["created", "updated", "repaired", "unchanged"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """
    Result of a deployment.

    Attributes:
        stack_name: Name of the stack.
        done: What happened: `repaired` if only resources were corrected that others had changed.
        outputs: Outputs of the stack, by name.
        changes: What was changed or corrected, one line each.
        compares_resources: Whether CloudFormation compared the template with the resources themselves.
    """

    stack_name: str
    done: Done
    outputs: Mapping[str, str]
    changes: Sequence[str] = ()
    compares_resources: bool = False


@dataclass(slots=True)
class _Work:
    """What a deployment has done so far."""

    done: Done = "unchanged"
    changes: list[str] = field(default_factory=list)
    compares_resources: bool = False

    async def apply(self, repairs: Sequence[Repair]) -> None:
        """Make repairs, one after another."""
        for repair in repairs:
            await repair.apply()
            self.changes.append(repair.description)
            if self.done == "unchanged":
                self.done = "repaired"


async def deploy(
    cloudformation: "CloudFormationClient",
    drift: StorageDrift,
    parameters: Mapping[str, str],
    *,
    retry: RetryPolicy,
    stack_name: str = STACK_NAME,
    timeout_s: float = DEPLOY_TIMEOUT_S,
) -> Deployment:
    """
    Create or update the storage stack, and correct resources that were changed outside of it. Safe to repeat.

    Args:
        cloudformation: CloudFormation client.
        drift: Finds what the resources differ in from the template.
        parameters: Parameters of the template, by name. Others keep the value that the stack has.
        retry: Retry policy for the requests that follow the progress of the stack.
        stack_name: Name of the stack.
        timeout_s: How long to wait for CloudFormation to finish.

    Raises:
        ConfigurationError: AWS is unreachable or rejected a request, the stack failed (with the first reason
            that CloudFormation reports), or it did not finish in time.
        TransientError: AWS became unavailable during the deployment.
    """
    work = _Work()
    try:
        stack = await _existing(cloudformation, stack_name, retry=retry, timeout_s=timeout_s)
        if stack is None:
            stack_id = await _create(cloudformation, parameters, stack_name)
            stack = await _complete(cloudformation, stack_id, "created", retry=retry, timeout_s=timeout_s)
            await work.apply(await drift.after_creation())
            work.done, work.changes = "created", []
        else:
            await work.apply(await drift.before_update(await _deployed(cloudformation, stack)))
            change_set = await _change_set(
                cloudformation, parameters, stack, retry=retry, timeout_s=timeout_s
            )
            work.compares_resources = change_set.compares_resources
            if change_set.changes and not _is_done_by_repairs(change_set):
                await cloudformation.execute_change_set(ChangeSetName=change_set.arn)
                stack_id = stack["StackId"]
                stack = await _complete(cloudformation, stack_id, "updated", retry=retry, timeout_s=timeout_s)
                work.changes += change_set.describe()
                work.done = "updated"
            else:
                await cloudformation.delete_change_set(ChangeSetName=change_set.arn)
            await work.apply(await drift.after_update(_outputs(stack)))
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(explain(error)) from error
    return Deployment(stack_name, work.done, _outputs(stack), tuple(work.changes), work.compares_resources)


async def stack_outputs(cloudformation: "CloudFormationClient", stack_name: str) -> Mapping[str, str]:
    """
    Return the outputs of the stack; empty if it does not exist.

    Raises:
        ConfigurationError: AWS is unreachable or rejected the request.
    """
    try:
        stack = await _describe(cloudformation, stack_name)
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(explain(error)) from error
    return _outputs(stack) if stack else {}


async def plan(
    cloudformation: "CloudFormationClient",
    drift: StorageDrift,
    parameters: Mapping[str, str],
    *,
    retry: RetryPolicy,
    stack_name: str = STACK_NAME,
    timeout_s: float = DEPLOY_TIMEOUT_S,
) -> Deployment:
    """
    Return what `deploy` would do, without changing a resource; arguments and errors are those of `deploy`.

    The changes of an existing stack are those of a change set, which is deleted again, and the repairs by
    direct requests, which on AWS may name the same difference a second time.
    """
    try:
        stack = await _existing(cloudformation, stack_name, retry=retry, timeout_s=timeout_s)
        if stack is None:
            resources = (f"create {name}" for name in sorted(set(parameters.values()) & _names(parameters)))
            return Deployment(stack_name, "created", {}, tuple(resources))
        outputs = _outputs(stack)
        repairs = list(await drift.before_update(await _deployed(cloudformation, stack)))
        change_set = await _change_set(cloudformation, parameters, stack, retry=retry, timeout_s=timeout_s)
        await cloudformation.delete_change_set(ChangeSetName=change_set.arn)
        repairs += await drift.after_update(outputs)
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(explain(error)) from error
    lines = [*change_set.describe(), *(repair.description for repair in repairs)]
    done: Done = "updated" if change_set.changes else "repaired" if repairs else "unchanged"
    return Deployment(stack_name, done, outputs, tuple(dict.fromkeys(lines)), change_set.compares_resources)


def _names(parameters: Mapping[str, str]) -> set[str]:
    return {parameters.get(name, "") for name in PARAMETER_OF.values()} - {""}


def _outputs(stack: "StackTypeDef") -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _is_done_by_repairs(change_set: ChangeSet) -> bool:
    """
    Return whether the change set would only remove notifications of others, which are put back afterwards.

    The notification of uploads itself was corrected before, together with those.
    """
    return change_set.compares_resources and change_set.only_restores_notifications()


async def _existing(
    cloudformation: "CloudFormationClient", stack_name: str, *, retry: RetryPolicy, timeout_s: float
) -> "StackTypeDef | None":
    """Return the stack when no other deployment of it is in progress; None if it does not exist."""
    stack = await _describe(cloudformation, stack_name)
    if stack is not None:
        stack = await _finished(cloudformation, stack["StackId"], retry=retry, timeout_s=timeout_s)
    if stack is None or stack["StackStatus"] == "DELETE_COMPLETE":
        return None
    if stack["StackStatus"] in NEVER_COMPLETED:
        message = (
            f"the stack {stack_name} was never completed ({stack['StackStatus']}) and cannot be updated; "
            "turn off the deletion protection of its table, if it has created one, delete the stack with "
            f"`aws cloudformation delete-stack --stack-name {stack_name}`, and provision again"
        )
        raise ConfigurationError(message)
    return stack


async def _complete(
    cloudformation: "CloudFormationClient", stack_id: str, done: Done, *, retry: RetryPolicy, timeout_s: float
) -> "StackTypeDef":
    """Wait until the operation on the stack has succeeded; return the stack."""
    stack = await _finished(cloudformation, stack_id, retry=retry, timeout_s=timeout_s)
    if stack["StackStatus"] not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        reason = await _first_failure(cloudformation, stack_id)
        message = f"the stack {stack['StackName']} could not be {done} ({stack['StackStatus']}): {reason}"
        raise ConfigurationError(message)
    return stack


async def _deployed(cloudformation: "CloudFormationClient", stack: "StackTypeDef") -> Deployed:
    """Return the last deployment of a stack."""
    template = str((await cloudformation.get_template(StackName=stack["StackId"]))["TemplateBody"])
    return Deployed(template, _parameters(stack), _outputs(stack))


def _parameters(stack: "StackTypeDef") -> dict[str, str]:
    return {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])}


async def _create(
    cloudformation: "CloudFormationClient", parameters: Mapping[str, str], stack_name: str
) -> str:
    created = await cloudformation.create_stack(
        StackName=stack_name,
        TemplateBody=STORAGE_TEMPLATE.read_text(encoding="utf-8"),
        Parameters=_as_list(parameters),
        Capabilities=CAPABILITIES,
        OnFailure="DELETE",  # a stack whose creation failed could never be updated
    )
    return created["StackId"]


async def _change_set(
    cloudformation: "CloudFormationClient",
    parameters: Mapping[str, str],
    stack: "StackTypeDef",
    *,
    retry: RetryPolicy,
    timeout_s: float,
) -> ChangeSet:
    """
    Create the change set for an existing stack.

    Raises:
        ConfigurationError: It would replace a resource that holds data, although its name is the same.
    """
    template = STORAGE_TEMPLATE.read_text(encoding="utf-8")
    in_template = (await cloudformation.validate_template(TemplateBody=template))["Parameters"]
    previous = _parameters(stack)
    kept = (previous.keys() - parameters.keys()) & {each["ParameterKey"] for each in in_template}
    all_parameters = _as_list(parameters)
    all_parameters += [{"ParameterKey": name, "UsePreviousValue": True} for name in sorted(kept)]
    change_set = await create_change_set(
        cloudformation,
        stack_id=stack["StackId"],
        template=template,
        parameters=all_parameters,
        capabilities=CAPABILITIES,
        retry=retry,
        timeout_s=timeout_s,
    )
    renamed = {
        logical_id
        for logical_id, name in PARAMETER_OF.items()
        if name in parameters and previous.get(name, "") != parameters[name]
    }
    if lost := change_set.lost_with_data(frozenset(renamed)):
        await cloudformation.delete_change_set(ChangeSetName=change_set.arn)
        message = (
            f"the update of the stack {stack['StackName']} would replace {', '.join(lost)} with empty ones, "
            "although their names are the same; nothing was changed: look at the drift of the stack in the "
            "CloudFormation console"
        )
        raise ConfigurationError(message)
    return change_set


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
    return f"{resource}: {explained(reason)}"
