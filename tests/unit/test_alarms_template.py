from typing import Any

import pytest

from tests import templates
from worker.checks.table import INDEXES


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return templates.template("alarms.yaml")


def throttles(template: dict[str, Any], direction: str) -> dict[str, Any]:
    properties: dict[str, Any] = template["Resources"][f"{direction}Throttles"]["Properties"]
    return properties


@pytest.mark.parametrize("direction", ["Read", "Write"])
def test_more_than_ten_throttles_in_each_of_two_periods_of_five_minutes_are_an_alarm(
    template: dict[str, Any], direction: str
) -> None:
    alarm = throttles(template, direction)
    assert (alarm["ComparisonOperator"], alarm["Threshold"], alarm["EvaluationPeriods"]) == (
        "GreaterThanThreshold",
        10,
        2,
    )
    assert alarm["TreatMissingData"] == "notBreaching"
    for metric in alarm["Metrics"][1:]:
        assert (metric["MetricStat"]["Stat"], metric["MetricStat"]["Period"]) == ("Sum", 300)


@pytest.mark.parametrize("direction", ["Read", "Write"])
def test_throttles_are_counted_of_the_table_and_of_each_index(
    template: dict[str, Any], direction: str
) -> None:
    total, *counted = throttles(template, direction)["Metrics"]
    assert (total["Expression"], total["ReturnData"]) == ("SUM(FILL(METRICS(), 0))", True)
    table = {"Name": "TableName", "Value": {"Ref": "TableName"}}
    assert [one["MetricStat"]["Metric"] for one in counted] == [
        {"Namespace": "AWS/DynamoDB", "MetricName": f"{direction}ThrottleEvents", "Dimensions": dimensions}
        for dimensions in (
            [table],
            *([table, {"Name": "GlobalSecondaryIndexName", "Value": index}] for index in INDEXES),
        )
    ]
    assert not any(one["ReturnData"] for one in counted), "an alarm follows one figure"


def test_a_topic_is_told_where_there_is_one(template: dict[str, Any]) -> None:
    for resource in template["Resources"].values():
        alarm = resource["Properties"]
        named = templates.resolved(alarm["AlarmActions"], template | {"Conditions": {"HasTopic": True}})
        assert named == [""]  # the parameter's default
        assert alarm["AlarmActions"] == alarm["OKActions"]
    assert template["Parameters"]["TopicArn"]["Default"] == ""
