"""What is done with a picture, step by step."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from worker.domain.recipe import Limits, Recipe
from worker.domain.status import StepName
from worker.domain.step import EncodedRendition, Outcome, StepReport
from worker.imaging.codec import encode
from worker.imaging.frames import Content
from worker.imaging.picture import Note, Picture
from worker.imaging.resize import resize
from worker.imaging.validate import validate
from worker.imaging.watermark import watermark


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name in the record, and what it does to the value that the step before left."""

    name: StepName
    do: Callable[[Any], tuple[Any, Note]]


def steps(recipe: Recipe, *, limits: Limits, font: bytes) -> tuple[Step, ...]:
    """Return the steps of a recipe, in order."""
    return (
        Step(StepName.VALIDATION, partial(validate, limits=limits, sizes=recipe.sizes)),
        Step(StepName.RESIZE, partial(resize, sizes=recipe.sizes)),
        Step(StepName.WATERMARK, partial(_marked_and_encoded, recipe=recipe, font=font)),
    )


def process(content: Content, recipe: Recipe, *, limits: Limits, font: bytes) -> Iterator[Outcome]:
    """
    Take a picture through the steps; yield each report as it is made, then each encoded size.

    Raises:
        RejectedError: The step after the last report refuses the picture.
        Exception: Whatever else a decoder raises.
    """
    value: Any = content
    for step in steps(recipe, limits=limits, font=font):
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
    pictures: tuple[Picture, ...], *, recipe: Recipe, font: bytes
) -> tuple[tuple[EncodedRendition, ...], Note]:
    marked, note = watermark(pictures, mark=recipe.watermark, font=font)
    return tuple(encode(picture, quality=recipe.quality) for picture in marked), note
