"""
The worker's own steps, as a decoder child runs them; every result a JPEG, whatever the upload was.

OWN_SIZES names the sizes to make, `medium` by default; the first is the one that is answered with. The
worker draws its mark by itself, once for all pictures of a size.
"""

import os
from functools import cache

from protocol import answer

from worker.domain.recipe import Limits, OutputFormat, Recipe, Size, Watermark
from worker.domain.step import EncodedRendition
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process, steps
from worker.settings import FONT, SIZES


@cache
def recipe() -> Recipe:
    """Return what to make."""
    named = os.environ.get("OWN_SIZES", "medium").split(",")
    sizes = tuple(Size(name, *SIZES[name], format=OutputFormat.JPEG) for name in named)
    return Recipe(sizes=sizes, watermark=Watermark("Processed by Image Platform"))


LIMITS, FONTS = Limits(), Fonts((FONT.read_bytes(),))


def finish(content: bytes, _: str) -> bytes:
    """Make the results, return the main one."""
    outcomes = process(content, recipe(), limits=LIMITS, fonts=FONTS)
    return bytes(next(one.content for one in list(outcomes) if isinstance(one, EncodedRendition)))


def shrink(content: bytes) -> tuple[int, int, bytes]:
    """Return the pixels."""
    validation, resize, _ = steps(recipe(), limits=LIMITS, fonts=FONTS)
    (picture, *_), _ = resize.do(validation.do(content)[0])
    return *picture.image.size, picture.image.convert("RGB").tobytes()


answer(finish, shrink)
