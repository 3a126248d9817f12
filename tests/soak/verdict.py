"""Whether what a worker holds stays what it is: the first third of a run, its warm-up, is left out."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Final

from tests.soak.run import Soaked
from tests.soak.vitals import Sample

PARENT_PER_PICTURE: Final = 1024.0
"""Bytes by which the worker's own memory may grow with each picture, by the line through all samples."""

DECODERS_PER_PICTURE: Final = 8192.0
"""The same of all its decoders together; they are replaced when they have grown too much."""

MORE_DESCRIPTORS: Final = 4
"""By how many the open files of the last third may be above those of the second, medians both."""

MOST_HALF_CLOSED: Final = 0
"""Connections that the other end has closed and the worker keeps, in each calm sample of the last third."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One thing that was measured, the bound that it has to keep, and whether it does."""

    name: str
    measured: str
    bound: str
    is_kept: bool


def warm(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Leave out the warm-up."""
    return samples[len(samples) // 3 :]


def judgements(soaked: Soaked) -> Iterator[Judgement]:
    """Judge everything that has a bound."""
    samples = warm(soaked.samples)
    parent = per_picture(samples, lambda one: one.parent.uss)
    yield Judgement(
        "memory of the worker",
        f"{parent:+,.0f} bytes a picture",
        f"{PARENT_PER_PICTURE:,.0f}",
        parent <= PARENT_PER_PICTURE,
    )
    decoders = per_picture(samples, lambda one: sum(memory.uss for memory in one.decoders.values()))
    yield Judgement(
        "memory of the decoders",
        f"{decoders:+,.0f} bytes a picture",
        f"{DECODERS_PER_PICTURE:,.0f}",
        decoders <= DECODERS_PER_PICTURE,
    )
    earlier, later = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    files = [median(one.descriptors.count for one in part) for part in (earlier, later)]
    yield Judgement(
        "open files",
        f"{files[0]:g}, then {files[1]:g}",
        f"{MORE_DESCRIPTORS} more",
        files[1] - files[0] <= MORE_DESCRIPTORS,
    )
    half_closed = min((one.descriptors.half_closed for one in later if not one.is_stormy), default=math.nan)
    yield Judgement(
        "half-closed connections",
        f"{half_closed:g} at least",
        f"{MOST_HALF_CLOSED}",
        half_closed <= MOST_HALF_CLOSED,
    )
    yield Judgement("messages left at the end", f"{soaked.left}", "0", soaked.left == 0)
    yield Judgement("exit status", f"{soaked.exit_status}", "0", soaked.exit_status == 0)


def per_picture(samples: Sequence[Sample], measure: Callable[[Sample], float]) -> float:
    """Return the slope of the line through all samples, over the pictures done."""
    return linear_regression([one.images for one in samples], [measure(one) for one in samples]).slope
