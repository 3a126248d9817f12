"""The alerts for Prometheus: the same conditions as the CloudWatch alarms, tried on series by promtool."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple

import promql_parser
import pytest
import yaml

from tests.support import templates
from tests.unit.config.test_grafana import KNOWN, SELECTED, selected

KUBERNETES: Final = Path(__file__).parents[3] / "config" / "kubernetes"
EXAMPLE: Final = KUBERNETES / "overlays" / "example"
RULE: Final[dict[str, Any]] = yaml.safe_load((EXAMPLE / "prometheus-rule.yaml").read_text())
PREFIX: Final = "ImageWorker"
ALERTS: Final[dict[str, dict[str, Any]]] = {
    one["alert"].removeprefix(PREFIX): one for group in RULE["spec"]["groups"] for one in group["rules"]
}
ALARMS: Final = templates.template("alarms.yaml")
UNITS_S: Final = {"m": 60, "h": 3600, "d": 86_400}
SCRAPES_S: Final = 120
"""The shortest range in which there are two scrapes, at an interval of 30 s, whatever is late."""


def alarm(name: str) -> dict[str, Any]:
    """Return the properties of a CloudWatch alarm with the parameters' defaults."""
    properties = ALARMS["Resources"][name]["Properties"]
    found: dict[str, Any] = templates.resolved(properties, ALARMS, ServiceName="worker")
    return found


def seconds(duration: str) -> int:
    found = re.fullmatch(r"(\d+)([mhd])", duration)
    assert found
    return int(found[1]) * UNITS_S[found[2]]


def period_s(properties: dict[str, Any]) -> int:
    """Return the period of an alarm, that of its metrics if it has an expression."""
    periods = {one["MetricStat"]["Period"] for one in properties.get("Metrics", []) if "MetricStat" in one}
    (period,) = periods or {properties["Period"]}
    return int(period)


def thresholds(expression: str) -> list[float]:
    """Return the numbers that the results of an expression are compared with."""
    return [float(number) for number in re.findall(r">=? ([\d.]+)(?![\d.]*\w)", expression)]


def test_every_cloudwatch_alarm_has_an_alert_of_its_name_and_every_alert_an_alarm() -> None:
    assert ALERTS.keys() == ALARMS["Resources"].keys()


@pytest.mark.parametrize(
    "name", ["DeadLetters", "OldMessages", "Failures", "ReadThrottles", "WriteThrottles"]
)
def test_the_threshold_is_that_of_the_alarm(name: str) -> None:
    assert thresholds(ALERTS[name]["expr"])[0] == float(alarm(name)["Threshold"])


@pytest.mark.parametrize(
    "name",
    ["DeadLetters", "OldMessages", "NoProgress", "Failures", "ReadThrottles", "WriteThrottles", "AtMaxTasks"],
)
def test_the_condition_has_to_hold_as_long_as_in_cloudwatch(name: str) -> None:
    """An alarm needs N periods; the first of them has passed when the expression of an alert becomes true."""
    properties = alarm(name)
    period = period_s(properties)
    assert seconds(ALERTS[name]["for"]) == (int(properties["EvaluationPeriods"]) - 1) * period
    for window in re.findall(r"\[(\w+)\]", ALERTS[name]["expr"]):
        assert seconds(window) == max(period, SCRAPES_S)


def test_the_failures_alert_needs_the_minimum_of_finished_images_too() -> None:
    least = ALARMS["Parameters"]["FailuresCountFrom"]["Default"]
    assert thresholds(ALERTS["Failures"]["expr"]) == [float(alarm("Failures")["Threshold"]), float(least)]


def test_dead_letters_are_old_after_as_many_days_as_in_cloudwatch() -> None:
    assert seconds(ALERTS["OldDeadLetters"]["for"]) == alarm("OldDeadLetters")["Threshold"] * 86_400
    (window,) = re.findall(r"\[(\w+)\]", ALERTS["OldDeadLetters"]["expr"])
    assert seconds(window) == period_s(alarm("OldDeadLetters"))


def test_the_check_of_uploads_may_be_missing_as_long_as_in_cloudwatch() -> None:
    assert thresholds(ALERTS["UnannouncedUploads"]["expr"]) == [0, period_s(alarm("UnannouncedUploads"))]


@pytest.mark.parametrize("name", ALERTS)
def test_expressions_are_promql_about_existing_metrics_labels_and_objects(name: str) -> None:
    expression = ALERTS[name]["expr"]
    promql_parser.parse(expression)
    for metric, matched in selected(expression):
        _kind, labels = KNOWN[metric.removesuffix("_bucket")]
        assert matched <= labels | {"namespace", "le"}
    assert len(SELECTED.findall(expression)) == len(re.findall("image_worker_", expression))
    namespace = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())["namespace"]
    selectors = re.findall(r"\{([^}]*)\}", expression)
    assert selectors
    assert all(f'namespace="{namespace}"' in one for one in selectors)


def test_objects_in_selectors_are_those_of_the_manifests() -> None:
    scaled = yaml.safe_load((KUBERNETES / "base" / "scaled-object.yaml").read_text())
    assert f'horizontalpodautoscaler="keda-hpa-{scaled["metadata"]["name"]}"' in ALERTS["AtMaxTasks"]["expr"]
    job = yaml.safe_load((KUBERNETES / "components" / "upload-check" / "cron-job.yaml").read_text())
    expression = ALERTS["UnannouncedUploads"]["expr"]
    assert f'cronjob="{job["metadata"]["name"]}"' in expression
    assert f'job_name=~"{job["metadata"]["name"]}-.+"' in expression


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_to_do_and_links_to_its_runbook_entry(name: str) -> None:
    annotations = ALERTS[name]["annotations"]
    assert "`image-worker " in annotations["description"]
    address = ALARMS["Resources"][name]["Properties"]["AlarmDescription"]["Fn::Sub"].rpartition("#")[2]
    assert annotations["runbook_url"].endswith(f"/docs/operations/respond.md#{address}")
    assert ALERTS[name]["labels"].keys() == {"severity"}


class Case(NamedTuple):
    """
    Series of a minute's interval (an hour's for old dead letters), and whether the alert is on at a minute.

    The notation is promtool's: `5x10` is eleven times 5, `0+3x10` grows by 3.
    """

    alert: str
    series: dict[str, str]
    minute: int
    is_on: bool


def queue(state: str) -> str:
    return f'image_worker_queue_messages{{namespace="image-worker",instance="a",state="{state}"}}'


def images(status: str) -> str:
    return f'image_worker_images_total{{namespace="image-worker",instance="a",status="{status}",code=""}}'


def ages(le: str) -> str:
    return f'image_worker_message_age_seconds_bucket{{namespace="image-worker",instance="a",le="{le}"}}'


def throttled(operation: str) -> str:
    labels = f'namespace="image-worker",instance="a",service="dynamodb",operation="{operation}"'
    return f"image_worker_aws_throttles_total{{{labels}}}"


def hpa(metric: str) -> str:
    labels = 'namespace="image-worker",horizontalpodautoscaler="keda-hpa-image-worker"'
    return f"kube_horizontalpodautoscaler_{metric}_replicas{{{labels}}}"


DELETED: Final = (
    'image_worker_aws_calls_total{namespace="image-worker",instance="a",service="sqs",'
    'operation="DeleteMessageBatch",code="OK"}'
)
JOB: Final = 'kube_job_status_failed{namespace="image-worker",job_name="image-worker-upload-check-291"}'
SUCCEEDED: Final = (
    'kube_cronjob_status_last_successful_time{namespace="image-worker",cronjob="image-worker-upload-check"}'
)
CASES: Final = [
    Case("DeadLetters", {queue("dead"): "0x10 1x10"}, 9, is_on=False),
    Case("DeadLetters", {queue("dead"): "0x10 1x10"}, 11, is_on=True),
    Case("OldDeadLetters", {queue("dead"): "1x264"}, 239 * 60, is_on=False),
    Case("OldDeadLetters", {queue("dead"): "1x264"}, 241 * 60, is_on=True),
    Case("OldDeadLetters", {queue("dead"): "1x120 0x3 1x144"}, 264 * 60, is_on=False),
    Case(
        "OldMessages",
        {ages("600.0"): "0x20", ages("1800.0"): "0+9x20", ages("+Inf"): "0+9x20"},
        4,
        is_on=False,
    ),
    Case(
        "OldMessages",
        {ages("600.0"): "0x20", ages("1800.0"): "0+9x20", ages("+Inf"): "0+9x20"},
        9,
        is_on=True,
    ),
    Case(
        "OldMessages",
        {ages("600.0"): "0+8x20", ages("1800.0"): "0+9x20", ages("+Inf"): "0+9x20"},
        9,
        is_on=False,
    ),
    Case("NoProgress", {queue("visible"): "5x20", DELETED: "7x20"}, 8, is_on=False),
    Case("NoProgress", {queue("visible"): "5x20", DELETED: "7x20"}, 12, is_on=True),
    Case("NoProgress", {queue("visible"): "5x20"}, 12, is_on=True),
    Case("NoProgress", {queue("visible"): "5x20", DELETED: "0+1x20"}, 15, is_on=False),
    Case("NoProgress", {queue("visible"): "0x20", DELETED: "7x20"}, 15, is_on=False),
    Case("NoProgress", {JOB: "0x20"}, 15, is_on=True),
    Case("Failures", {images("failed"): "0+3x30", images("completed"): "0+9x30"}, 8, is_on=False),
    Case("Failures", {images("failed"): "0+3x30", images("completed"): "0+9x30"}, 20, is_on=True),
    Case("Failures", {images("failed"): "0+1x30", images("completed"): "0+9x30"}, 20, is_on=False),
    Case("Failures", {images("failed"): "0+1x30", images("completed"): "0+1x30"}, 20, is_on=False),
    Case("ReadThrottles", {throttled("GetItem"): "0+3x30"}, 4, is_on=False),
    Case("ReadThrottles", {throttled("GetItem"): "0+3x30"}, 15, is_on=True),
    Case("ReadThrottles", {throttled("GetItem"): "0+2x30"}, 15, is_on=False),
    Case("ReadThrottles", {throttled("UpdateItem"): "0+9x30"}, 15, is_on=False),
    Case("WriteThrottles", {throttled("TransactWriteItems"): "0+3x30"}, 15, is_on=True),
    Case("WriteThrottles", {throttled("Query"): "0+9x30"}, 15, is_on=False),
    Case("AtMaxTasks", {hpa("status_desired"): "20x90", hpa("spec_max"): "20x90"}, 50, is_on=False),
    Case("AtMaxTasks", {hpa("status_desired"): "20x90", hpa("spec_max"): "20x90"}, 60, is_on=True),
    Case(
        "AtMaxTasks", {hpa("status_desired"): "20x30 19x2 20x60", hpa("spec_max"): "20x90"}, 60, is_on=False
    ),
    Case("UnannouncedUploads", {JOB: "1x30", SUCCEEDED: "0x30"}, 10, is_on=True),
    Case("UnannouncedUploads", {JOB: "0x30", SUCCEEDED: "0x30"}, 10, is_on=False),
    Case("UnannouncedUploads", {SUCCEEDED: "0x800"}, 719, is_on=False),
    Case("UnannouncedUploads", {SUCCEEDED: "0x800"}, 722, is_on=True),
]


def test_every_alert_is_tried_on_and_off() -> None:
    assert {(one.alert, one.is_on) for one in CASES} == {
        (name, on) for name in ALERTS for on in (True, False)
    }


def test_alerts_are_on_exactly_when_their_condition_holds(tmp_path: Path) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    for interval, cases in (
        ("1m", [one for one in CASES if one.alert != "OldDeadLetters"]),
        ("1h", [one for one in CASES if one.alert == "OldDeadLetters"]),
    ):
        rules = tmp_path / f"rules-{interval}.json"
        tried = [ALERTS[name] for name in sorted({one.alert for one in cases})]
        rules.write_text(json.dumps({"groups": [{"name": "tried", "rules": tried}]}))
        document = {
            "rule_files": [str(rules)],
            "evaluation_interval": interval,
            "tests": [promtool_test(case, interval) for case in cases],
        }
        file = tmp_path / f"tests-{interval}.json"
        file.write_text(json.dumps(document))
        run = subprocess.run(
            [promtool, "test", "rules", file], check=False, capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, run.stdout + run.stderr


def promtool_test(case: Case, interval: str) -> dict[str, Any]:
    """Return a case in the format of `promtool test rules`."""
    rule = ALERTS[case.alert]
    of_objects = {"namespace": "image-worker", "horizontalpodautoscaler": "keda-hpa-image-worker"}
    labels = rule["labels"] | (of_objects if case.alert == "AtMaxTasks" else {})
    expected = {"exp_labels": labels, "exp_annotations": rule["annotations"]}
    return {
        "name": f"{case.alert} at {case.minute} min",
        "interval": interval,
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [
            {
                "eval_time": f"{case.minute}m",
                "alertname": rule["alert"],
                "exp_alerts": [expected] if case.is_on else [],
            }
        ],
    }
