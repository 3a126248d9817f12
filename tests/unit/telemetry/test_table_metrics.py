from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.builders import NOON
from tests.support.retry import NO_WAIT
from worker.domain.errors import TransientError
from worker.telemetry.table_metrics import METRICS, OPERATIONS, PERIOD, TableMetrics, window


async def test_all_pages_of_metrics_are_read() -> None:
    start, end = window(NOON, hours=1)
    requests: list[dict[str, Any]] = []

    async def in_two_pages(**request: Any) -> Any:
        requests.append(request)
        first = "NextToken" not in request
        result = {
            "Timestamps": [start if first else start + PERIOD],
            "Values": [1.0],
            "StatusCode": "PartialData" if first else "Complete",
        }
        of_first_metric = [query["Id"] for query in request["MetricDataQueries"][:3]]
        page = {"MetricDataResults": [{"Id": query_id, **result} for query_id in of_first_metric]}
        return page | ({"NextToken": "more"} if first else {})

    paged = SimpleNamespace(get_metric_data=in_two_pages)
    consumed, *_ = await TableMetrics(paged, table="metadata", indexes=(), retry=NO_WAIT).read(start, end)  # type: ignore[arg-type]  # a fake

    assert [point.at for point in consumed.points] == [start, start + PERIOD]
    assert [request.get("NextToken") for request in requests] == [None, "more"]


async def test_each_metric_is_requested_with_the_dimensions_under_which_dynamodb_publishes_it() -> None:
    requested: list[tuple[str, dict[str, str]]] = []

    async def record(**request: Any) -> Any:
        for query in request["MetricDataQueries"]:
            metric = query["MetricStat"]["Metric"]
            dimensions = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
            requested.append((metric["MetricName"], dimensions))
        return {"MetricDataResults": []}

    reader = TableMetrics(
        SimpleNamespace(get_metric_data=record),  # type: ignore[arg-type]  # a fake
        table="metadata",
        indexes=("UserImages",),
        retry=NO_WAIT,
    )
    await reader.read(*window(NOON, hours=1))

    names = {metric: [given for name, given in requested if name == metric][::3] for metric in METRICS}
    assert names["UserErrors"] == [{}]
    assert names["SystemErrors"] == [{"TableName": "metadata", "Operation": each} for each in OPERATIONS]
    of_index = {"TableName": "metadata", "GlobalSecondaryIndexName": "UserImages"}
    assert names["ReadThrottleEvents"] == [{"TableName": "metadata"}, of_index]
    assert len(requested) <= 500, "quota of one request"


def test_the_window_ends_with_the_current_period() -> None:
    start, end = window(NOON + timedelta(seconds=1), hours=2)
    assert (start, end) == (NOON + PERIOD - timedelta(hours=2), NOON + PERIOD)
    assert window(NOON, hours=1)[1] == NOON


async def test_a_metric_that_cloudwatch_cannot_read_is_an_error() -> None:
    async def failing(**request: Any) -> Any:
        first, *_ = request["MetricDataQueries"]
        result = {"Id": first["Id"], "StatusCode": "InternalError", "Timestamps": [], "Values": []}
        return {"MetricDataResults": [result]}

    client = SimpleNamespace(get_metric_data=failing)
    with pytest.raises(TransientError, match="ConsumedReadCapacityUnits: InternalError"):
        await TableMetrics(client, table="metadata", indexes=(), retry=NO_WAIT).read(*window(NOON, hours=1))  # type: ignore[arg-type]  # a fake
