"""
The one place where the code under test gets its time and randomness from the simulation.

While `controlled` is open, the modules of the worker and of tenacity read clocks and random numbers of the
process that runs at this moment, wherever they have imported `time`, `random`, `secrets`, `uuid4` or
`datetime`, or use a function of these as the default of an argument.
"""

import dataclasses
import inspect
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from types import FunctionType, MemberDescriptorType, ModuleType
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid4

from tests.simulation.chance import Chance
from tests.simulation.loop import Scheduler
from worker.domain import clock
from worker.domain.image import HistoryEntry, Image
from worker.domain.step import Json
from worker.dynamodb import items
from worker.dynamodb.items import Item
from worker.dynamodb.table import Table

EPOCH: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""The true time at which each simulation begins."""

_PREFIXES: Final = ("worker.", "tenacity")


class _Source:
    """Clocks and random numbers of the simulation that runs in this thread."""

    scheduler: Scheduler
    chance: Chance
    random = random.Random()


_source = _Source()


def begin(scheduler: Scheduler, chance: Chance) -> None:
    """Take time and randomness from a simulation from now on."""
    _entries.clear()
    _items.clear()
    _source.scheduler, _source.chance = scheduler, chance
    _source.random.seed(chance.bits("worker's own random numbers"))


def true_time(scheduler: Scheduler) -> datetime:
    """Return the time by the clock of AWS."""
    return EPOCH + timedelta(seconds=scheduler.now_s)


def _monotonic() -> float:
    return _source.scheduler.now_s


def _offset_s() -> float:
    process = _source.scheduler.current
    return process.clock_offset_s if process else 0.0


def _time() -> float:
    return EPOCH.timestamp() + _source.scheduler.now_s + _offset_s()


class _Namespace:
    """Replaces a module or class, some of whose functions are simulated."""

    def __init__(self, original: object, **replaced: object) -> None:
        self._original = original
        vars(self).update({name: getattr(original, name) for name in dir(original) if name[0] != "_"})
        vars(self).update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _now(tz: tzinfo | None = None) -> datetime:
    now = EPOCH + timedelta(seconds=_source.scheduler.now_s + _offset_s())
    return now if tz is not None else now.replace(tzinfo=None)


def _uuid4() -> UUID:
    return UUID(int=_source.random.getrandbits(128), version=4)


def _token_hex(length: int = 32) -> str:
    return _source.random.getrandbits(8 * length).to_bytes(length, "big").hex()


def _uniform(low: float, high: float) -> float:
    return _source.random.uniform(low, high)


def _replace(obj: Any, /, **changes: Any) -> Any:
    """Do what `dataclasses.replace` does; an object with slots is copied slot by slot."""
    of: Any = type(obj)
    slots = _slots_of(of)
    if slots is None:
        return dataclasses.replace(obj, **changes)
    copy = object.__new__(of)
    for name, read, write in slots:
        write(copy, changes.pop(name) if name in changes else read(obj))
    if changes:
        message = f"{of.__name__} has no field {', '.join(changes)}"
        raise TypeError(message)
    return copy


_Slot: TypeAlias = tuple[str, Callable[[Any], Any], Callable[[Any, Any], None]]


@cache
def _slots_of(of: type) -> Sequence[_Slot] | None:
    """Return name, getter and setter of each field; None if they are not slots, or are checked."""
    descriptors = [(each.name, vars(of).get(each.name)) for each in dataclasses.fields(of)]
    if hasattr(of, "__post_init__") or not all(
        isinstance(each, MemberDescriptorType) for _, each in descriptors
    ):
        return None
    return [(name, each.__get__, each.__set__) for name, each in descriptors if each is not None]


_original_entry_to_map: Final = items._entry_to_map
_entries: Final[dict[int, tuple[HistoryEntry, dict[str, Json]]]] = {}
"""Entries of histories, and their maps, by the identity of the entry; each is written again and again."""


def _entry_to_map(entry: HistoryEntry) -> dict[str, Json]:
    known = _entries.get(id(entry))
    if known is None:
        known = _entries[id(entry)] = entry, _original_entry_to_map(entry)
    return known[1]


_original_to_item: Final = items.to_item
_items: Final[dict[int, tuple[Image, Item]]] = {}
"""Items of images, by the identity of the image: it is compared with the one before and the one after it."""


def _to_item(image: Image, table: Table) -> Item:
    known = _items.get(id(image))
    if known is None:
        known = _items[id(image)] = image, _original_to_item(image, table)
    return known[1]


_MAX_CACHED: Final = 10_000
_FUNCTIONS: Final[dict[object, object]] = {
    time.monotonic: _monotonic,
    time.perf_counter: _monotonic,
    time.time: _time,
    clock.to_text: lru_cache(_MAX_CACHED)(clock.to_text),
    clock.from_text: lru_cache(_MAX_CACHED)(clock.from_text),
    dataclasses.replace: _replace,
    items._entry_to_map: _entry_to_map,
    items.to_item: _to_item,
    uuid4: _uuid4,
    secrets.token_hex: _token_hex,
    random.uniform: _uniform,
}
"""Sources of time and randomness, and functions that take a good part of the time of a simulation."""

_MODULES: Final[dict[int, object]] = {
    id(time): _Namespace(time, monotonic=_monotonic, perf_counter=_monotonic, time=_time),
    id(secrets): _Namespace(secrets, token_hex=_token_hex),
    id(random): _Namespace(random, uniform=_uniform, random=_source.random.random),
}
_DATETIME: Final = _Namespace(datetime, now=_now)


@contextmanager
def controlled() -> Iterator[None]:
    """Replace the sources of time and randomness in every loaded module of the worker."""
    undo: list[tuple[Any, str, object]] = []

    def replace(owner: Any, name: str, value: object) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    try:
        for module in [each for name, each in sys.modules.items() if name.startswith(_PREFIXES)]:
            for name, value in list(vars(module).items()):
                if (found := _replacement(module, value)) is not None:
                    replace(module, name, found)
            for function in _functions(module):
                if (defaults := function.__kwdefaults__) is not None:
                    changed = {name: _of_default(value) for name, value in defaults.items()}
                    replace(function, "__kwdefaults__", changed)
                if function.__defaults__ is not None:
                    replace(function, "__defaults__", tuple(map(_of_default, function.__defaults__)))
        yield
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)


def _replacement(module: ModuleType, value: object) -> object | None:
    if isinstance(value, ModuleType):
        return _MODULES.get(id(value))
    if value is datetime and "datetime.now(" in inspect.getsource(module):
        return _DATETIME
    return _FUNCTIONS.get(value) if callable(value) and value.__hash__ is not None else None


def _of_default(value: object) -> object:
    return _FUNCTIONS.get(value, value) if callable(value) and value.__hash__ is not None else value


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for value in list(vars(module).values()):
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            yield value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            yield from (each for each in vars(value).values() if isinstance(each, FunctionType))
