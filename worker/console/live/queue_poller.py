"""Poll the depths of the queue and of the dead-letter queue, and keep those of the last half hour."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from worker.console.live.latest import Latest
from worker.console.live.problems import Problem, read_or_problem
from worker.domain.clock import Clock, utc_now
from worker.sqs.queue_stats import QueueDepth

INTERVAL_S: Final = 5.0
WINDOW: Final = timedelta(minutes=30)

_READ_TIMEOUT_S: Final = 4.0
_MAX_SAMPLES: Final = int(WINDOW.total_seconds() / INTERVAL_S)


@dataclass(frozen=True, slots=True)
class Depths:
    """Messages in the queue and in the dead-letter queue at one moment, approximate as SQS reports them."""

    at: datetime
    queue: QueueDepth
    dead_letters: int


@dataclass(frozen=True, slots=True)
class QueueHistory:
    """
    The depths of the last half hour.

    Attributes:
        samples: The depths, oldest first; one every five seconds while SQS is available.
        count: Number of samples ever taken, and of problems met.
        problem: Why the latest depths are missing, as a sentence; None if they are not.
    """

    samples: tuple[Depths, ...] = ()
    count: int = 0
    problem: str | None = None


class QueuePoller:
    """
    Reads the depths every five seconds, whether a page shows them or not: a page begins with half an hour.

    Args:
        read: Reads the depths.
        clock: Returns the current time.
        sleep: Waits between two reads.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[tuple[QueueDepth, QueueDepth]]],
        *,
        clock: Clock = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read, self._clock, self._sleep = read, clock, sleep
        self._samples: deque[Depths] = deque(maxlen=_MAX_SAMPLES)
        self.latest: Latest[QueueHistory] = Latest()
        self._has_read = asyncio.Event()

    async def history(self) -> QueueHistory:
        """Return the depths; just after the start, wait for the first."""
        await self._has_read.wait()
        return self.latest.value or QueueHistory()

    async def run(self) -> None:
        """Read the depths until cancelled."""
        while True:
            self.latest.publish(await self._next())
            self._has_read.set()
            await self._sleep(INTERVAL_S)

    async def _next(self) -> QueueHistory:
        before = self.latest.value or QueueHistory()
        found = await read_or_problem(self._read, what="SQS", timeout_s=_READ_TIMEOUT_S)
        if isinstance(found, Problem):
            return replace(before, count=before.count + 1, problem=found.sentence)
        queue, dead_letters = found
        now = self._clock()
        self._samples.append(Depths(at=now, queue=queue, dead_letters=dead_letters.total))
        samples = tuple(sample for sample in self._samples if sample.at > now - WINDOW)
        return QueueHistory(samples, before.count + 1)
