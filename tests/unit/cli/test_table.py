import pytest

from worker.cli.table import remarks, sparkline
from worker.telemetry.table_metrics import METRICS, Scope, Series


def test_a_table_without_figures_is_explained() -> None:
    silent = [Series(metric=metric, scope=Scope.TABLE, index=None, points=()) for metric in METRICS]
    (sentence,) = remarks(silent, table_name="metadata", hours=3)
    assert sentence.startswith("CloudWatch has no figures of metadata for the last 3 hours.")


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
def test_bars_are_as_high_as_their_values_and_gaps_stay_gaps(
    values: list[float | None], expected: str
) -> None:
    assert sparkline(values, most=4) == expected
