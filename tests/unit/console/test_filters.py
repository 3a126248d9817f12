from datetime import datetime, timedelta

import pytest

from tests.support.builders import NOON
from worker.console.filters import ago, iso, utc


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (0.9, "just now"),
        (1, "1 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3_599, "59 min ago"),
        (3_600, "1 h ago"),
        (86_399, "23 h ago"),
        (86_400, "1 d ago"),
        (40 * 86_400, "40 d ago"),
        (-0.5, "just now"),
        (-90, "in 1 min"),
    ],
)
def test_a_time_is_shown_as_its_distance_from_now(seconds: float, text: str) -> None:
    assert ago(NOON, now=lambda: NOON + timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("at", ["2024-01-01T12:00:00Z", "2024-01-01T14:00:00.000123+02:00", NOON])
def test_a_time_for_programs_has_the_format_of_the_record(at: str | datetime) -> None:
    assert iso(at) == "2024-01-01T12:00:00.000Z"


def test_a_time_is_shown_in_utc() -> None:
    assert utc("2024-01-31T12:00:05.123+02:00") == "2024-01-31 10:00:05.123 UTC"
