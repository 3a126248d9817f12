"""Times in UTC with millisecond precision, as the record stores them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the current time in UTC, truncated to milliseconds."""
    return to_milliseconds(datetime.now(UTC))


def to_milliseconds(at: datetime) -> datetime:
    """Truncate a time to milliseconds, so that it reads back equal from the record."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def to_text(at: datetime) -> str:
    """Format a time with exactly three decimals, so that text sorts by time: `2024-01-01T12:00:05.123Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def from_text(text: str) -> datetime:
    """
    Parse an ISO 8601 time of any precision; without an offset it is UTC.

    Raises:
        ValueError: The text is not an ISO 8601 time.
    """
    at = datetime.fromisoformat(text)
    return to_milliseconds(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))


def to_epoch_ms(at: datetime) -> int:
    """Return the milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def from_epoch_ms(epoch_ms: int) -> datetime:
    """Return the time in UTC from milliseconds since 1970."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)
