"""
image-worker's own pipeline, as a decoder process runs it; every result is a JPEG.

The environment variable `PEER_SIZES` names the sizes, `medium` by default; the first one is the result. The
pipeline renders its own watermark, once per size.
"""

import os
from functools import cache

from bench.imaging.peers.protocol import serve
from worker.domain.recipe import Limits, OutputFormat, Recipe, Size, Watermark
from worker.domain.step import EncodedRendition
from worker.imaging import pipeline
from worker.imaging.fonts import Fonts
from worker.settings import FONT, SIZES

LIMITS, FONTS = Limits(), Fonts((FONT.read_bytes(),))


@cache
def recipe() -> Recipe:
    """Return the recipe for the requested sizes."""
    names = os.environ.get("PEER_SIZES", "medium").split(",")
    sizes = tuple(Size(name, *SIZES[name], format=OutputFormat.JPEG) for name in names)
    return Recipe(sizes=sizes, watermark=Watermark("Processed by Image Platform"))


def process(content: bytes, _: str) -> bytes:
    """Run the pipeline and return its first rendition."""
    outputs = list(pipeline.process(content, recipe(), limits=LIMITS, fonts=FONTS))
    return bytes(next(output.content for output in outputs if isinstance(output, EncodedRendition)))


def resize(content: bytes) -> tuple[int, int, bytes]:
    """Run the first two steps and return the pixels."""
    validate_step, resize_step, _ = pipeline.steps(recipe(), limits=LIMITS, fonts=FONTS)
    source, _ = validate_step.do(content)
    (picture, *_), _ = resize_step.do(source)
    return *picture.image.size, picture.image.convert("RGB").tobytes()


if __name__ == "__main__":
    serve(process, resize)
