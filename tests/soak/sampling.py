"""Samples of one worker: memory and open files from `/proc`, other values from its `/metrics`."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.processes import Descriptors, Memory, descriptors_of, memory_of_tree
from tests.support.watched import WatchedWorker

Buckets = Mapping[float, float]
"""Upper bound in seconds -> number of measurements at or below it since the start."""


@dataclass(frozen=True, slots=True)
class Sample:
    """
    The state of a worker at one moment.

    Attributes:
        at_s: Seconds since the load began.
        parent: Memory of the worker process.
        decoders: Memory of its decoders by process id.
        descriptors: Open files of the worker process.
        lag: Loop lag since it started.
        images: Number of images processed since it started, with any status.
        restarts: Number of decoders replaced.
        is_stormy: Whether response bodies were being truncated and stalled.
    """

    at_s: float
    parent: Memory
    decoders: Mapping[int, Memory]
    descriptors: Descriptors
    lag: Buckets
    images: int
    restarts: int
    faults_active: bool


async def sample(worker: WatchedWorker, *, at_s: float, faults_active: bool) -> Sample:
    """Take one sample."""
    metrics = await worker.scrape()
    parent, children = await asyncio.to_thread(memory_of_tree, worker.pid)
    return Sample(
        at_s=at_s,
        parent=parent,
        decoders=children,
        descriptors=descriptors_of(worker.pid),
        lag={float(labels["le"]): count for labels, count in metrics.of("loop_lag_seconds_bucket")},
        images=metrics.total("images_total"),
        restarts=metrics.total("decoder_restarts_total"),
        faults_active=faults_active,
    )


def lag_between(earlier: Buckets, later: Buckets, share: float) -> float:
    """Return the upper bound in seconds of a share of the measurements between two samples."""
    counts = {bound: later[bound] - earlier.get(bound, 0.0) for bound in sorted(later)}
    wanted = share * counts[math.inf]
    return next(bound for bound, count in counts.items() if count >= wanted)
