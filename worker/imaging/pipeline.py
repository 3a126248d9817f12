"""Run the steps on an image: validation, resize, watermark."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from worker.domain.focus import Focus
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

StepFunction: TypeAlias = Callable[[Any], tuple[Any, StepNote]]
"""`Any`, because each step takes the type that the step before it returns."""


@dataclass(frozen=True, slots=True)
class Step:
    """
    A step of the pipeline.

    Attributes:
        name: Name of the step in the record.
        do: Maps the result of the step before to the result of this one and a note for the record.
    """

    name: StepName
    do: StepFunction


def steps(
    recipe: Recipe,
    *,
    limits: Limits,
    fonts: Fonts,
    focus: Focus | None = None,
    limit_cpu_time: Callable[[int], None] = lambda _: None,
) -> tuple[Step, ...]:
    """Return the steps of a recipe, in order."""
    check = partial(
        validate,
        limits=limits,
        sizes=recipe.sizes,
        animation=recipe.animation,
        keep_credits=recipe.keep_credits,
        record_location=recipe.record_location,
        limit_cpu_time=limit_cpu_time,
    )
    return (
        Step(StepName.VALIDATION, check),
        Step(StepName.RESIZE, partial(resize, sizes=recipe.sizes, focus=focus)),
        Step(StepName.WATERMARK, partial(_watermark_and_encode, recipe=recipe, fonts=fonts)),
    )


def process(
    content: Content,
    recipe: Recipe,
    *,
    limits: Limits,
    fonts: Fonts,
    focus: Focus | None = None,
    limit_cpu_time: Callable[[int], None] = lambda _: None,
) -> Iterator[DecoderOutput]:
    """
    Run all steps on an upload; yield the report of each step as it completes, then each rendition.

    Args:
        content: Uploaded file.
        recipe: Sizes, watermark and options.
        limits: Largest image that is decoded.
        fonts: Fonts for watermark texts.
        focus: Focal point of the image.
        limit_cpu_time: See `validate`.

    Raises:
        RejectedError: The step after the last report rejected the image.
        Exception: Any other error of an image library.
    """
    value: Any = content
    for step in steps(recipe, limits=limits, fonts=fonts, focus=focus, limit_cpu_time=limit_cpu_time):
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


def _watermark_and_encode(
    pictures: tuple[Picture, ...], *, recipe: Recipe, fonts: Fonts
) -> tuple[tuple[EncodedRendition, ...], StepNote]:
    marked, note = watermark(pictures, mark=recipe.watermark, fonts=fonts)
    renditions = tuple(
        encode(picture, size=size, quality=recipe.quality, effort=recipe.effort)
        for picture, size in zip(marked, recipe.sizes, strict=True)
    )
    return renditions, note
