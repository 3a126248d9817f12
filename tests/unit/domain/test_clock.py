from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.domain import clock

OFFSETS = st.timezones() | st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
TIMES = st.datetimes(timezones=OFFSETS, min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29))  # noqa: DTZ001 - hypothesis adds the zone
# In UTC to compare: Python treats times in a repeated hour as unequal to times in another zone (PEP 495).
WHOLE_MILLISECONDS = TIMES.map(lambda at: clock.to_milliseconds(at.astimezone(UTC)))


@given(WHOLE_MILLISECONDS)
@example(datetime(999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC))
def test_a_time_formatted_as_text_parses_back_equal(at: datetime) -> None:
    assert at == clock.from_text(clock.to_text(at))


@given(WHOLE_MILLISECONDS)
@example(datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC))
@example(datetime(2109, 4, 3, 1, 2, 3, 999_000, tzinfo=UTC))  # its float is slightly below the millisecond
@example(datetime(9999, 12, 29, 23, 59, 59, 999_000, tzinfo=UTC))
def test_a_time_converted_to_milliseconds_converts_back_equal(at: datetime) -> None:
    assert at == clock.from_epoch_ms(clock.to_epoch_ms(at))


@given(TIMES, TIMES)
@example(datetime(999, 1, 1, tzinfo=UTC), datetime(1000, 1, 1, tzinfo=UTC))
def test_text_sorts_by_time(left: datetime, right: datetime) -> None:
    left, right = clock.to_milliseconds(left.astimezone(UTC)), clock.to_milliseconds(right.astimezone(UTC))

    assert (left < right) == (clock.to_text(left) < clock.to_text(right))


@given(TIMES)
def test_a_time_is_truncated_not_rounded(at: datetime) -> None:
    truncated = clock.to_milliseconds(at)

    assert timedelta(0) <= at - truncated < timedelta(milliseconds=1)
    assert clock.to_text(at) == clock.to_text(truncated)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T12:00:05.123Z",
        "2024-01-01T12:00:05.123456Z",
        "2024-01-01T14:00:05.123+02:00",
        "2024-01-01T12:00:05.123",
        "20240101T120005.123Z",
    ],
)
def test_every_iso_8601_form_parses_to_the_same_time(text: str) -> None:
    assert clock.to_text(clock.from_text(text)) == "2024-01-01T12:00:05.123Z"


def test_three_decimals_are_formatted_even_if_they_are_zero() -> None:
    assert clock.to_text(datetime(2024, 1, 1, 12, tzinfo=UTC)) == "2024-01-01T12:00:00.000Z"


@pytest.mark.parametrize("text", ["", "noon", "2024-13-01T00:00:00Z", "1704110400"])
def test_text_that_is_not_a_time_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|month"):
        clock.from_text(text)


def test_now_is_in_utc_and_whole_milliseconds() -> None:
    now = clock.utc_now()

    assert (now.tzinfo, now) == (UTC, clock.to_milliseconds(now))
