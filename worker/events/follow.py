"""Follow the ends and deletions of images in the table's stream, from where an earlier run has stopped."""

import json
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.domain import clock
from worker.domain.errors import ConfigurationError
from worker.domain.state_change import detail_of, envelope_of, is_state_change
from worker.domain.step import Json
from worker.dynamodb.stream import Change, Positions, Start, TableStream


@dataclass(frozen=True, slots=True)
class Event:
    """
    An end or a deletion of an image.

    Attributes:
        id: Deduplication key.
        envelope: The event as EventBridge delivers it.
    """

    id: str
    envelope: Mapping[str, Json]

    def body(self) -> bytes:
        """Return the event as JSON."""
        return json.dumps(self.envelope, ensure_ascii=False, separators=(",", ":")).encode()


class Checkpoint:
    """
    A file with the positions of a reader, so that the next run continues where this one has stopped.

    Args:
        file: The file; None keeps nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._saved: Positions | None = None

    def load(self) -> Positions | None:
        """
        Return the saved positions; None if there are none.

        Raises:
            ConfigurationError: The file has other content.
        """
        if self._file is None or not self._file.exists():
            return None
        try:
            positions = json.loads(self._file.read_text(encoding="utf-8"))
        except ValueError:
            positions = None
        if not isinstance(positions, dict) or not all(isinstance(at, str) for at in positions.values()):
            message = (
                f"{self._file} is not a checkpoint of `image-worker events`: name another file, or delete it"
            )
            raise ConfigurationError(message)
        return positions

    def save(self, positions: Positions) -> None:
        """Write the positions, so that the file is always whole."""
        if self._file is None or positions == self._saved:
            return
        temporary = self._file.with_name(f"{self._file.name}.new")
        temporary.write_text(json.dumps(positions), encoding="utf-8")
        os.replace(temporary, self._file)  # noqa: PTH105 - Path.replace() is the same
        self._saved = dict(positions)


async def follow(
    stream: TableStream, *, start: Start, checkpoint: Checkpoint
) -> AsyncGenerator[Sequence[Event], None]:
    """
    Yield the events of each batch of changes, as they happen; a batch without any is empty.

    The position of a batch is saved when the next one is asked for: an event may be repeated, but none is
    left out.

    Args:
        stream: The table's stream.
        start: Where to begin without a checkpoint.
        checkpoint: The positions of an earlier run.
    """
    async for changes in follow_changes(stream, start=start, checkpoint=checkpoint):
        yield [event_of(change) for change in changes if is_state_change(change.before, change.after)]


async def follow_changes(
    stream: TableStream, *, start: Start, checkpoint: Checkpoint
) -> AsyncGenerator[Sequence[Change], None]:
    """Yield each batch of changes, as they happen; the arguments and positions are those of `follow`."""
    async for changes in stream.changes(start=start, positions=checkpoint.load()):
        if not changes:
            checkpoint.save(stream.positions)
        yield changes


def event_of(change: Change) -> Event:
    """Return the event of a change that is the end or the deletion of an image."""
    detail = detail_of(change.after, before=change.before)
    item: Mapping[str, Any] = change.after or change.before or {}
    at = item.get("updatedAt") if change.after else item.get("deletion", {}).get("at")
    return Event(detail["id"], envelope_of(detail, at=str(at or clock.to_text(change.at))))
