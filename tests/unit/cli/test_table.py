import pytest

from worker.cli.table import explain_metrics, sparkline
from worker.telemetry.table_metrics import METRICS, Scope, Series


def test_missing_metrics_are_explained() -> None:
    empty = [Series(metric=metric, scope=Scope.TABLE, index=None, points=()) for metric in METRICS]
    (sentence,) = explain_metrics(empty, table_name="metadata", hours=3)
    assert sentence.startswith("CloudWatch has no metrics of metadata for the last 3 hours.")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 2, 7], "▁▂▃█"),
        ([0, 0], "▁▁"),
        ([None, 5, None], " █ "),
        ([], ""),
        ([1, None, None, 4, 2, 0], "▃█▅"),
    ],
)
def test_a_sparkline_has_a_bar_per_value_and_gaps_for_missing_values(
    values: list[float | None], expected: str
) -> None:
    assert sparkline(values, max_bars=4) == expected
