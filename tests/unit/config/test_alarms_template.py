import re
from typing import Any

import pytest

from tests.support import templates
from worker.dynamodb.indexes import INDEXES


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return templates.template("alarms.yaml")


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def throttles(template: dict[str, Any], direction: str) -> dict[str, Any]:
    return properties(template, f"{direction}Throttles")


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


def test_one_dead_letter_is_an_alarm(template: dict[str, Any]) -> None:
    alarm = properties(template, "DeadLetters")
    assert _single(alarm) == (
        "AWS/SQS",
        "ApproximateNumberOfMessagesVisible",
        [{"Name": "QueueName", "Value": {"Ref": "DeadLetterQueueName"}}],
    )
    assert (alarm["Statistic"], alarm["Period"], alarm["EvaluationPeriods"]) == ("Maximum", 60, 1)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)


def test_a_message_that_waits_too_long_for_five_minutes_is_an_alarm(template: dict[str, Any]) -> None:
    alarm = properties(template, "OldMessages")
    assert _single(alarm) == (
        "AWS/SQS",
        "ApproximateAgeOfOldestMessage",
        [{"Name": "QueueName", "Value": {"Ref": "QueueName"}}],
    )
    assert (alarm["Statistic"], alarm["Period"], alarm["EvaluationPeriods"]) == ("Maximum", 60, 5)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "GreaterThanThreshold",
        {"Ref": "OldestMessageSeconds"},
    )


def test_uploads_may_wait_longer_than_the_service_is_scaled_for_before_there_is_an_alarm(
    template: dict[str, Any],
) -> None:
    service = templates.template("service.yaml")["Parameters"]
    delay_s = 60  # as long as it takes a task to do its share of the work of a minute
    scaling_out_s = (
        3 * 60 + service["ScaleOutCooldown"]["Default"]
    )  # target tracking looks three minutes back
    assert template["Parameters"]["OldestMessageSeconds"]["Default"] > delay_s + scaling_out_s


@pytest.mark.parametrize(
    ("visible", "deleted", "stuck"),
    [(7.0, None, 7.0), (7.0, 0.0, 7.0), (7.0, 1.0, 0.0), (0.0, None, 0.0)],
)
def test_messages_are_stuck_when_they_wait_and_none_is_deleted(
    template: dict[str, Any], visible: float, deleted: float | None, stuck: float
) -> None:
    expression = _metrics(template, "NoProgress")["stuck"]["Expression"]
    assert stuck == templates.metric_math(expression, visible=visible, deleted=deleted)


def test_ten_minutes_without_progress_are_an_alarm(template: dict[str, Any]) -> None:
    alarm, metrics = properties(template, "NoProgress"), _metrics(template, "NoProgress")
    assert (alarm["ComparisonOperator"], alarm["Threshold"], alarm["EvaluationPeriods"]) == (
        "GreaterThanThreshold",
        0,
        {"Ref": "NoProgressMinutes"},
    )
    assert template["Parameters"]["NoProgressMinutes"]["Default"] == 10
    queue = [{"Name": "QueueName", "Value": {"Ref": "QueueName"}}]
    assert {name: _stat(metrics[name]) for name in ("visible", "deleted")} == {
        "visible": ("Minimum", 60, "AWS/SQS", "ApproximateNumberOfMessagesVisible", queue),
        "deleted": ("Sum", 60, "AWS/SQS", "NumberOfMessagesDeleted", queue),
    }


@pytest.mark.parametrize(
    ("completed", "failed", "percent"),
    [(80.0, 20.0, 20.0), (15.0, 5.0, 25.0), (1.0, 18.0, 0.0), (100.0, 0.0, 0.0)],
)
def test_the_share_of_failures_needs_a_minimum_of_finished_images(
    template: dict[str, Any], completed: float, failed: float, percent: float
) -> None:
    expression = _metrics(template, "Failures")["percent"]["Expression"]["Fn::Sub"]
    least = str(template["Parameters"]["FailuresCountFrom"]["Default"])
    assert percent == templates.metric_math(
        expression.replace("${FailuresCountFrom}", least), completed=completed, failed=failed
    )


def test_a_fifth_of_failures_in_each_of_three_periods_of_five_minutes_is_an_alarm(
    template: dict[str, Any],
) -> None:
    alarm, metrics = properties(template, "Failures"), _metrics(template, "Failures")
    assert (alarm["ComparisonOperator"], alarm["Threshold"], alarm["EvaluationPeriods"]) == (
        "GreaterThanThreshold",
        {"Ref": "FailurePercent"},
        3,
    )
    assert template["Parameters"]["FailurePercent"]["Default"] == 20
    namespace = {"Ref": "MetricNamespace"}
    assert {name: _stat(metrics[name]) for name in ("completed", "failed")} == {
        "completed": ("Sum", 300, namespace, "ImagesCompleted", None),
        "failed": ("Sum", 300, namespace, "ImagesFailed", None),
    }


def test_the_alarm_uses_metrics_that_the_service_template_publishes(template: dict[str, Any]) -> None:
    service = templates.template("service.yaml")
    counted = {
        resource["Properties"]["MetricTransformations"][0]["MetricName"]
        for resource in service["Resources"].values()
        if resource["Type"] == "AWS::Logs::MetricFilter"
    }
    assert {"ImagesCompleted", "ImagesFailed", "UnannouncedUploads"} <= counted


@pytest.mark.parametrize("name", ["alarms.yaml", "dashboard.yaml"])
def test_the_namespace_is_that_of_the_documented_service_stack(name: str) -> None:
    service = templates.template("service.yaml")
    (stack,) = re.findall(r"--stack-name (\S+)", service["Description"])
    assert service["Parameters"]["MetricNamespace"]["Default"] == ""
    namespace = service["Outputs"]["MetricNamespace"]["Value"]
    assert templates.resolved(namespace, service) == {"Fn::Sub": "ImageWorker/${AWS::StackName}"}
    assert templates.template(name)["Parameters"]["MetricNamespace"]["Default"] == f"ImageWorker/{stack}"


def test_missing_data_is_not_breaching_and_every_alarm_says_what_to_do(
    template: dict[str, Any],
) -> None:
    assert set(template["Resources"]) == {
        "DeadLetters",
        "OldMessages",
        "NoProgress",
        "Failures",
        "ReadThrottles",
        "WriteThrottles",
        "OldDeadLetters",
        "AtMaxTasks",
        "UnannouncedUploads",
    }
    for name in template["Resources"]:
        alarm = properties(template, name)
        expected = "breaching" if name == "UnannouncedUploads" else "notBreaching"
        assert alarm["TreatMissingData"] == expected
        assert "`image-worker " in alarm["AlarmDescription"]["Fn::Sub"]
        returned = [one["ReturnData"] for one in alarm.get("Metrics", [])]
        assert returned.count(True) == (1 if returned else 0), "an alarm follows one figure"


RUNBOOK = templates.CLOUDFORMATION.parents[1] / "docs" / "operations" / "respond.md"


@pytest.mark.parametrize("name", ["alarms.yaml", "events.yaml"])
def test_every_description_ends_with_the_address_of_its_runbook_entry(name: str) -> None:
    stack = templates.template(name)
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
    assert stack["Parameters"]["RunbookUrl"]["Default"] == "docs/operations/respond.md"
    alarms = [one for one in stack["Resources"].values() if one["Type"] == "AWS::CloudWatch::Alarm"]
    for alarm in alarms:
        text, _, anchor = alarm["Properties"]["AlarmDescription"]["Fn::Sub"].rpartition(" ${RunbookUrl}#")
        assert text
        assert anchor in anchors
        suffix = alarm["Properties"]["AlarmName"]["Fn::Sub"].rpartition("}-")[2]
        assert anchor == suffix or name == "events.yaml"


def test_alarms_whose_metrics_only_ecs_publishes_exist_only_with_a_service(template: dict[str, Any]) -> None:
    def alarms(**parameters: str) -> set[str]:
        conditions = {name: {"Condition": name} for name in template["Conditions"]}
        return {
            name
            for name, one in template["Resources"].items()
            if "Condition" not in one
            or templates.resolved(conditions[one["Condition"]], template, **parameters)
        }

    everywhere = {
        "DeadLetters",
        "OldMessages",
        "NoProgress",
        "OldDeadLetters",
        "ReadThrottles",
        "WriteThrottles",
    }
    assert alarms() == everywhere
    assert alarms(ServiceName="worker") == set(template["Resources"])
    assert alarms(ServiceName="worker", ChecksUploads="false") == everywhere | {"Failures", "AtMaxTasks"}


def test_an_hour_at_the_maximum_number_of_tasks_is_an_alarm(template: dict[str, Any]) -> None:
    alarm = properties(template, "AtMaxTasks")
    assert _single(alarm) == (
        "ECS/ContainerInsights",
        "DesiredTaskCount",
        [{"Name": name, "Value": {"Ref": name}} for name in ("ClusterName", "ServiceName")],
    )
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 3600
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "Minimum",
        "GreaterThanOrEqualToThreshold",
        {"Ref": "MaxTasks"},
    )
    service = templates.template("service.yaml")["Parameters"]
    assert template["Parameters"]["MaxTasks"]["Default"] == service["MaxTasks"]["Default"]


def test_dead_letters_that_grow_old_are_an_alarm_before_sqs_deletes_them(template: dict[str, Any]) -> None:
    alarm, metrics = properties(template, "OldDeadLetters"), _metrics(template, "OldDeadLetters")
    queue = [{"Name": "QueueName", "Value": {"Ref": "DeadLetterQueueName"}}]
    assert _stat(metrics["age"]) == ("Maximum", 3600, "AWS/SQS", "ApproximateAgeOfOldestMessage", queue)
    assert templates.metric_math(metrics["days"]["Expression"], age=864_000.0) == 10
    assert alarm["Threshold"] == {"Ref": "DeadLetterDays"}
    days = template["Parameters"]["DeadLetterDays"]
    storage = templates.template("storage.yaml")["Resources"]["DeadLetterQueue"]["Properties"]
    assert days["Default"] < days["MaxValue"] < storage["MessageRetentionPeriod"] / 86_400


def test_a_check_of_uploads_that_finds_any_or_does_not_run_is_an_alarm(template: dict[str, Any]) -> None:
    alarm = properties(template, "UnannouncedUploads")
    assert (alarm["Namespace"], alarm["MetricName"]) == ({"Ref": "MetricNamespace"}, "UnannouncedUploads")
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "Maximum",
        "GreaterThanThreshold",
        0,
    )
    (hours,) = re.findall(
        r"rate\((\d+) hours\)",
        templates.template("service.yaml")["Parameters"]["UploadCheckSchedule"]["Default"],
    )
    assert alarm["Period"] == 2 * 3600 * int(hours), "one run may be late"


def test_the_topic_is_notified_if_there_is_one(template: dict[str, Any]) -> None:
    for resource in template["Resources"].values():
        alarm = resource["Properties"]
        named = templates.resolved(alarm["AlarmActions"], template | {"Conditions": {"HasTopic": True}})
        assert named == [""]  # the parameter's default
        assert alarm["AlarmActions"] == alarm["OKActions"]
    assert template["Parameters"]["TopicArn"]["Default"] == ""


def test_the_alarms_use_the_queues_and_the_table_of_the_storage_template(template: dict[str, Any]) -> None:
    storage = templates.template("storage.yaml")["Parameters"]
    for name in ("QueueName", "DeadLetterQueueName", "TableName"):
        assert template["Parameters"][name]["Default"] == storage[name]["Default"]


def _metrics(template: dict[str, Any], alarm: str) -> dict[str, dict[str, Any]]:
    return {one["Id"]: one for one in properties(template, alarm)["Metrics"]}


def _single(alarm: dict[str, Any]) -> tuple[str, str, list[dict[str, Any]]]:
    return alarm["Namespace"], alarm["MetricName"], alarm["Dimensions"]


def _stat(query: dict[str, Any]) -> tuple[Any, ...]:
    stat, metric = query["MetricStat"], query["MetricStat"]["Metric"]
    return stat["Stat"], stat["Period"], metric["Namespace"], metric["MetricName"], metric.get("Dimensions")
