"""Read an index, newest first: one partition, or several merged in order."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from worker.dynamodb.items import Item

Start: TypeAlias = list[str] | None
"""
Where to start reading a partition.

`[createdAt, imageId, userId]`: after this item. `[createdAt]`: at this time, if no item of the partition has
been returned yet, but newer ones of other partitions: items added above that time are left out. None: at the
newest item.
"""

DONE: Final = "done"

Position: TypeAlias = Start | Literal["done"]
"""Where the next page starts, or `DONE` after the last item."""

Fetch: TypeAlias = Callable[[str, Start, int], Awaitable[tuple[Sequence[Item], Start]]]
"""Reads at most a number of items from a start; returns them and the next start, which is None at the end."""


def after(item: Item) -> Start:
    """Return the start right after an item."""
    return [str(item[name]) for name in ("createdAt", "imageId", "userId")]


@dataclass
class Cursor:
    """
    Reads one partition of an index in chunks.

    Attributes:
        partition: Partition key.
        position: Right after the last item that was taken.
    """

    partition: str
    position: Position = None
    _ahead: deque[Item] = field(default_factory=deque, init=False)
    _next_start: Start = field(default=None, init=False)
    _is_exhausted: bool = field(default=False, init=False)

    @property
    def has_next(self) -> bool:
        """Whether an item has been read and not been taken."""
        return bool(self._ahead)

    @property
    def next_key(self) -> tuple[str, str]:
        """The key that orders the next item among those of other partitions."""
        return str(self._ahead[0]["createdAt"]), str(self._ahead[0]["imageId"])

    async def read(self, fetch: Fetch, count: int) -> None:
        """Read until there is a next item or the partition ends: filters may leave a chunk empty."""
        while not self._ahead and self.position != DONE:
            start = self._next_start or (self.position if isinstance(self.position, list) else None)
            items, self._next_start = await fetch(self.partition, start, count)
            self._ahead.extend(items)
            self._is_exhausted = self._next_start is None
            if self._is_exhausted and not items:
                self.position = DONE

    def take(self) -> Item:
        """Return the next item and move past it."""
        item = self._ahead.popleft()
        self.position = DONE if self._is_exhausted and not self._ahead else after(item)
        return item


async def take_newest(cursors: Sequence[Cursor], fetch: Fetch, *, limit: int) -> list[Item]:
    """
    Take the newest items of several partitions.

    A cursor moves only past items that are returned, so that the next page neither skips nor repeats any,
    whatever is added in between.
    """
    taken: list[Item] = []
    count = limit // len(cursors) + 1
    while len(taken) < limit:
        await asyncio.gather(*(cursor.read(fetch, count) for cursor in cursors if not cursor.has_next))
        ready = [cursor for cursor in cursors if cursor.has_next]
        if not ready:
            break
        taken.append(max(ready, key=lambda cursor: cursor.next_key).take())
    for cursor in cursors:
        if cursor.position is None and taken:
            cursor.position = [str(taken[-1]["createdAt"])]
    return taken
