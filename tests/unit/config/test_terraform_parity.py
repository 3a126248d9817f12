"""The Terraform module creates what the CloudFormation templates create, property by property."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import templates
from tests.terraform import parity
from tests.terraform.mutated import mutated
from tests.terraform.parity import EVERYTHING, UnmappedError, differences, evaluated, snake

DISTRIBUTION = "arn:aws-cn:cloudfront::123456789012:distribution/ABC123"
KEY = "arn:aws-cn:kms:cn-north-1:123456789012:key/1234-abcd"
QUEUE = "arn:aws-cn:sqs:cn-north-1:123456789012:subscriber"
TOPIC = "arn:aws-cn:sns:cn-north-1:123456789012:on-call"
ONLY_IN_THE_MODULE = {"name", "events_pipe", "topic_arn"}
"""The name of the stack, whether the stack of the events exists, and the topic of the alarms."""

inputs = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["image-worker", "staging"]),
        "bucket_name": st.sampled_from(["image-uploads", "uploads-2"]),
        "output_bucket_name": st.sampled_from(["", "image-uploads", "results"]),
        "uploads_prefix": st.sampled_from(["uploads/", "", "in/"]),
        "logos_prefix": st.sampled_from(["logos/", "marks/"]),
        "processed_prefix": st.sampled_from(["processed/", "out/"]),
        "bucket_versioning": st.booleans(),
        "queue_name": st.sampled_from(["image-events", "q"]),
        "dead_letter_queue_name": st.sampled_from(["image-events-dead", "d"]),
        "visibility_timeout": st.integers(6, 43_200),
        "max_receive_count": st.integers(1, 1000),
        "table_name": st.sampled_from(["image-processing-metadata", "records"]),
        "additional_table_name": st.sampled_from(["", "restored"]),
        "billing_mode": st.sampled_from(["PAY_PER_REQUEST", "PROVISIONED"]),
        "max_read_request_units": st.sampled_from([0, 1, 900]),
        "max_write_request_units": st.sampled_from([0, 1, 900]),
        "warm_read_units": st.sampled_from([0, 12_000, 20_000]),
        "warm_write_units": st.sampled_from([0, 4000, 5000]),
        "contributor_insights": st.sampled_from(
            ["Disabled", "THROTTLED_KEYS", "ACCESSED_AND_THROTTLED_KEYS"]
        ),
        "require_scan": st.booleans(),
        "cors_origins": st.lists(st.sampled_from(["https://www.example.com", "https://x.test"]), unique=True),
        "stream": st.just(True),
        "events_dead_letter_queue_name": st.sampled_from(["image-state-changes-dead", "e"]),
        "distribution_arn": st.sampled_from(["", DISTRIBUTION]),
        "events_pipe_name": st.sampled_from(["image-worker-events", "p"]),
        "key_arn": st.sampled_from(["", KEY]),
        "reader_identity": st.sampled_from(["cognito-identity.amazonaws.com:sub", "aws:PrincipalTag/userId"]),
        "min_capacity": st.integers(1, 10),
        "max_capacity": st.integers(10, 100),
        "target_utilization": st.integers(20, 90),
        "events_max_age_seconds": st.integers(60, 86_400),
        "events_max_attempts": st.integers(1, 10_000),
        "topic_arn": st.sampled_from(["", TOPIC]),
    },
)
pipes = st.sampled_from(
    [
        {},
        {"stream": True},
        {"stream": True, "events_pipe": True},
        {"stream": True, "events_pipe": True, "events_target_type": "queue", "events_target_arn": QUEUE},
        {
            "stream": True,
            "events_pipe": True,
            "events_target_type": "topic",
            "events_target_arn": TOPIC,
            "events_target_key_arn": KEY,
        },
    ]
)


def test_module_and_templates_agree_with_the_defaults_and_with_everything_on() -> None:
    assert differences(evaluated()) == []
    assert differences(evaluated(**EVERYTHING)) == []


@settings(max_examples=60, deadline=None)
@given(inputs, pipes)
def test_module_and_templates_agree_for_any_parameters(chosen: dict[str, Any], pipe: dict[str, Any]) -> None:
    module = evaluated(**(chosen | pipe))
    assert module.invalid() == []
    assert differences(module) == []


def test_the_variables_of_the_module_are_the_parameters_of_the_templates() -> None:
    expected = set(ONLY_IN_THE_MODULE)
    expected |= {snake(name) for name in parity.template("storage.yaml")["Parameters"]}
    expected |= {snake(name) for name in parity.template("capacity.yaml")["Parameters"]}
    expected |= {f"events_{snake(name)}" for name in parity.EVENTS_PARAMETERS}
    assert evaluated().variables.keys() == expected


def parameters() -> dict[str, dict[str, Any]]:
    """Return the parameters of the templates by the names of their variables."""
    events = parity.template("events.yaml")["Parameters"]
    return (
        {snake(name): each for name, each in parity.template("capacity.yaml")["Parameters"].items()}
        | {snake(name): each for name, each in parity.template("storage.yaml")["Parameters"].items()}
        | {f"events_{snake(name)}": events[name] for name in parity.EVENTS_PARAMETERS}
    )


def test_variables_have_the_defaults_of_the_parameters() -> None:
    module = evaluated()
    for name, parameter in parameters().items():
        assert parity.as_parameter(parameter, module.variables[name]) == parameter["Default"], name


def beyond(parameter: dict[str, Any]) -> list[Any]:
    """Return values that CloudFormation rejects."""
    values: list[Any] = []
    if "MinValue" in parameter:
        values.append(parameter["MinValue"] - 1)
    if "MaxValue" in parameter:
        values.append(parameter["MaxValue"] + 1)
    if "MinLength" in parameter:
        values.append("x" * (parameter["MinLength"] - 1))
    if "MaxLength" in parameter:
        values.append("x" * (parameter["MaxLength"] + 1))
    if "AllowedPattern" in parameter:
        values.append("not that!")
    if "AllowedValues" in parameter:
        values.append("OTHER")
    return values


@pytest.mark.parametrize("name", sorted(parameters()))
def test_variables_have_the_limits_of_the_parameters(name: str) -> None:
    if isinstance(evaluated().variables[name], bool):
        return  # its type is its limit
    for value in beyond(parameters()[name]):
        assert evaluated(**{name: value}).invalid() != [], value


def test_a_pipe_needs_a_stream_and_a_queue_or_topic_needs_its_arn() -> None:
    assert evaluated(events_pipe=True).invalid() == ["events_pipe needs stream = true."]
    assert evaluated(events_target_type="queue").invalid() == [
        "Set events_target_arn to the ARN of the queue or topic."
    ]


def test_applies_keep_what_autoscaling_and_dynamodb_have_set() -> None:
    (table,) = (one for one in evaluated().resources if one.type == "aws_dynamodb_table")
    set_by_others = ["read_capacity", "write_capacity", "global_secondary_index", "warm_throughput"]
    assert table.arguments["lifecycle"] == [{"prevent_destroy": "true", "ignore_changes": set_by_others}]


MUTATIONS = {
    "another retention": (
        "queues.tf",
        "message_retention_seconds         = 345600",
        "message_retention_seconds         = 86400",
    ),
    "an attribute less in the indexes": ("table.tf", '    "processedS3Key",\n', ""),
    "another key of an index": (
        "table.tf",
        'attribute_name = "statusShard"',
        'attribute_name = "createdAt"',
    ),
    "a right more": ("policies.tf", '"s3:DeleteObject", "s3:GetObject"', '"s3:*"'),
    "a right less": ("policies.tf", '            "kms:Encrypt",\n', ""),
    "a policy for all objects": ("policies.tf", "/${var.uploads_prefix}*", "/*"),
    "a public bucket": ("buckets.tf", "block_public_acls       = true", "block_public_acls       = false"),
    "no encryption by the key": ("buckets.tf", '"aws:kms"', '"AES256"'),
    "a queue that anyone may send to": (
        "queues.tf",
        'StringEquals = { "aws:SourceAccount" = local.account }',
        "",
    ),
    "a table that can be deleted": (
        "table.tf",
        "deletion_protection_enabled = true",
        "deletion_protection_enabled = false",
    ),
    "a bucket that can be destroyed": ("buckets.tf", "prevent_destroy = true", "prevent_destroy = false"),
    "another maximum of autoscaling": ("autoscaling.tf", "var.max_capacity", "var.min_capacity"),
    "targets that do not wait": (
        "autoscaling.tf",
        "  depends_on = [aws_appautoscaling_policy.dynamodb_table_read_policy]\n",
        "",
    ),
    "an alarm without the indexes": ("alarms.tf", 'GlobalSecondaryIndexName = "UserImages"', ""),
    "another threshold": ("alarms.tf", "threshold           = 10", "threshold           = 100"),
    "another event": ("events.tf", '"completed", "failed"', '"completed"'),
    "another field of events": ("events.tf", '"code": ', '"error": '),
    "another output": ("outputs.tf", "value = aws_sqs_queue.events.name", "value = aws_sqs_queue.events.url"),
    "a literal partition": ("main.tf", "data.aws_partition.current.partition", '"aws"'),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_in_the_module_is_found(mutation: str, tmp_path: Path) -> None:
    copy = mutated(tmp_path, *MUTATIONS[mutation])
    assert differences(evaluated(copy, **EVERYTHING)) != []


def test_an_argument_that_the_comparison_does_not_know_is_found(tmp_path: Path) -> None:
    more = "delay_seconds = 5\n  receive_wait_time_seconds "
    copy = mutated(tmp_path, "queues.tf", "receive_wait_time_seconds ", more)
    with pytest.raises(UnmappedError, match="delay_seconds"):
        differences(evaluated(copy))


def test_a_resource_that_the_comparison_does_not_know_is_found(tmp_path: Path) -> None:
    copy = mutated(tmp_path, "queues.tf", "", 'resource "aws_sqs_queue" "more" {\n  name = "more"\n}\n')
    with pytest.raises(UnmappedError, match=r"aws_sqs_queue\.more"):
        differences(evaluated(copy))


@pytest.mark.parametrize(
    ("resource", "name", "value"),
    [
        ("Queue", "DelaySeconds", 5),
        ("Table", "TableClass", "STANDARD_INFREQUENT_ACCESS"),
        ("Bucket", "ObjectLockEnabled", True),
        ("Key", "MultiRegion", True),
    ],
)
def test_a_new_property_of_a_template_is_found(resource: str, name: str, value: Any) -> None:
    def read(file: str) -> dict[str, Any]:
        template = templates.template(file)
        if file == "storage.yaml":
            template["Resources"][resource]["Properties"][name] = value
        return template

    (found,) = differences(evaluated(), read)
    assert found.startswith(f"resources.{resource}.Properties.{name}: None in the module")


def test_a_new_parameter_of_a_template_is_found() -> None:
    def read(file: str) -> dict[str, Any]:
        template = templates.template(file)
        template["Parameters"]["More"] = {"Type": "String", "Default": ""}
        return template

    with pytest.raises(KeyError, match="more"):
        differences(evaluated(), read)
