"""Walking an index newest first: one partition, or many at once as if they were one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Item: TypeAlias = Mapping[str, Any]
Position: TypeAlias = list[str] | None
"""
Where a partition stands.

[createdAt, imageId, userId] of the last item taken; [createdAt] where none of its own has been taken yet, but
newer ones of others: what arrives in it above that moment is not of this walk; None at its beginning.
"""

DONE = "done"

Fetch: TypeAlias = Callable[[str, Position, int], Awaitable[tuple[Sequence[Item], Position]]]
"""Read a partition from a position on, some items; return them, and the position to read on from, if any."""


def position_of(item: Item) -> Position:
    """Return the position right after an item."""
    return [item["createdAt"], item["imageId"], item["userId"]]


@dataclass
class Cursor:
    """One partition of an index, read in chunks."""

    partition: str
    position: Position | str = None
    ahead: list[Item] = field(default_factory=list)
    reads_on_from: Position = None
    is_read_out: bool = False

    async def fill(self, fetch: Fetch, chunk: int) -> None:
        """Read until there is an item ahead, or none is left: a filter may leave a chunk empty."""
        while not self.ahead and not self.is_read_out:
            start = self.reads_on_from or (self.position if isinstance(self.position, list) else None)
            items, self.reads_on_from = await fetch(self.partition, start, chunk)
            self.ahead, self.is_read_out = list(items), self.reads_on_from is None

    def take(self) -> Item:
        """Take the item ahead."""
        item = self.ahead.pop(0)
        self.position = position_of(item)
        return item


async def take_newest(cursors: Sequence[Cursor], fetch: Fetch, *, limit: int) -> list[Item]:
    """
    Take the newest items of several partitions, each of which is in order, and move their positions.

    A position moves only past what was taken, so the next page neither skips nor repeats, whatever has
    been written meanwhile.
    """
    taken: list[Item] = []
    chunk = limit // len(cursors) + 1
    live = [cursor for cursor in cursors if cursor.position != DONE]
    while live and len(taken) < limit:
        await asyncio.gather(*(cursor.fill(fetch, chunk) for cursor in live if not cursor.ahead))
        for cursor in live:
            if not cursor.ahead:
                cursor.position = DONE
        live = [cursor for cursor in live if cursor.ahead]
        if live:
            newest = max(live, key=lambda cursor: (cursor.ahead[0]["createdAt"], cursor.ahead[0]["imageId"]))
            taken.append(newest.take())
    for cursor in live:
        if not cursor.ahead and cursor.is_read_out:
            cursor.position = DONE
        elif cursor.position is None and taken:
            cursor.position = [taken[-1]["createdAt"]]
    return taken
