"""Filters of the templates: make values readable."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from worker.domain import clock
from worker.domain.clock import Clock
from worker.domain.printable import printable

_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def filters(now: Clock) -> Mapping[str, Callable[..., Any]]:
    """Return the filters by name; `now` returns the current time."""
    return {"printable": _printable, "bytes": human_bytes, "ago": partial(ago, now=now), "utc": utc}


def ago(at: str | datetime, *, now: Clock) -> str:
    """Return a time as its distance from now: `3 min ago`, `in 2 h`, `just now`."""
    difference = now() - _time(at)
    seconds = abs(difference) // timedelta(seconds=1)
    if not seconds:
        return "just now"
    name, size = next(unit for unit in _UNITS if seconds >= unit[1])
    text = f"{seconds // size} {name}"
    return f"in {text}" if difference < timedelta(0) else f"{text} ago"


def utc(at: str | datetime) -> str:
    """Return a time in UTC with milliseconds: `2024-01-31 10:00:00.123 UTC`."""
    return clock.to_text(_time(at)).replace("T", " ").replace("Z", " UTC")


def human_bytes(size: float) -> str:
    """Return a number of bytes in a readable unit: `512 B`, `48.2 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":  # noqa: PLR2004 - of bytes per kilobyte
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def _printable(value: object) -> str:
    return printable(str(value))


def _time(at: str | datetime) -> datetime:
    return clock.from_text(at) if isinstance(at, str) else at
