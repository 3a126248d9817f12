"""
Read the CloudWatch metrics of the table: capacity, throttles and errors.

DynamoDB publishes capacity and throttles for the table and for each index, system errors for each operation,
and user errors only for the whole account and region ("DynamoDB metrics and dimensions", developer guide).
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import TransientError

if TYPE_CHECKING:
    from types_aiobotocore_cloudwatch import CloudWatchClient
    from types_aiobotocore_cloudwatch.type_defs import (
        DimensionTypeDef,
        GetMetricDataInputTypeDef,
        GetMetricDataOutputTypeDef,
        MetricDataQueryTypeDef,
    )

PERIOD: Final = timedelta(minutes=5)
NAMESPACE: Final = "AWS/DynamoDB"

OPERATIONS: Final = (
    "BatchGetItem",
    "BatchWriteItem",
    "DeleteItem",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "TransactGetItems",
    "TransactWriteItems",
    "UpdateItem",
)
"""Operations on items, for which DynamoDB publishes system errors."""


class Scope(StrEnum):
    """What the values of a metric refer to."""

    TABLE = "table"
    INDEX = "index"
    ACCOUNT = "account"


METRICS: Final[Mapping[str, Scope]] = {
    "ConsumedReadCapacityUnits": Scope.INDEX,
    "ConsumedWriteCapacityUnits": Scope.INDEX,
    "ProvisionedReadCapacityUnits": Scope.INDEX,
    "ProvisionedWriteCapacityUnits": Scope.INDEX,
    "ReadThrottleEvents": Scope.INDEX,
    "WriteThrottleEvents": Scope.INDEX,
    "UserErrors": Scope.ACCOUNT,
    "SystemErrors": Scope.TABLE,
}
"""Metric -> the narrowest scope for which it is published."""

LEVELS: Final = frozenset({"ProvisionedReadCapacityUnits", "ProvisionedWriteCapacityUnits"})
"""Metrics that are levels, which must not be summed over time."""

_STATISTICS: Final = ("Sum", "SampleCount", "Maximum")
_MAX_DATAPOINTS: Final = 100_800
"""Quota of CloudWatch for one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The statistics of one period; `samples` is the number of values in it."""

    at: datetime
    sum: float
    samples: float
    maximum: float

    @property
    def average(self) -> float:
        """Average of the samples, as CloudWatch defines it."""
        return self.sum / self.samples if self.samples else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """
    One metric of the table, of one index or of the account.

    Attributes:
        metric: Name of the metric.
        scope: What the values refer to.
        index: Name of the index; None for the table or the account.
        points: Statistics of each period with samples, oldest first.
    """

    metric: str
    scope: Scope
    index: str | None
    points: tuple[Point, ...]

    @property
    def sum(self) -> float:
        """Sum over all periods."""
        return sum(point.sum for point in self.points)

    @property
    def average(self) -> float:
        """Average over all samples; a period with more of them has more weight."""
        samples = sum(point.samples for point in self.points)
        return self.sum / samples if samples else 0.0

    @property
    def maximum(self) -> float:
        """Maximum of all samples."""
        return max((point.maximum for point in self.points), default=0.0)


def window(now: datetime, *, hours: int) -> tuple[datetime, datetime]:
    """Return start and end of the last hours, rounded up to include the current period."""
    end = datetime.fromtimestamp(-(-now.timestamp() // PERIOD.total_seconds()) * PERIOD.total_seconds(), UTC)
    return end - timedelta(hours=hours), end


class TableMetrics:
    """
    Reads the metrics of one table.

    Args:
        client: CloudWatch client.
        table: Name of the table.
        indexes: Names of its indexes.
        retry: Retry policy for each request.
    """

    def __init__(
        self, client: "CloudWatchClient", *, table: str, indexes: Sequence[str], retry: RetryPolicy
    ) -> None:
        self._client, self._table, self._indexes, self._retry = client, table, tuple(indexes), retry

    async def read(self, start: datetime, end: datetime) -> list[Series]:
        """
        Return all metrics: first those of the table or account, then those of each index.

        Raises:
            TransientError: CloudWatch is unavailable, or rejected the request.
        """
        queries: list[MetricDataQueryTypeDef] = []
        requested: dict[str, tuple[Series, str]] = {}
        empty = self._empty_series()
        for series in empty:
            for dimensions in self._dimensions(series):
                for statistic in _STATISTICS:
                    query_id = f"q{len(queries)}"
                    requested[query_id] = series, statistic
                    queries.append(_query(query_id, series.metric, dimensions, statistic))
        values: dict[Series, dict[datetime, dict[str, list[float]]]] = defaultdict(dict)
        async for page in self._pages(queries, start, end):
            for result in page["MetricDataResults"]:
                series, statistic = requested[result["Id"]]
                status = result.get("StatusCode")
                if status in {"InternalError", "Forbidden"}:
                    message = f"CloudWatch could not read {series.metric}: {status}"
                    raise TransientError(message)
                for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                    statistics = values[series].setdefault(at.astimezone(UTC), defaultdict(list))
                    statistics[statistic].append(value)
        return [_with_points(series, values[series]) for series in empty]

    def _empty_series(self) -> list[Series]:
        of_table = [
            Series(
                metric=metric,
                scope=Scope.ACCOUNT if narrowest is Scope.ACCOUNT else Scope.TABLE,
                index=None,
                points=(),
            )
            for metric, narrowest in METRICS.items()
        ]
        of_indexes = [
            Series(metric=metric, scope=Scope.INDEX, index=index, points=())
            for index in self._indexes
            for metric, narrowest in METRICS.items()
            if narrowest is Scope.INDEX
        ]
        return of_table + of_indexes

    def _dimensions(self, series: Series) -> "list[list[DimensionTypeDef]]":
        """Return the sets of dimensions whose values add up to the series."""
        if series.scope is Scope.ACCOUNT:
            return [[]]
        table: DimensionTypeDef = {"Name": "TableName", "Value": self._table}
        if series.index is not None:
            return [[table, {"Name": "GlobalSecondaryIndexName", "Value": series.index}]]
        if METRICS[series.metric] is Scope.TABLE:
            return [[table, {"Name": "Operation", "Value": operation}] for operation in OPERATIONS]
        return [[table]]

    async def _pages(
        self, queries: "list[MetricDataQueryTypeDef]", start: datetime, end: datetime
    ) -> "AsyncIterator[GetMetricDataOutputTypeDef]":
        request: GetMetricDataInputTypeDef = {
            "MetricDataQueries": queries,
            "StartTime": start,
            "EndTime": end,
            "ScanBy": "TimestampAscending",
            "MaxDatapoints": _MAX_DATAPOINTS,
        }
        while True:
            get_page = partial(self._client.get_metric_data, **request)
            page = await call_with_retry(get_page, self._retry, what="read the table's metrics")
            yield page
            if not page.get("NextToken"):
                return
            request["NextToken"] = page["NextToken"]


def _query(
    query_id: str, metric: str, dimensions: "list[DimensionTypeDef]", statistic: str
) -> "MetricDataQueryTypeDef":
    return {
        "Id": query_id,
        "MetricStat": {
            "Metric": {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": dimensions},
            "Period": int(PERIOD.total_seconds()),
            "Stat": statistic,
        },
    }


def _with_points(series: Series, values: Mapping[datetime, Mapping[str, list[float]]]) -> Series:
    points = tuple(
        Point(
            at=at,
            sum=sum(statistics["Sum"]),
            samples=sum(statistics["SampleCount"]),
            maximum=max(statistics["Maximum"], default=0.0),
        )
        for at, statistics in sorted(values.items())
    )
    return Series(metric=series.metric, scope=series.scope, index=series.index, points=points)
