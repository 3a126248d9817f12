"""How one worker is at one moment: memory and open files from `/proc`, the rest from its `/metrics`."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.processes import Descriptors, Memory, children_of, descriptors_of, memory_of

LAG: Final = "image_worker_loop_lag_seconds"
IMAGES: Final = "image_worker_images_total"
RESTARTS: Final = "image_worker_decoder_restarts_total"

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


async def sample(
    pid: int, session: aiohttp.ClientSession, metrics_url: str, *, at_s: float, is_stormy: bool
) -> Sample:
    """Look once."""
    async with session.get(metrics_url) as answer:
        text = await answer.text()
    lag: dict[float, float] = {}
    images = restarts = 0.0
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.name == f"{LAG}_bucket":
                lag[float(one.labels["le"])] = one.value
            elif one.name == IMAGES:
                images += one.value
            elif one.name == RESTARTS:
                restarts += one.value
    parent, children = await asyncio.to_thread(_memories, pid)
    return Sample(
        at_s=at_s,
        parent=parent,
        decoders=children,
        descriptors=descriptors_of(pid),
        lag=lag,
        images=round(images),
        restarts=round(restarts),
        is_stormy=is_stormy,
    )


def _memories(pid: int) -> tuple[Memory, dict[int, Memory]]:
    parent = memory_of(pid)
    if parent is None:
        message = "the worker is gone"
        raise RuntimeError(message)
    children = {child: memory for child in children_of(pid) if (memory := memory_of(child)) is not None}
    return parent, children


def lag_between(earlier: Buckets, later: Buckets, share: float) -> float:
    """Return the upper bound in seconds below which a share of the measurements lay, between two samples."""
    counts = {bound: later[bound] - earlier.get(bound, 0.0) for bound in sorted(later)}
    wanted = share * counts[math.inf]
    return next(bound for bound, count in counts.items() if count >= wanted)
