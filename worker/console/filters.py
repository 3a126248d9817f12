"""Filters of the templates: make values readable."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from worker.domain import clock
from worker.domain.clock import Clock
from worker.domain.printable import printable
from worker.presentation.json_text import json_text
from worker.presentation.units import human_bytes, human_duration

_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))

_MAX_MS: Final = 10**15
"""Longer than any life; a damaged record may have more, which Python has no durations for."""


def filters(now: Clock) -> Mapping[str, Callable[..., Any]]:
    """Return the filters by name; `now` returns the current time."""
    return {
        "ago": partial(ago, now=now),
        "bytes": human_bytes,
        "duration": duration,
        "iso": iso,
        "is_past": lambda at: _time(at) < now(),
        "json_text": json_text,
        "printable": _printable,
        "utc": utc,
    }


def ago(at: str | datetime, *, now: Clock) -> str:
    """Return a time as its distance from now: `3 min ago`, `in 2 h`, `just now`."""
    difference = now() - _time(at)
    seconds = abs(difference) // timedelta(seconds=1)
    if not seconds:
        return "just now"
    name, size = next(unit for unit in _UNITS if seconds >= unit[1])
    text = f"{seconds // size} {name}"
    return f"in {text}" if difference < timedelta(0) else f"{text} ago"


def iso(at: str | datetime) -> str:
    """Return a time in ISO 8601, as the record has it: `2024-01-31T10:00:00.123Z`."""
    return clock.to_text(_time(at))


def utc(at: str | datetime) -> str:
    """Return a time in UTC with milliseconds: `2024-01-31 10:00:00.123 UTC`."""
    return clock.to_text(_time(at)).replace("T", " ").replace("Z", " UTC")


def duration(elapsed_ms: int) -> str:
    """Return milliseconds as a duration: `12 ms`, `41.3 s`, `2 h 10 min`."""
    return human_duration(timedelta(milliseconds=max(-_MAX_MS, min(elapsed_ms, _MAX_MS))))


def _printable(value: object) -> str:
    return printable(str(value))


def _time(at: str | datetime) -> datetime:
    return clock.from_text(at) if isinstance(at, str) else at
