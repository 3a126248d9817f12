"""The calls of the worker and of its console equal their IAM policies (fault 39 of docs/reliability.md)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore import xform_name
from pydantic import JsonValue

from tests.support.recorded_calls import FOLDER, Call, recorded
from tests.unit.config.test_policies import TABLE_ARN, actions, policies

pytestmark = pytest.mark.after_all_others

RESOURCES = {
    "${Bucket.Arn}/${UploadsPrefix}*": "uploads",
    "${Bucket.Arn}/${LogosPrefix}*": "logos",
    "${Bucket.Arn}/${ProcessedPrefix}*": "results",
    "Bucket.Arn": "bucket",
    "Queue.Arn": "queue",
    "DeadLetterQueue.Arn": "dead letters",
    TABLE_ARN: "table",
    f"{TABLE_ARN}/index/*": "indexes",
    f"{TABLE_ARN}/index/UserImages*": "indexes",
    f"{TABLE_ARN}/stream/*": "stream",
    "arn:${AWS::Partition}:pipes:${AWS::Region}:${AWS::AccountId}:pipe/${EventsPipeName}": "pipe",
    "*": "everything",
}


KINDS = {"uploads": "uploads", "photos": "uploads", "processed": "results", "logos": "logos"}
"""Folder -> kind of its objects; `photos` is what the upload keys of an existing bucket begin with."""

AUTHORISED_BY = {
    "head_bucket": {"s3:ListBucket"},
    "list_objects_v2": {"s3:ListBucket"},
    "head_object": {"s3:GetObject"},
    "get_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "delete_message_batch": {"sqs:DeleteMessage"},
    "change_message_visibility_batch": {"sqs:ChangeMessageVisibility"},
    "send_message_batch": {"sqs:SendMessage"},
    "get_bucket_notification_configuration": {"s3:GetBucketNotification"},
}
"""Operation -> its IAM actions, where the names differ."""

IN_TRANSACTIONS = {
    "ConditionCheck": "dynamodb:ConditionCheckItem",
    "Delete": "dynamodb:DeleteItem",
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
}

ONLY_COMMANDS = (
    "worker.aws.change_set",
    "worker.aws.provision",
    "worker.checks",
    "worker.cli",
    "worker.drift",
    "worker.dynamodb.backups",
    "worker.dynamodb.batches",
    "worker.dynamodb.deletions",
    "worker.dynamodb.queries",
    "worker.dynamodb.repair_writes",
    "worker.dynamodb.restore",
    "worker.dynamodb.stream",
    "worker.events",
    "worker.repair",
    "worker.s3.image_objects",
    "worker.sqs.dead_letters",
    "worker.sqs.sender",
    "worker.telemetry.table_metrics",
)
"""Packages and modules that only commands use, with the permissions of a person, and never the service."""


PROBES = {"change_message_visibility", "delete_message", "delete_object", "put_object", "update_item"}
"""Calls by which checks find out about permissions: they have no effect, and a denied one is a finding."""


def granted(policy: str) -> set[tuple[str, str]]:
    """Return the actions that a policy allows, each with its resource."""
    return {
        (action, RESOURCES[name])
        for statement in policies()[policy]
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
    return [call for call in recorded() if not call.for_whom and not f"{call.module}.".startswith(packages)]


def calls_of_deletions() -> list[Call]:
    """Return the recorded calls of the commands that delete images and users."""
    return [call for call in recorded() if call.for_whom == "deletion"]


def calls_of_the_console(for_whom: str) -> list[Call]:
    """Return the recorded calls of the console's pages or actions, without those that test permissions."""
    return [
        call
        for call in recorded()
        if call.for_whom == for_whom
        and not (call.module.startswith("worker.checks") and xform_name(call.operation) in PROBES)
    ]


def needed(call: Call) -> set[tuple[str, str]]:
    """Return the actions that AWS requires for a call, each with its resource."""
    name, parameters = xform_name(call.operation), call.parameters
    kinds = {kind for item in parameters.get("TransactItems", []) for kind in item}
    if kinds:
        required = {IN_TRANSACTIONS[kind] for kind in kinds}
    elif name in {"get_object", "get_object_tagging"}:
        kind = name.removeprefix("get_object").title().replace("_", "")
        required = {f"s3:GetObject{'Version' if 'VersionId' in parameters else ''}{kind}"}
    elif name in {"delete_object", "put_object"} and "IfMatch" in parameters:
        required = {f"s3:{call.operation}", "s3:GetObject"}
    else:
        service = {"dynamodbstreams": "dynamodb"}.get(call.service, call.service)
        required = AUTHORISED_BY.get(name, {f"{service}:{call.operation}"})
    return {(action, resource_of(call)) for action in required}


def resource_of(call: Call) -> str:
    match call.service, call.parameters:
        case "dynamodb", {"IndexName": _}:
            return "indexes"
        case "dynamodb", _:
            return "table"
        case "dynamodbstreams", _:
            return "stream"
        case "pipes", _:
            return "pipe"
        case "cloudwatch", _:
            return "everything"
        case "sqs", {"QueueUrl": name} | {"QueueName": name}:
            return "dead letters" if "dead" in name.rpartition("/")[2] else "queue"
        case "s3", {"Key": key}:
            return KINDS[key.partition("/")[0]]
        case "s3", _:
            return "bucket"
    message = f"a call of an unknown resource: {call}"
    raise AssertionError(message)


def denied(calls: list[Call], allowed: set[tuple[str, str]]) -> list[str]:
    """Return a line for each call that needs more than is allowed."""
    return [
        f"{call.operation} by {call.module}.{call.definition} needs {missing}"
        for call in calls
        if (missing := needed(call) - allowed)
    ]


def require_the_whole_suite(config: pytest.Config) -> None:
    """Skip the test if other tests were left out, as only all of them make every call."""
    is_selection = config.option.keyword or config.option.markexpr or config.option.lf
    paths = [Path(argument).resolve() for argument in config.args]
    if FOLDER is None and (is_selection or paths != [config.rootpath / "tests"]):
        pytest.skip("only a run of the whole suite makes every call")


def needed_by(calls: list[Call]) -> set[tuple[str, str]]:
    return {requirement for call in calls for requirement in needed(call)}


def test_the_policy_allows_every_call_that_the_worker_made() -> None:
    assert denied(calls_of_the_worker(), granted("WorkerPolicy")) == []


def test_the_worker_made_every_call_that_the_policy_allows(request: pytest.FixtureRequest) -> None:
    require_the_whole_suite(request.config)
    assert granted("WorkerPolicy") - needed_by(calls_of_the_worker()) == set()


def test_the_policies_allow_every_call_that_the_console_made() -> None:
    reader, operator = granted("ConsoleReaderPolicy"), granted("ConsoleOperatorPolicy")
    assert denied(calls_of_the_console("reader"), reader) == []
    assert denied(calls_of_the_console("operator"), reader | operator) == []


def test_the_console_made_every_call_that_the_policies_allow(request: pytest.FixtureRequest) -> None:
    require_the_whole_suite(request.config)
    pages, actions_ = (needed_by(calls_of_the_console(each)) for each in ("reader", "operator"))
    assert granted("ConsoleReaderPolicy") - (pages | actions_) == set()
    assert granted("ConsoleOperatorPolicy") - actions_ == set()


def test_the_policy_of_the_scheduled_check_allows_every_call_that_looks_for_uploads() -> None:
    """The task of service.yaml and the job of config/kubernetes have ConsoleReaderPolicy."""
    looking = [
        call
        for call in recorded()
        # The check sends nothing, and reads no manifest.
        if (call.for_whom == "enqueue" and call.operation not in {"SendMessageBatch", "GetObject"})
        # In tasks of its own, of all that read many records.
        or (call.module == "worker.dynamodb.batches" and call.operation == "BatchGetItem")
    ]
    assert denied(looking, granted("ConsoleReaderPolicy")) == []
    if FOLDER is not None:
        assert {xform_name(call.operation) for call in looking} >= {"list_objects_v2", "batch_get_item"}


def test_operators_have_only_what_readers_do_not_have() -> None:
    assert granted("ConsoleReaderPolicy") & granted("ConsoleOperatorPolicy") == set()


def test_the_policy_of_operators_allows_every_call_of_a_deletion() -> None:
    assert denied(calls_of_deletions(), granted("OperatorPolicy")) == []


def test_deletions_made_every_call_that_the_policy_of_operators_allows(
    request: pytest.FixtureRequest,
) -> None:
    require_the_whole_suite(request.config)
    assert granted("OperatorPolicy") - needed_by(calls_of_deletions()) == set()
