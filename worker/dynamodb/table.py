"""The table that holds images and profiles, and how its indexes are sharded."""

import zlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """
    The DynamoDB table.

    Attributes:
        name: Name of the table.
        index_shards: Number of shards for each status in `StatusIndex` and each day in `DateIndex`.
        compact_history: Whether entries leave out what the beginning of their attempt has.
    """

    name: str
    index_shards: int
    compact_history: bool = False

    def shard_of(self, image_id: str) -> str:
        """Return the two-digit shard of an image, the same in every process."""
        return _digits(zlib.crc32(image_id.encode()) % self.index_shards)

    @property
    def shards(self) -> list[str]:
        """Every shard, in order: `00`, `01`, ..."""
        return [_digits(number) for number in range(self.index_shards)]


def status_shard(status: str, shard: str) -> str:
    """Return a partition key of `StatusIndex`: `completed#03`."""
    return f"{status}#{shard}"


def date_shard(day: str, shard: str) -> str:
    """Return a partition key of `DateIndex`: `2024-01-01#03`."""
    return f"{day}#{shard}"


def _digits(number: int) -> str:
    return f"{number:02d}"
