"""The IAM policies of the storage template against the calls in the worker's source."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session

from tests.support import templates
from worker.checks.table import LISTED_ATTRIBUTES

ROOT = Path(__file__).parents[3]

THE_SERVICE = (
    ("worker.cli.run", "serve"),
    ("worker.bootstrap", "open_consumer"),
)
"""Where the worker's own work begins; whatever it reaches, it may call."""

CLIENTS = ("client", "polling", "s3", "sqs", "dynamodb")
"""How variables and attributes that hold a client are named, after their underscore."""

AUTHORISED_BY = {
    "head_bucket": {"s3:ListBucket"},
    "head_object": {"s3:GetObject"},
    "get_object": {"s3:GetObject", "s3:GetObjectVersion"},
    "delete_message_batch": {"sqs:DeleteMessage"},
    "change_message_visibility_batch": {"sqs:ChangeMessageVisibility"},
}
"""Calls whose action has another name than they."""

IN_TRANSACTIONS = {
    "ConditionCheck": "dynamodb:ConditionCheckItem",
    "Delete": "dynamodb:DeleteItem",
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
}

Definition = tuple[str, str]


@cache
def tree_of(module: str) -> ast.Module:
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def exists(module: str) -> bool:
    path = ROOT / Path(*module.split("."))
    return module.startswith("worker") and (path.is_dir() or path.with_suffix(".py").is_file())


@cache
def definitions(module: str) -> dict[str, ast.stmt]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name: node for node in tree_of(module).body if isinstance(node, kinds)}


@cache
def imported(module: str) -> dict[str, Definition | str]:
    """Return what the names that a module imports mean: a definition of ours, or a module of ours."""
    found: dict[str, Definition | str] = {}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and node.module and exists(node.module):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                name = alias.asname or alias.name
                found[name] = submodule if exists(submodule) else (node.module, alias.name)
    return found


def mentioned(module: str, node: ast.AST) -> Iterator[Definition]:
    """Yield the definitions of ours that a piece of code names."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            meaning = imported(module).get(part.id, (module, part.id))
            if isinstance(meaning, tuple):
                yield meaning
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            package = imported(module).get(part.value.id)
            if isinstance(package, str):
                yield package, part.attr


@cache
def reached() -> dict[Definition, ast.stmt]:
    """Return every function and class that the service may come to."""
    found: dict[Definition, ast.stmt] = {}
    waiting = list(THE_SERVICE)
    while waiting:
        module, name = waiting.pop()
        node = definitions(module).get(name)
        if node is not None and (module, name) not in found:
            found[module, name] = node
            waiting += mentioned(module, node)
    return found


@cache
def operations() -> dict[str, str]:
    """Return the action of each call of the three services, by the call's name in Python."""
    session = get_session()
    return {
        xform_name(operation): f"{service}:{operation}"
        for service in ("s3", "sqs", "dynamodb")
        for operation in session.get_service_model(service).operation_names
    }


def is_client(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lstrip("_") in CLIENTS


def calls_in(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and part.attr in operations() and is_client(part.value):
            yield part.attr


def actions_of(call: str, node: ast.AST) -> set[str]:
    if call == "transact_write_items":  # has no action of its own: what its items do is authorised
        keys = {
            key.value
            for part in ast.walk(node)
            if isinstance(part, ast.Dict)
            for key in part.keys
            if isinstance(key, ast.Constant)
        }
        return {action for kind, action in IN_TRANSACTIONS.items() if kind in keys}
    return AUTHORISED_BY.get(call, {operations()[call]})


@cache
def policies(*, of_the_key: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Return the statements of each policy: what its bearer calls, or what the key is used for."""
    resources = templates.template("storage.yaml")["Resources"]
    return {
        name: [
            one
            for one in resource["Properties"]["PolicyDocument"]["Statement"]
            if (one["Sid"] == "UseKey") is of_the_key
        ]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::IAM::ManagedPolicy"
    }


def actions(statement: dict[str, Any]) -> set[str]:
    return {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])


def statement(policy: str, sid: str) -> dict[str, Any]:
    (found,) = (one for one in policies()[policy] if one["Sid"] == sid)
    return found


def test_the_source_is_followed_into_every_room_that_talks_to_aws() -> None:
    rooms = {module for (module, _), node in reached().items() if any(calls_in(node))}
    assert rooms >= {
        "worker.checks.bucket",
        "worker.checks.queue",
        "worker.checks.table",
        "worker.sqs.queue",
        "worker.s3.results",
        "worker.s3.sources",
        "worker.dynamodb.conditional_update",
        "worker.dynamodb.profiles",
        "worker.dynamodb.statistics",
    }


def test_the_worker_may_do_exactly_what_it_does() -> None:
    made = {
        action for node in reached().values() for call in calls_in(node) for action in actions_of(call, node)
    }
    allowed = {action for one in policies()["WorkerPolicy"] for action in actions(one)}
    assert made - allowed == set(), "the worker would be refused"
    assert allowed - made == set(), "the worker does not need it"


@pytest.mark.parametrize("policy", ["WorkerPolicy", "ReaderPolicy"])
def test_no_action_is_a_wildcard_and_no_resource_is_all(policy: str) -> None:
    for one in policies()[policy]:
        assert one["Effect"] == "Allow"
        assert not any("*" in action for action in actions(one))
        assert "'*'" not in str(one["Resource"])
        assert "dynamodb:Scan" not in actions(one)


@pytest.mark.parametrize(
    ("policy", "services"), [("WorkerPolicy", {"s3", "sqs", "dynamodb"}), ("ReaderPolicy", {"dynamodb"})]
)
def test_the_key_is_used_through_services_alone(policy: str, services: set[str]) -> None:
    (only,) = policies(of_the_key=True)[policy]
    assert only["Resource"] == {"Fn::GetAtt": "Key.Arn"}
    assert all(action.startswith("kms:") and "*" not in action for action in actions(only))
    via = only["Condition"]["StringEquals"]["kms:ViaService"]
    named = {one["Fn::Sub"].partition(".")[0] for one in (via if isinstance(via, list) else [via])}
    assert named == services


def test_only_uploads_and_logos_are_read_and_only_results_are_written() -> None:
    assert statement("WorkerPolicy", "ReadLogos")["Resource"] == {"Fn::Sub": "${Bucket.Arn}/${LogosPrefix}*"}
    assert statement("WorkerPolicy", "ReadUploads")["Resource"] == {
        "Fn::Sub": "${Bucket.Arn}/${UploadsPrefix}*"
    }
    assert statement("WorkerPolicy", "StoreResults")["Resource"] == {
        "Fn::If": [
            "HasOutputBucket",
            {"Fn::Sub": "${OutputBucket.Arn}/${ProcessedPrefix}*"},
            {"Fn::Sub": "${Bucket.Arn}/${ProcessedPrefix}*"},
        ]
    }
    assert [one["Sid"] for one in policies()["WorkerPolicy"] if "s3:PutObject" in actions(one)] == [
        "StoreResults"
    ]


def test_messages_are_taken_from_one_queue_and_sent_to_the_other() -> None:
    queue, dead = statement("WorkerPolicy", "ReceiveMessages"), statement("WorkerPolicy", "SendDeadLetters")
    assert queue["Resource"] == {"Fn::GetAtt": "Queue.Arn"}
    assert dead["Resource"] == {"Fn::GetAtt": "DeadLetterQueue.Arn"}
    assert "sqs:SendMessage" not in actions(queue)
    assert actions(dead) == {"sqs:GetQueueUrl", "sqs:SendMessage"}


def test_the_worker_reads_no_index() -> None:
    assert statement("WorkerPolicy", "WriteRecords")["Resource"] == {"Fn::GetAtt": "Table.Arn"}


def test_a_bucket_is_looked_for_without_conditions_because_the_look_has_no_prefix() -> None:
    assert "Condition" not in statement("WorkerPolicy", "FindBuckets")
    assert actions(statement("WorkerPolicy", "FindBuckets")) == {"s3:ListBucket"}


def test_a_reader_lists_their_own_images_and_does_nothing_else() -> None:
    (only,) = policies()["ReaderPolicy"]
    assert actions(only) == {"dynamodb:Query"}
    assert only["Resource"] == {"Fn::Sub": "${Table.Arn}/index/UserImages"}
    assert only["Condition"] == {
        "ForAllValues:StringEquals": {
            "dynamodb:LeadingKeys": [{"Fn::Join": ["", ["${", {"Ref": "ReaderIdentity"}, "}"]]}]
        },
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def test_through_its_index_a_reader_sees_what_lists_show_and_no_more() -> None:
    table = templates.template("storage.yaml")["Resources"]["Table"]["Properties"]
    (index,) = (one for one in table["GlobalSecondaryIndexes"] if one["IndexName"] == "UserImages")
    assert index["Projection"]["ProjectionType"] == "INCLUDE"
    assert set(index["Projection"]["NonKeyAttributes"]) == LISTED_ATTRIBUTES


def test_policies_have_no_names_which_would_take_another_capability() -> None:
    resources = templates.template("storage.yaml")["Resources"]
    for name in policies():
        # A description, too, could never be changed without replacing the policy under those who have it.
        assert set(resources[name]["Properties"]) == {"PolicyDocument"}
