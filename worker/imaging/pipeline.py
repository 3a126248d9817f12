"""What is done with a picture, step by step."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from worker.domain.recipe import Limits, Recipe
from worker.domain.status import StepName
from worker.domain.step import DecoderOutput, EncodedRendition, StepReport
from worker.imaging.encode import encode
from worker.imaging.fonts import Fonts
from worker.imaging.picture import Picture, StepNote
from worker.imaging.resize import resize
from worker.imaging.validate import validate
from worker.imaging.watermark import watermark
from worker.ipc.framing import Content


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name in the record, and what it does to the value that the step before left."""

    name: StepName
    do: Callable[[Any], tuple[Any, StepNote]]


def steps(recipe: Recipe, *, limits: Limits, fonts: Fonts) -> tuple[Step, ...]:
    """Return the steps of a recipe, in order."""
    checked = partial(
        validate,
        limits=limits,
        sizes=recipe.sizes,
        animation=recipe.animation,
        keep_credits=recipe.keep_credits,
        record_location=recipe.record_location,
    )
    return (
        Step(StepName.VALIDATION, checked),
        Step(StepName.RESIZE, partial(resize, sizes=recipe.sizes)),
        Step(StepName.WATERMARK, partial(_marked_and_encoded, recipe=recipe, fonts=fonts)),
    )


def process(content: Content, recipe: Recipe, *, limits: Limits, fonts: Fonts) -> Iterator[DecoderOutput]:
    """
    Take a picture through the steps; yield each report as it is made, then each encoded size.

    Raises:
        RejectedError: The step after the last report refuses the picture.
        Exception: Whatever else a decoder raises.
    """
    value: Any = content
    for step in steps(recipe, limits=limits, fonts=fonts):
        start = time.perf_counter()
        value, note = step.do(value)
        yield StepReport(
            step=step.name,
            move=note.move,
            elapsed_ms=round((time.perf_counter() - start) * 1000),
            detail=note.detail,
            metadata=note.metadata,
        )
    yield from value


def _marked_and_encoded(
    pictures: tuple[Picture, ...], *, recipe: Recipe, fonts: Fonts
) -> tuple[tuple[EncodedRendition, ...], StepNote]:
    marked, note = watermark(pictures, mark=recipe.watermark, fonts=fonts)
    renditions = tuple(
        encode(picture, size=size, quality=recipe.quality)
        for picture, size in zip(marked, recipe.sizes, strict=True)
    )
    return renditions, note
