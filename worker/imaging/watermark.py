"""The third step: the text in the corner."""

import io
import re
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageFont

from worker.domain.recipe import Watermark
from worker.domain.status import StepMove
from worker.imaging.picture import Extent, Note, Picture

MIN_TEXT_PX: Final = 8
"""Below this height, DejaVu Sans Bold cannot be read."""

_MARGIN_SHARE: Final = 0.02
_MIN_MARGIN_PX: Final = 2
_OUTLINE_SHARE: Final = 0.07
_OUTLINE_STRENGTH: Final = 0.75
_REFERENCE_PX: Final = 100
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Tile(NamedTuple):
    """
    A text, rendered.

    Attributes:
        ink: RGB: white letters in a dark outline.
        cover: L: how much of the picture the ink hides.
    """

    ink: Image.Image
    cover: Image.Image


def watermark(
    pictures: tuple[Picture, ...], *, mark: Watermark | None, font: bytes
) -> tuple[tuple[Picture, ...], Note]:
    """
    Write the text at the bottom right of each picture, in place, where it can be read.

    Args:
        pictures: The main one first; it decides what the record says.
        mark: None leaves them unmarked.
        font: A TrueType file.

    Returns:
        The same pictures.
    """
    if mark is None or not (text := one_line(mark.text)):
        return pictures, _skipped("disabled")
    mark = replace(mark, text=text)
    is_marked = [mark_image(picture.image, mark=mark, font=font) for picture in pictures]
    if not is_marked[0]:
        return pictures, _skipped("picture too small")
    return pictures, Note(detail={"watermarkType": "text", "watermarkText": text})


def mark_image(image: Image.Image, *, mark: Watermark, font: bytes) -> bool:
    """
    Write the text on one picture, touching only the pixels of its bounding box.

    Returns:
        Whether it was written: False when it would be too small to read.
    """
    extent = Extent(*image.size)
    margin = margin_px(extent)
    height_px = text_height_px(extent, mark=mark, font=font)
    left = top = -1
    while min(left, top) < margin:
        if height_px < MIN_TEXT_PX:
            return False
        drawn = tile(mark.text, height_px=height_px, opacity=mark.opacity, font=font)
        left, top = extent.width - margin - drawn.ink.width, extent.height - margin - drawn.ink.height
        height_px -= 1  # hinting can make small letters wider than their height says
    if image.mode == "RGBA":
        layer = drawn.ink.convert("RGBA")
        layer.putalpha(drawn.cover)
        image.alpha_composite(layer, dest=(left, top))
    else:
        image.paste(drawn.ink, (left, top), drawn.cover)
    return True


def one_line(text: str) -> str:
    """Return the text with every run of spaces, line breaks and control characters as one space."""
    return " ".join(_CONTROL.sub(" ", text).split())


def margin_px(extent: Extent) -> int:
    """Return how far the text stays from the edges."""
    return max(_MIN_MARGIN_PX, round(min(extent) * _MARGIN_SHARE))


def text_height_px(extent: Extent, *, mark: Watermark, font: bytes) -> int:
    """Return the height of the text: the wanted share of the shorter side, or what the width has room for."""
    margin = margin_px(extent)
    wanted = min(round(min(extent) * mark.height_share), extent.height - 2 * margin)
    room = (extent.width - 2 * margin) / _width_per_px(mark.text, font)
    return max(0, min(wanted, int(room)))


@lru_cache(maxsize=64)
def tile(text: str, *, height_px: int, opacity: float, font: bytes) -> Tile:
    """
    Render the text once for all pictures that need it at this height.

    The outline is cut out under the letters, so that they let the picture shine through as much as asked,
    and the outline alone shows them on white.
    """
    letters_font = _font(font, height_px)
    outline_px = _outline_px(height_px)
    left, top, right, bottom = letters_font.getbbox(text, stroke_width=outline_px)
    size = (max(1, int(right - left)), max(1, int(bottom - top)))
    letters, outlined = Image.new("L", size), Image.new("L", size)
    at = (-left, -top)
    ImageDraw.Draw(letters).text(at, text, fill=255, font=letters_font)
    ImageDraw.Draw(outlined).text(at, text, fill=255, font=letters_font, stroke_width=outline_px)
    outline = ImageChops.subtract(outlined, letters)
    cover = ImageChops.add(
        letters.point(lambda value: value * opacity),
        outline.point(lambda value: value * opacity * _OUTLINE_STRENGTH),
    )
    return Tile(ink=Image.merge("RGB", (letters, letters, letters)), cover=cover)


def _skipped(reason: str) -> Note:
    return Note(move=StepMove.SKIPPED, detail={"reason": reason})


@lru_cache(maxsize=64)
def _width_per_px(text: str, font: bytes) -> float:
    """Return the width of the outlined text for each pixel of its height."""
    left, _, right, _ = _font(font, _REFERENCE_PX).getbbox(text, stroke_width=_outline_px(_REFERENCE_PX))
    return max(1.0, float(right - left)) / _REFERENCE_PX


def _outline_px(height_px: int) -> int:
    return max(1, round(height_px * _OUTLINE_SHARE))


def _font(font: bytes, height_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO(font), height_px)
