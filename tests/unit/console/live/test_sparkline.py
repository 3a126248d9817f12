"""Series of numbers as lines."""

from hypothesis import given
from hypothesis import strategies as st

from worker.console.live.sparkline import HEIGHT, WIDTH, sparkline


def test_the_latest_value_is_at_the_right_edge_and_the_highest_at_the_top() -> None:
    line = sparkline([(30.0, 0), (15.0, 10), (0.0, 5)], span=30.0)
    assert line.points == "0.0,47.0 150.0,1.0 300.0,24.0"
    assert (line.latest, line.highest) == (5, 10)


def test_a_series_without_values_has_no_line() -> None:
    line = sparkline([], span=30.0)
    assert (line.points, line.latest, line.highest) == ("", None, None)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 2**63)), max_size=400), st.floats(0.1, 1e6))
def test_every_point_is_in_the_box(series: list[tuple[float, int]], span: float) -> None:
    for point in sparkline(series, span=span).points.split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
