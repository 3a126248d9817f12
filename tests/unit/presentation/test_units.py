"""Sizes and durations formatted for people."""

from datetime import timedelta

import pytest

from worker.presentation.units import human_bytes, human_duration, human_shape


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (515, "515 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (82_120, "82 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (2_048_576, "2.0 MB"),
        (52_428_800, "52 MB"),
        (1_073_741_824, "1.1 GB"),
        (5_000_000_000_000, "5.0 TB"),
    ],
)
def test_bytes_are_formatted_with_two_or_three_digits_and_a_unit(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_a_shape_is_formatted_as_width_by_height() -> None:
    assert human_shape((4032, 3024)) == "4032x3024"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(milliseconds=-20), "-20 ms"),
        (timedelta(seconds=9.9994), "9,999 ms"),
        (timedelta(seconds=59.94), "59.9 s"),
        (timedelta(minutes=59, seconds=59), "59 min 59 s"),
        (timedelta(hours=59, minutes=59), "59 h 59 min"),
        (timedelta(hours=60), "2 d 12 h"),
    ],
)
def test_a_duration_has_two_units_at_most(duration: timedelta, text: str) -> None:
    assert human_duration(duration) == text
