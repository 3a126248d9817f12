"""A cache that loads each value at most once at a time."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    loaded_at: float
    size: int


class SingleFlightCache(Generic[Value]):
    """
    Caches values by key for a while; concurrent requests for a key share one load.

    A failed load raises its error from every request that shares it, and is not cached.

    Args:
        load: Loads the value of a key. Its second argument is the value that has become too old, if it is
            still cached, for a load that only checks whether it has changed.
        ttl_s: How long a loaded value is returned without loading it again; 0 loads it for each request.
        max_size: Total size of the cached values. The least recently used ones are evicted.
        size_of: Returns the size of a value; by default each counts 1.
        name: Prefix of the names of the tasks that load.
        monotonic: Clock, in seconds.
    """

    def __init__(
        self,
        load: Callable[[str, Value | None], Awaitable[Value]],
        *,
        ttl_s: float,
        max_size: int,
        size_of: Callable[[Value], int] = lambda _: 1,
        name: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._size_of, self._name = load, size_of, name
        self._ttl_s, self._max_size, self._monotonic = ttl_s, max_size, monotonic
        self._entries: OrderedDict[str, _Entry[Value]] = OrderedDict()
        self._size = 0
        self._loads: dict[str, asyncio.Task[Value]] = {}

    async def get(self, key: str) -> Value:
        """Return the value of a key, at most `ttl_s` old; raises what `load` raises."""
        entry = self._entries.get(key)
        if entry is not None and self._monotonic() - entry.loaded_at < self._ttl_s:
            self._entries.move_to_end(key)
            return entry.value
        load = self._loads.get(key)
        if load is None:
            stale = entry.value if entry is not None else None
            load = asyncio.create_task(self._load_and_store(key, stale), name=f"{self._name} {key}")
            self._loads[key] = load
            load.add_done_callback(lambda _: self._loads.pop(key))
        return await asyncio.shield(load)  # cancelling one request must not cancel the others

    async def close(self) -> None:
        """Wait for the loads in flight."""
        while self._loads:
            await asyncio.wait(self._loads.values())

    async def _load_and_store(self, key: str, stale: Value | None) -> Value:
        value = await self._load(key, stale)
        self._remove(key)
        self._entries[key] = _Entry(value, loaded_at=self._monotonic(), size=self._size_of(value))
        self._size += self._entries[key].size
        while self._size > self._max_size:
            self._remove(next(iter(self._entries)))
        return value

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        self._size -= entry.size if entry else 0
