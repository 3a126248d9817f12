from itertools import product
from typing import Any

import pytest

from tests.support import templates
from worker.dynamodb.indexes import INDEXES

TARGETS = [None, *INDEXES]
"""The table, and its indexes by name."""


@pytest.fixture(scope="module")
def capacity() -> dict[str, Any]:
    return templates.template("capacity.yaml")


def resources(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == f"AWS::ApplicationAutoScaling::{kind}"
    }


def dimension(index: str | None, direction: str) -> tuple[dict[str, str], str]:
    """Return the resource id and the dimension that autoscaling knows the table's or an index's units by."""
    resource_id = "table/${TableName}" + (f"/index/{index}" if index else "")
    return {"Fn::Sub": resource_id}, f"dynamodb:{'index' if index else 'table'}:{direction}CapacityUnits"


def test_reads_and_writes_of_the_table_and_of_each_index_are_scaled(capacity: dict[str, Any]) -> None:
    scaled = [
        (one["ResourceId"], one["ScalableDimension"])
        for one in resources(capacity, "ScalableTarget").values()
    ]
    assert sorted(scaled, key=str) == sorted(
        (dimension(index, direction) for index, direction in product(TARGETS, ("Read", "Write"))), key=str
    )


def test_they_are_scaled_between_5_and_100_units_to_be_used_by_70_percent(capacity: dict[str, Any]) -> None:
    bounds = {"MinCapacity": {"Ref": "MinCapacity"}, "MaxCapacity": {"Ref": "MaxCapacity"}}
    for target in resources(capacity, "ScalableTarget").values():
        assert {name: target[name] for name in bounds} == bounds
        assert target["ServiceNamespace"] == "dynamodb"
    for policy in resources(capacity, "ScalingPolicy").values():
        tracking = policy["TargetTrackingScalingPolicyConfiguration"]
        assert tracking["TargetValue"] == {"Ref": "TargetUtilization"}
    defaults = {name: parameter["Default"] for name, parameter in capacity["Parameters"].items()}
    assert (defaults["MinCapacity"], defaults["MaxCapacity"], defaults["TargetUtilization"]) == (5, 100, 70)


def test_each_target_has_one_policy_that_follows_its_own_utilization(capacity: dict[str, Any]) -> None:
    targets, policies = resources(capacity, "ScalableTarget"), resources(capacity, "ScalingPolicy")
    assert sorted(policy["ScalingTargetId"]["Ref"] for policy in policies.values()) == sorted(targets)
    for policy in policies.values():
        target = targets[policy["ScalingTargetId"]["Ref"]]
        direction = target["ScalableDimension"].rpartition(":")[2].removesuffix("CapacityUnits")
        metric = policy["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]
        assert policy["PolicyType"] == "TargetTrackingScaling"
        assert metric == {"PredefinedMetricType": f"DynamoDB{direction}CapacityUtilization"}
    assert len({str(policy["PolicyName"]) for policy in policies.values()}) == len(policies)


def test_targets_and_policies_are_created_one_after_another(capacity: dict[str, Any]) -> None:
    """Application Auto Scaling rejects concurrent requests for a table."""
    previous = None
    for name, resource in capacity["Resources"].items():
        if resource["Type"] == "AWS::ApplicationAutoScaling::ScalableTarget":
            assert resource.get("DependsOn") == previous
        else:
            previous = name
    assert previous == "DateIndexWritePolicy"


def test_a_provisioned_table_begins_where_autoscaling_never_goes_below(capacity: dict[str, Any]) -> None:
    least = capacity["Parameters"]["MinCapacity"]["Default"]
    storage = templates.template("storage.yaml")
    table = templates.resolved(
        storage["Resources"]["Table"]["Properties"], storage, BillingMode="PROVISIONED"
    )
    assert table["BillingMode"] == "PROVISIONED"
    for one in [table, *table["GlobalSecondaryIndexes"]]:
        assert one["ProvisionedThroughput"] == {"ReadCapacityUnits": least, "WriteCapacityUnits": least}


def test_a_table_that_is_paid_by_the_request_provisions_nothing() -> None:
    storage = templates.template("storage.yaml")
    table = templates.resolved(storage["Resources"]["Table"]["Properties"], storage)
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert all("ProvisionedThroughput" not in one for one in [table, *table["GlobalSecondaryIndexes"]])


def test_both_templates_use_the_same_table(capacity: dict[str, Any]) -> None:
    storage = templates.template("storage.yaml")
    assert capacity["Parameters"]["TableName"]["Default"] == storage["Parameters"]["TableName"]["Default"]


def test_the_description_says_how_to_deploy_it(capacity: dict[str, Any]) -> None:
    said = capacity["Description"]
    assert "--parameter-overrides BillingMode=PROVISIONED --capabilities CAPABILITY_IAM" in said
    assert "--template-file capacity.yaml" in said
    assert len(said.encode()) <= 1024, "CloudFormation takes no longer one"
