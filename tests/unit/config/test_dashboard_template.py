import json
import re
from itertools import combinations
from typing import Any

import pytest

from tests.support import templates
from worker.dynamodb.indexes import INDEXES

SERVICE = ("ClusterName", "ServiceName")
TABLE = ("TableName",)
INDEX = ("TableName", "GlobalSecondaryIndexName")

SENT_BY_AWS: dict[tuple[str, str], set[tuple[str, ...]]] = {
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): {("QueueName",)},
    ("AWS/SQS", "ApproximateNumberOfMessagesNotVisible"): {("QueueName",)},
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): {("QueueName",)},
    ("ECS/ContainerInsights", "RunningTaskCount"): {SERVICE},
    ("ECS/ContainerInsights", "DesiredTaskCount"): {SERVICE},
    ("AWS/ECS", "CPUUtilization"): {SERVICE},
    ("AWS/ECS", "MemoryUtilization"): {SERVICE},
    ("AWS/DynamoDB", "ConsumedReadCapacityUnits"): {TABLE, INDEX},
    ("AWS/DynamoDB", "ConsumedWriteCapacityUnits"): {TABLE, INDEX},
    ("AWS/DynamoDB", "ReadThrottleEvents"): {TABLE, INDEX},
    ("AWS/DynamoDB", "WriteThrottleEvents"): {TABLE, INDEX},
    ("AWS/DynamoDB", "SuccessfulRequestLatency"): {("TableName", "Operation")},
}
"""Namespace and name of a metric -> the dimensions that it is told by, as the services' guides list them."""

OPERATIONS_OF_THE_WORKER = {"GetItem", "UpdateItem", "TransactWriteItems"}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return templates.template("dashboard.yaml")


@pytest.fixture(scope="module")
def widgets(template: dict[str, Any]) -> list[dict[str, Any]]:
    body = json.loads(template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    shown: list[dict[str, Any]] = body["widgets"]
    return shown


def metrics(widgets: list[dict[str, Any]]) -> list[tuple[str, str, dict[str, str]]]:
    """Return namespace, name and dimensions of every metric, without the expressions."""
    found = []
    for widget in widgets:
        for line in widget["properties"]["metrics"]:
            names = [part for part in line if isinstance(part, str)]
            if names:
                namespace, name, *dimensions = names
                found.append((namespace, name, dict(zip(dimensions[::2], dimensions[1::2], strict=True))))
    return found


def test_only_metrics_that_exist_are_shown(widgets: list[dict[str, Any]]) -> None:
    filters = (
        resource["Properties"]["MetricTransformations"][0]
        for resource in templates.template("service.yaml")["Resources"].values()
        if resource["Type"] == "AWS::Logs::MetricFilter" and "Condition" not in resource
    )
    counted: dict[tuple[str, str], set[tuple[str, ...]]] = {
        ("${MetricNamespace}", one["MetricName"]): {()} for one in filters
    }
    known = SENT_BY_AWS | counted
    for namespace, name, dimensions in metrics(widgets):
        assert tuple(dimensions) in known[namespace, name]
    assert {one[1] for one in metrics(widgets)} == {name for _, name in known}


def test_dimensions_are_named_by_parameters_and_by_what_the_table_has(
    template: dict[str, Any], widgets: list[dict[str, Any]]
) -> None:
    for _, _, dimensions in metrics(widgets):
        for name, value in dimensions.items():
            if name == "GlobalSecondaryIndexName":
                assert value in INDEXES
            elif name == "Operation":
                assert value in OPERATIONS_OF_THE_WORKER
            elif name == "QueueName":
                assert value in {"${QueueName}", "${DeadLetterQueueName}"}
            else:
                assert value == f"${{{name}}}"
                assert name in template["Parameters"]


@pytest.mark.parametrize(
    "metric", ["ReadThrottleEvents", "WriteThrottleEvents", "ConsumedWriteCapacityUnits"]
)
def test_the_table_and_each_of_its_indexes_are_shown(widgets: list[dict[str, Any]], metric: str) -> None:
    shown = [dimensions for _, name, dimensions in metrics(widgets) if name == metric]
    assert {one.get("GlobalSecondaryIndexName") for one in shown} == {None, *INDEXES}


def test_expressions_use_metrics_of_their_own_widget(widgets: list[dict[str, Any]]) -> None:
    expressions = 0
    for widget in widgets:
        options = [line[-1] for line in widget["properties"]["metrics"]]
        ids = {one["id"] for one in options if "id" in one}
        for one in options:
            if "expression" in one:
                expressions += 1
                used = set(re.findall(r"[a-z]\w*", one["expression"]))
                assert used <= ids - {one["id"]}
    assert expressions == 3


def test_widgets_fit_into_24_columns_without_overlapping(widgets: list[dict[str, Any]]) -> None:
    cells = [
        {
            (x, y)
            for x in range(one["x"], one["x"] + one["width"])
            for y in range(one["y"], one["y"] + one["height"])
        }
        for one in widgets
    ]
    assert all(x < 24 for one in cells for x, _ in one)
    assert all(not one & other for one, other in combinations(cells, 2))


def test_every_variable_in_the_body_is_a_parameter(template: dict[str, Any]) -> None:
    body = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    used = set(re.findall(r"\$\{([\w:]+)\}", body))
    assert used - {"AWS::Region"} == template["Parameters"].keys() - {"DashboardName"}


def test_it_shows_the_queues_and_the_table_of_the_storage_template(template: dict[str, Any]) -> None:
    storage = templates.template("storage.yaml")["Parameters"]
    for name in ("QueueName", "DeadLetterQueueName", "TableName"):
        assert template["Parameters"][name]["Default"] == storage[name]["Default"]
