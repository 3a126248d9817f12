"""Time as the record writes it: UTC, always three decimals, so that text sorts as time does."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present moment, in UTC, cut to the millisecond that the record keeps."""
    return to_milliseconds(datetime.now(UTC))


def to_milliseconds(at: datetime) -> datetime:
    """Cut a moment to whole milliseconds, so that what is written reads back equal."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def to_text(at: datetime) -> str:
    """Write a moment as the record does: `2024-01-01T12:00:05.123Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def from_text(text: str) -> datetime:
    """
    Read an ISO 8601 moment of any precision; one without an offset is taken as UTC.

    Raises:
        ValueError: The text is not a moment.
    """
    at = datetime.fromisoformat(text)
    return to_milliseconds(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))


def to_epoch_ms(at: datetime) -> int:
    """Count the whole milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def from_epoch_ms(epoch_ms: int) -> datetime:
    """Return the moment that many milliseconds after 1970, in UTC."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)
