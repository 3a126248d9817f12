"""How one worker is at one moment: memory and open files from `/proc`, the rest from its `/metrics`."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.processes import Descriptors, Memory, descriptors_of, memories_of
from tests.support.watched import WatchedWorker

Buckets = Mapping[float, float]
"""Upper bound in seconds -> how many measurements were at or below it, since the start."""


@dataclass(frozen=True, slots=True)
class Sample:
    """
    Everything at one moment.

    Attributes:
        at_s: Since the load began.
        parent: The worker's own memory.
        decoders: That of its children, by process id.
        descriptors: The worker's open files.
        lag: Of its event loop, since it started.
        images: Pictures done since it started, in whatever way.
        restarts: Decoders replaced.
        is_stormy: Whether reads of objects were being cut and halted.
    """

    at_s: float
    parent: Memory
    decoders: Mapping[int, Memory]
    descriptors: Descriptors
    lag: Buckets
    images: int
    restarts: int
    is_stormy: bool


async def sample(worker: WatchedWorker, *, at_s: float, is_stormy: bool) -> Sample:
    """Look once."""
    told = await worker.scrape()
    parent, children = await asyncio.to_thread(memories_of, worker.pid)
    return Sample(
        at_s=at_s,
        parent=parent,
        decoders=children,
        descriptors=descriptors_of(worker.pid),
        lag={float(labels["le"]): count for labels, count in told.of("loop_lag_seconds_bucket")},
        images=told.total("images_total"),
        restarts=told.total("decoder_restarts_total"),
        is_stormy=is_stormy,
    )


def lag_between(earlier: Buckets, later: Buckets, share: float) -> float:
    """Return the upper bound in seconds below which a share of the measurements lay, between two samples."""
    counts = {bound: later[bound] - earlier.get(bound, 0.0) for bound in sorted(later)}
    wanted = share * counts[math.inf]
    return next(bound for bound, count in counts.items() if count >= wanted)
