"""Bounds on the growth of a worker; the first third of a run, its warm-up, is excluded."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Final

from tests.soak.run import SoakResult
from tests.soak.sampling import Sample

MAX_WORKER_GROWTH: Final = 1024.0
"""Bytes by which the worker process's unique memory may grow per image, by linear regression."""

MAX_DECODER_GROWTH: Final = 8192.0
"""The same for all its decoders together; a decoder that grows too much is replaced."""

MAX_MORE_DESCRIPTORS: Final = 4
"""Number by which the median of open files in the last third may exceed that of the second."""

MAX_HALF_CLOSED: Final = 0
"""Half-closed connections allowed in each sample of the last third that was taken without faults."""


@dataclass(frozen=True, slots=True)
class BoundCheck:
    """One measurement, its bound, and whether it is within it."""

    name: str
    measured: str
    bound: str
    is_within: bool


def warm(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples after the warm-up."""
    return samples[len(samples) // 3 :]


def check_bounds(result: SoakResult) -> Iterator[BoundCheck]:
    """Yield a check for everything that has a bound."""
    samples = warm(result.samples)
    parent = per_image(samples, lambda entry: entry.parent.uss)
    yield BoundCheck(
        "memory of the worker",
        f"{parent:+,.0f} bytes per image",
        f"{MAX_WORKER_GROWTH:,.0f}",
        parent <= MAX_WORKER_GROWTH,
    )
    decoders = per_image(samples, lambda entry: sum(memory.uss for memory in entry.decoders.values()))
    yield BoundCheck(
        "memory of the decoders",
        f"{decoders:+,.0f} bytes per image",
        f"{MAX_DECODER_GROWTH:,.0f}",
        decoders <= MAX_DECODER_GROWTH,
    )
    earlier, later = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    files = [median(entry.descriptors.count for entry in part) for part in (earlier, later)]
    yield BoundCheck(
        "open files",
        f"{files[0]:g}, then {files[1]:g}",
        f"{MAX_MORE_DESCRIPTORS} more",
        files[1] - files[0] <= MAX_MORE_DESCRIPTORS,
    )
    half_closed = min(
        (entry.descriptors.half_closed for entry in later if not entry.faults_active), default=math.nan
    )
    yield BoundCheck(
        "half-closed connections",
        f"{half_closed:g} at least",
        f"{MAX_HALF_CLOSED}",
        half_closed <= MAX_HALF_CLOSED,
    )
    yield BoundCheck("messages left at the end", f"{result.left}", "0", result.left == 0)
    yield BoundCheck("exit status", f"{result.exit_status}", "0", result.exit_status == 0)


def per_image(samples: Sequence[Sample], measure: Callable[[Sample], float]) -> float:
    """Return the slope of the regression line over the number of processed images."""
    return linear_regression([entry.images for entry in samples], [measure(entry) for entry in samples]).slope
