"""Format file sizes, image dimensions and durations."""

from datetime import timedelta
from typing import Final

_STEP: Final = 1000
_TWO_DIGITS: Final = 9.95
"""From here on, an amount rounds to two digits before the decimal point, and is shown without decimals."""

_SHORT: Final = timedelta(seconds=10)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MINUTE_S: Final = 60
_UNITS: Final = (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86_400, 3600))
"""Unit, next smaller unit, and the seconds of both."""


def human_bytes(count: int) -> str:
    """Return a number of bytes with its unit, in powers of 1000: `515 B`, `82 kB`, `2.1 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < _STEP - 0.5:
            decimals = 1 if amount < _TWO_DIGITS and unit != "B" else 0
            return f"{amount:.{decimals}f} {unit}"
        amount /= _STEP
    return f"{amount:.1f} TB"


def human_shape(size: tuple[int, int]) -> str:
    """Return (width, height) as `4032x3024`."""
    return f"{size[0]}x{size[1]}"


def milliseconds(duration: timedelta) -> int:
    """Return a duration in milliseconds."""
    return round(duration / _MILLISECOND)


def human_duration(duration: timedelta) -> str:
    """Return a duration with the precision that matters: `12 ms`, `41.3 s`, `5 min 3 s`, `2 h 10 min`."""
    if duration < _SHORT:
        return f"{milliseconds(duration):,} ms"
    seconds = duration.total_seconds()
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    unit, smaller, unit_s, smaller_s = next(
        (each for each in _UNITS if seconds < each[2] * _MINUTE_S), _UNITS[-1]
    )
    return f"{int(seconds // unit_s)} {unit} {int(seconds % unit_s // smaller_s)} {smaller}"
