"""
What the table consumes and turns away, as CloudWatch counts it.

Which dimensions a metric has is DynamoDB's: capacity and throttles are told of the table and of each index
apart, errors of the service by operation, and errors of the callers only for the whole account and region
("DynamoDB metrics and dimensions", developer guide).
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
"""Everything that is done with items, by whomever."""


class Scope(StrEnum):
    """What a metric is told of."""

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
"""Metric -> the finest that it is told of."""

LEVELS: Final = frozenset({"ProvisionedReadCapacityUnits", "ProvisionedWriteCapacityUnits"})
"""Metrics that state how much there is; their sum means nothing."""

_STATISTICS: Final = ("Sum", "SampleCount", "Maximum")
_MOST_VALUES: Final = 100_800
"""What CloudWatch puts on one page at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What was counted in one period; `samples` is over how many occasions."""

    at: datetime
    sum: float
    samples: float
    maximum: float

    @property
    def average(self) -> float:
        """The sum over the samples: how CloudWatch defines it."""
        return self.sum / self.samples if self.samples else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """
    One metric of the table, of one index or of the account.

    Attributes:
        index: Its name; None for the table or the account.
        points: Oldest first; a period in which nothing was counted has none.
    """

    metric: str
    scope: Scope
    index: str | None
    points: tuple[Point, ...]

    @property
    def sum(self) -> float:
        """Over all periods."""
        return sum(point.sum for point in self.points)

    @property
    def average(self) -> float:
        """Over all samples, not over the periods: one with more of them counts for more."""
        samples = sum(point.samples for point in self.points)
        return self.sum / samples if samples else 0.0

    @property
    def maximum(self) -> float:
        """The largest single sample."""
        return max((point.maximum for point in self.points), default=0.0)


def window(now: datetime, *, hours: int) -> tuple[datetime, datetime]:
    """Return from when to when to look: whole periods, the one under way included."""
    end = datetime.fromtimestamp(-(-now.timestamp() // PERIOD.total_seconds()) * PERIOD.total_seconds(), UTC)
    return end - timedelta(hours=hours), end


class TableMetrics:
    """
    Reads the metrics of one table.

    Args:
        client: Of CloudWatch.
        table: The table's name.
        indexes: The names of its indexes.
    """

    def __init__(
        self, client: "CloudWatchClient", *, table: str, indexes: Sequence[str], retry: RetryPolicy
    ) -> None:
        self._client, self._table, self._indexes, self._retry = client, table, tuple(indexes), retry

    async def read(self, start: datetime, end: datetime) -> list[Series]:
        """
        Return every metric, of the table or account first and then of each index.

        Raises:
            TransientError: CloudWatch does not answer within its retries, or refuses.
        """
        queries: list[MetricDataQueryTypeDef] = []
        asked: dict[str, tuple[Series, str]] = {}
        empty = self._empty_series()
        for series in empty:
            for dimensions in self._dimensions(series):
                for statistic in _STATISTICS:
                    query_id = f"q{len(queries)}"
                    asked[query_id] = series, statistic
                    queries.append(_query(query_id, series.metric, dimensions, statistic))
        values: dict[Series, dict[datetime, dict[str, list[float]]]] = defaultdict(dict)
        async for page in self._pages(queries, start, end):
            for result in page["MetricDataResults"]:
                if result.get("StatusCode") in {"InternalError", "Forbidden"}:
                    message = (
                        f"CloudWatch does not tell {asked[result['Id']][0].metric}: {result['StatusCode']}"
                    )
                    raise TransientError(message)
                series, statistic = asked[result["Id"]]
                for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                    counted = values[series].setdefault(at.astimezone(UTC), defaultdict(list))
                    counted[statistic].append(value)
        return [_filled(series, values[series]) for series in empty]

    def _empty_series(self) -> list[Series]:
        of_table = [
            Series(
                metric=metric,
                scope=Scope.ACCOUNT if finest is Scope.ACCOUNT else Scope.TABLE,
                index=None,
                points=(),
            )
            for metric, finest in METRICS.items()
        ]
        of_indexes = [
            Series(metric=metric, scope=Scope.INDEX, index=index, points=())
            for index in self._indexes
            for metric, finest in METRICS.items()
            if finest is Scope.INDEX
        ]
        return of_table + of_indexes

    def _dimensions(self, series: Series) -> "list[list[DimensionTypeDef]]":
        """Return the sets of dimensions under which the series is told; several add up."""
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
            "MaxDatapoints": _MOST_VALUES,
        }
        while True:
            ask = partial(self._client.get_metric_data, **request)
            page = await call_with_retry(ask, self._retry, what="read the table's metrics")
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


def _filled(series: Series, values: Mapping[datetime, Mapping[str, list[float]]]) -> Series:
    points = tuple(
        Point(
            at=at,
            sum=sum(counted["Sum"]),
            samples=sum(counted["SampleCount"]),
            maximum=max(counted["Maximum"], default=0.0),
        )
        for at, counted in sorted(values.items())
    )
    return Series(metric=series.metric, scope=series.scope, index=series.index, points=points)
