"""
image-worker's own pipeline, as a decoder process runs it; every result is a JPEG.

The environment variable `PEER_SIZES` names the sizes, `medium` by default; the first one is the result. The
pipeline renders its own watermark, once per size. `PEER_RESAMPLING=pillow` scales with Pillow.
"""

import os
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from bench.imaging.peers.protocol import serve
from worker.domain.recipe import Limits, OutputFormat, Recipe, Size, Watermark
from worker.domain.status import StepName
from worker.imaging import pipeline
from worker.imaging.fonts import Fonts
from worker.imaging.resampling import with_pillow
from worker.settings import FONT, SIZES

if TYPE_CHECKING:
    from worker.domain.step import EncodedRendition

LIMITS, FONTS = Limits(), Fonts((FONT.read_bytes(),))


@cache
def recipe() -> Recipe:
    """Return the recipe for the requested sizes."""
    names = os.environ.get("PEER_SIZES", "medium").split(",")
    sizes = tuple(Size(name, *SIZES[name], format=OutputFormat.JPEG) for name in names)
    return Recipe(sizes=sizes, watermark=Watermark("Processed by Image Platform"))


def steps() -> tuple[pipeline.Step, ...]:
    """Return the steps of the pipeline."""
    installed = pipeline.steps(recipe(), limits=LIMITS, fonts=FONTS)
    if os.environ.get("PEER_RESAMPLING") != "pillow":
        return installed
    return tuple(
        replace(step, do=partial(step.do, resample=with_pillow)) if step.name is StepName.RESIZE else step
        for step in installed
    )


def process(content: bytes, _: str) -> bytes:
    """Run all steps and return the first rendition."""
    value: Any = content
    for step in steps():
        value, _note = step.do(value)
    first: EncodedRendition = value[0]
    return bytes(first.content)


def resize(content: bytes) -> tuple[int, int, bytes]:
    """Run the first two steps and return the pixels."""
    validate_step, resize_step, _ = steps()
    source, _ = validate_step.do(content)
    (picture, *_), _ = resize_step.do(source)
    return *picture.image.size, picture.image.convert("RGB").tobytes()


if __name__ == "__main__":
    serve(process, resize)
