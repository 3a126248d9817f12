"""The IAM policies of the storage template; `tests/test_recorded_calls.py` compares them with calls."""

from functools import cache
from typing import Any

import pytest

from tests.support import templates
from worker.dynamodb.indexes import LISTED_ATTRIBUTES

TABLE_ARN = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${TableName}"
"""By name, because the table is created after the policies."""


def on_tables(suffix: str = "") -> list[Any]:
    """Return the resource of a statement about the table, and about one more if there is one."""
    own, more = (
        f"{TABLE_ARN}{suffix}".replace("{TableName}", name)
        for name in ("{TableName}", "{AdditionalTableName}")
    )
    return [{"Fn::Sub": own}, {"Fn::If": ["HasAdditionalTable", {"Fn::Sub": more}, {"Ref": "AWS::NoValue"}]}]


KEY = {"Fn::If": ["CreatesKey", {"Fn::GetAtt": "Key.Arn"}, {"Ref": "KeyArn"}]}


@cache
def policies(*, of_the_key: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Return the statements of each policy, either those about the key or all others."""
    resources = templates.template("storage.yaml")["Resources"]
    return {
        name: [
            one
            for one in map(unconditional, resource["Properties"]["PolicyDocument"]["Statement"])
            if (one["Sid"] == "UseKey") is of_the_key
        ]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::IAM::ManagedPolicy"
    }


def unconditional(statement: dict[str, Any]) -> dict[str, Any]:
    """Return a statement that only some parameters add as if it was always there."""
    match statement:
        case {"Fn::If": [_, then, {"Ref": "AWS::NoValue"}]}:
            return dict(then)
    return statement


def actions(statement: dict[str, Any]) -> set[str]:
    return {statement["Action"]} if isinstance(statement["Action"], str) else set(statement["Action"])


def statement(policy: str, sid: str) -> dict[str, Any]:
    (found,) = (one for one in policies()[policy] if one["Sid"] == sid)
    return found


@pytest.mark.parametrize("policy", policies())
def test_no_action_is_a_wildcard_and_no_resource_is_all(policy: str) -> None:
    for one in policies()[policy]:
        assert one["Effect"] == "Allow"
        assert not any("*" in action for action in actions(one))
        assert (one["Resource"] == "*") is (actions(one) == {"cloudwatch:GetMetricData"})
        assert "'*'" not in str(one["Resource"])
        assert "dynamodb:Scan" not in actions(one)


@pytest.mark.parametrize(
    ("policy", "services"),
    [
        ("WorkerPolicy", {"s3", "sqs", "dynamodb"}),
        ("ReaderPolicy", {"dynamodb"}),
        ("OperatorPolicy", {"s3", "dynamodb"}),
        ("ConsoleReaderPolicy", {"s3", "sqs", "dynamodb"}),
        ("ConsoleOperatorPolicy", {"s3", "sqs", "dynamodb"}),
    ],
)
def test_the_key_is_used_only_through_services(policy: str, services: set[str]) -> None:
    (only,) = policies(of_the_key=True)[policy]
    assert only["Resource"] == KEY
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


def test_messages_are_received_from_one_queue_and_sent_to_the_other() -> None:
    queue, dead = statement("WorkerPolicy", "ReceiveMessages"), statement("WorkerPolicy", "SendDeadLetters")
    assert queue["Resource"] == {"Fn::GetAtt": "Queue.Arn"}
    assert dead["Resource"] == {"Fn::GetAtt": "DeadLetterQueue.Arn"}
    assert "sqs:SendMessage" not in actions(queue)
    assert actions(dead) == {"sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"}


def test_the_worker_has_no_access_to_indexes() -> None:
    assert statement("WorkerPolicy", "WriteRecords")["Resource"] == on_tables()


def test_head_bucket_has_no_condition_because_its_request_has_no_prefix() -> None:
    assert "Condition" not in statement("WorkerPolicy", "FindBuckets")
    assert actions(statement("WorkerPolicy", "FindBuckets")) == {"s3:ListBucket"}


def test_readers_can_only_list_their_own_images() -> None:
    (only,) = policies()["ReaderPolicy"]
    assert actions(only) == {"dynamodb:Query"}
    assert only["Resource"] == on_tables("/index/UserImages*")
    assert only["Condition"] == {
        "ForAllValues:StringEquals": {
            "dynamodb:LeadingKeys": [{"Fn::Join": ["", ["${", {"Ref": "ReaderIdentity"}, "}"]]}]
        },
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def test_the_index_of_readers_projects_exactly_what_lists_show() -> None:
    table = templates.template("storage.yaml")["Resources"]["Table"]["Properties"]
    (index,) = (one for one in table["GlobalSecondaryIndexes"] if one["IndexName"] == "UserImages")
    assert index["Projection"]["ProjectionType"] == "INCLUDE"
    assert set(index["Projection"]["NonKeyAttributes"]) == LISTED_ATTRIBUTES


READING = ("BatchGet", "Describe", "Get", "List", "Query")


def test_readers_of_the_console_can_change_nothing() -> None:
    allowed = {action for one in policies()["ConsoleReaderPolicy"] for action in actions(one)}
    assert [action for action in allowed if not action.partition(":")[2].startswith(READING)] == []
    (key,) = policies(of_the_key=True)["ConsoleReaderPolicy"]
    assert actions(key) == {"kms:Decrypt", "kms:DescribeKey"}


def test_operators_of_the_console_cannot_write_results_or_receive_the_workers_messages() -> None:
    for one in policies()["ConsoleOperatorPolicy"]:
        if "s3:PutObject" in actions(one):
            assert one["Resource"] == {"Fn::Sub": "${Bucket.Arn}/${UploadsPrefix}*"}
        if "sqs:ReceiveMessage" in actions(one):
            assert one["Resource"] == {"Fn::GetAtt": "DeadLetterQueue.Arn"}


def test_policies_have_no_names_because_those_need_another_capability() -> None:
    resources = templates.template("storage.yaml")["Resources"]
    for name in policies():
        # A changed description would replace the policy, which is attached to roles outside the stack.
        assert set(resources[name]["Properties"]) == {"PolicyDocument"}


def test_no_policy_allows_to_delete_other_objects_than_uploads_and_results() -> None:
    uploads = {"Fn::Sub": "${Bucket.Arn}/${UploadsPrefix}*"}
    results = statement("WorkerPolicy", "StoreResults")["Resource"]
    deleted: dict[str, list[Any]] = {
        "WorkerPolicy": [results],
        "OperatorPolicy": [uploads, results],
        "ConsoleOperatorPolicy": [uploads, results],
    }
    for policy, statements in policies().items():
        found = [one["Resource"] for one in statements if "s3:DeleteObject" in actions(one)]
        assert found == deleted.get(policy, [])


def test_every_statement_about_the_table_is_about_the_additional_one_as_well() -> None:
    for name, statements in policies().items():
        for one in statements:
            if "${TableName}" in str(one["Resource"]):
                suffix = one["Resource"][0]["Fn::Sub"].removeprefix(TABLE_ARN)
                assert one["Resource"] == on_tables(suffix), name
