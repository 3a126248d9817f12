"""A consumer of the events of a chaos run, which is killed and started again like the workers."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.verification import BrokenPromise
from tests.support.fork_server import shared_fork_server
from tests.support.state_changes import ends_of
from worker.domain.history import outcomes
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES

_RESTART_S: Final = (4.0, 10.0)
"""Minimum and maximum time for which a consumer runs until it is killed."""


@dataclass(eq=False)
class EventConsumer:
    """
    Runs `image-worker events tail` with a checkpoint, and keeps the ids of the events that it prints.

    Attributes:
        folder: Working directory, with the checkpoint and the log.
        environment: Environment variables of the process.
        received: Ids of the events of each image, by image id.
        lines: Number of events, repeated ones included.
        kills: How often it was killed.
    """

    folder: Path
    environment: Mapping[str, str]
    rng: random.Random
    received: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    lines: int = 0
    kills: int = 0
    _has_received: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, *, is_killed: bool = True) -> None:
        """Consume until cancelled; if `is_killed`, kill and restart the process at random."""
        while True:
            await self._run_once(self.rng.uniform(*_RESTART_S) if is_killed else None)

    async def receive_all(self, images: Mapping[str, Image], *, within_s: float) -> list[BrokenPromise]:
        """Consume until nothing is missing, or for so long; return what is missing or invented."""
        consuming = asyncio.create_task(self.run(is_killed=False), name="consume events")
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(self.differences(images)):
                    self._has_received.clear()
                    await self._has_received.wait()
        consuming.cancel()
        await asyncio.wait([consuming])
        return list(self.differences(images))

    def differences(self, images: Mapping[str, Image]) -> Iterator[BrokenPromise]:
        """Compare the events with the records, each of which counts how often its image has ended."""
        for image_id, image in images.items():
            received = self.received.get(image_id, set())
            counts = outcomes(image.history)
            ends = sum(counts.get(status, 0) for status in TERMINAL_STATUSES)
            if missing := ends_of([image]) - received:
                yield BrokenPromise(f"its events {sorted(missing)} were not received", image_id)
            elif len(received) != ends:
                yield BrokenPromise(f"it ended {ends} times, and has the events {sorted(received)}", image_id)
        for image_id in self.received.keys() - images.keys():
            yield BrokenPromise("it has events, and no record", image_id)

    async def _run_once(self, killed_after_s: float | None) -> None:
        with (self.folder / "consumer.log").open("ab") as stderr:
            process = await shared_fork_server().open(
                ["events", "tail", "--json", "--from", "oldest", "--checkpoint", "positions.json"],
                folder=self.folder,
                environment=self.environment,
                stderr=stderr.fileno(),
            )
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(killed_after_s):
                    while line := await process.stdout.readline():
                        self.receive(line)
        finally:
            if process.returncode is None:
                process.kill()
                self.kills += 1
            # What it has printed before is received: its checkpoint may already be behind these events.
            for line in (await process.stdout.read()).splitlines(keepends=True):
                self.receive(line)
            await process.wait()

    def receive(self, line: bytes) -> None:
        """Keep the id of an event; a line that was cut off when the process was killed is none."""
        if not line.endswith(b"\n"):
            return
        detail = json.loads(line)["detail"]
        self.received[detail["imageId"]].add(detail["id"])
        self.lines += 1
        self._has_received.set()
