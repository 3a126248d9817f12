"""The AWS calls made through the worker equal its IAM policy (fault 39 of docs/reliability.md)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore import xform_name
from pydantic import JsonValue

from tests.support.recorded_calls import FOLDER, Call, recorded
from tests.unit.config.test_policies import actions, policies

pytestmark = pytest.mark.after_all_others

RESOURCES = {
    "${Bucket.Arn}/${UploadsPrefix}*": "uploads",
    "${Bucket.Arn}/${LogosPrefix}*": "logos",
    "${Bucket.Arn}/${ProcessedPrefix}*": "results",
    "Bucket.Arn": "bucket",
    "Queue.Arn": "queue",
    "DeadLetterQueue.Arn": "dead letters",
    "Table.Arn": "table",
}


AUTHORISED_BY = {
    "head_bucket": {"s3:ListBucket"},
    "head_object": {"s3:GetObject"},
    "get_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "delete_message_batch": {"sqs:DeleteMessage"},
    "change_message_visibility_batch": {"sqs:ChangeMessageVisibility"},
}
"""Operation -> its IAM actions, where the names differ."""

IN_TRANSACTIONS = {
    "ConditionCheck": "dynamodb:ConditionCheckItem",
    "Delete": "dynamodb:DeleteItem",
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
}

ONLY_COMMANDS = (
    "worker.aws.provision",
    "worker.checks",
    "worker.cli",
    "worker.dynamodb.backups",
    "worker.dynamodb.batches",
    "worker.dynamodb.queries",
    "worker.dynamodb.repair_writes",
    "worker.dynamodb.retention",
    "worker.repair",
    "worker.sqs.dead_letters",
    "worker.sqs.sender",
    "worker.telemetry.table_metrics",
)
"""Packages and modules that only commands use, with the permissions of a person, and never the service."""


def granted() -> set[tuple[str, str]]:
    """Return the actions that the policy allows, each with its resource."""
    return {
        (action, RESOURCES[name])
        for statement in policies()["WorkerPolicy"]
        for action in actions(statement)
        for name in names_in(statement["Resource"])
        if name in RESOURCES
    }


def names_in(resource: JsonValue) -> Iterator[str]:
    """Yield all strings of a resource in a statement."""
    if isinstance(resource, str):
        yield resource
    elif isinstance(resource, list):
        for entry in resource:
            yield from names_in(entry)
    elif isinstance(resource, dict):
        for value in resource.values():
            yield from names_in(value)


def calls_of_the_worker() -> list[Call]:
    """Return the recorded calls of all code that is not only for commands."""
    packages = tuple(f"{name}." for name in ONLY_COMMANDS)
    return [call for call in recorded() if not f"{call.module}.".startswith(packages)]


def needed(call: Call) -> set[tuple[str, str]]:
    """Return the actions that AWS requires for a call, each with its resource."""
    name, parameters = xform_name(call.operation), call.parameters
    kinds = {kind for item in parameters.get("TransactItems", []) for kind in item}
    if kinds:
        required = {IN_TRANSACTIONS[kind] for kind in kinds}
    elif name == "get_object":
        required = {"s3:GetObjectVersion" if "VersionId" in parameters else "s3:GetObject"}
    elif name == "put_object" and "IfMatch" in parameters:
        required = {"s3:PutObject", "s3:GetObject"}
    else:
        required = AUTHORISED_BY.get(name, {f"{call.service}:{call.operation}"})
    return {(action, resource_of(call)) for action in required}


def resource_of(call: Call) -> str:
    match call.service, call.parameters:
        case "dynamodb", _:
            return "table"
        case "sqs", {"QueueUrl": name} | {"QueueName": name}:
            return "dead letters" if "dead" in name.rpartition("/")[2] else "queue"
        case "s3", {"Key": key}:
            return {"uploads": "uploads", "processed": "results", "logos": "logos"}[key.partition("/")[0]]
        case "s3", _:
            return "bucket"
    message = f"a call of an unknown resource: {call}"
    raise AssertionError(message)


def test_the_policy_allows_every_call_that_the_worker_made() -> None:
    denied = [
        f"{call.operation} by {call.module}.{call.definition} needs {missing}"
        for call in calls_of_the_worker()
        if (missing := needed(call) - granted())
    ]
    assert denied == []


def test_the_worker_made_every_call_that_the_policy_allows(request: pytest.FixtureRequest) -> None:
    config = request.config
    is_selection = config.option.keyword or config.option.markexpr or config.option.lf
    paths = [Path(argument).resolve() for argument in config.args]
    if FOLDER is None and (is_selection or paths != [config.rootpath / "tests"]):
        pytest.skip("only a run of the whole suite makes every call")

    made = {requirement for call in calls_of_the_worker() for requirement in needed(call)}
    assert granted() - made == set()
