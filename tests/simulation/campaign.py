"""Run many seeds, in several processes."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

from tests.simulation.schedule import SERVICE_FAULTS, draw
from tests.simulation.world import simulate, simulating

_CHUNK: Final = 50

REQUIRED: Final = (
    "Upload",
    "DeleteUpload",
    "SendMessage",
    "SetPreferences",
    "Kill",
    "Suspend",
    "Drain",
    "Trouble",
    "Restore",
    "DeleteRecord",
    "RepeatEvent",
    "Repair",
    "killed by an image",
    "repair tool killed",
    *(f"{service}: {fault}" for service, faults in SERVICE_FAULTS.items() for fault in faults),
)
"""What has to occur in a few thousand seeds: a simulation that no longer does it finds nothing."""


@dataclass
class Summary:
    """
    The result of many seeds.

    Attributes:
        seeds: Number of seeds.
        events: Number of events.
        virtual_s: Virtual time.
        exercised: How often each action and fault occurred.
        failed: Invariant that was violated, by seed.
    """

    seeds: int = 0
    events: int = 0
    virtual_s: float = 0.0
    exercised: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Summary") -> None:
        self.seeds += other.seeds
        self.events += other.events
        self.virtual_s += other.virtual_s
        self.exercised.update(other.exercised)
        self.failed.update(other.failed)

    @property
    def missing(self) -> list[str]:
        """What has not occurred."""
        return [name for name in REQUIRED if not self.exercised[name]]


def run_seeds(seeds: Iterable[int]) -> Summary:
    """Run seeds in this process."""
    summary = Summary()
    with simulating():
        for seed in seeds:
            outcome = simulate(draw(seed))
            summary.seeds += 1
            summary.events += outcome.events
            summary.virtual_s += outcome.virtual_s
            summary.exercised.update(outcome.exercised)
            if outcome.violation is not None:
                summary.failed[seed] = str(outcome.violation)
    return summary


def run_in_processes(first: int, count: int) -> Iterator[Summary]:
    """Run `count` seeds from the first on, on all CPUs; yield the result of each chunk."""
    chunks = [range(at, min(at + _CHUNK, first + count)) for at in range(first, first + count, _CHUNK)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_seeds, chunks)
