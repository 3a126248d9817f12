"""A text as a picture of itself."""

from functools import lru_cache
from typing import Final

from PIL import Image, ImageChops, ImageColor, ImageDraw

from worker.domain.recipe import Watermark
from worker.imaging.fonts import Fonts, Run, split_into_runs
from worker.imaging.watermark_tile import WatermarkTile

_OUTLINE_SHARE: Final = 0.07
_OUTLINE_STRENGTH: Final = 0.75
_REFERENCE_PX: Final = 100
_BASELINE: Final = "ls"


@lru_cache(maxsize=64)
def text_tile(mark: Watermark, *, height_px: int, fonts: Fonts) -> WatermarkTile:
    """
    Write the text of a watermark once for all pictures that need it at this height.

    The outline is cut out under the letters, so that they let the picture shine through as much as asked,
    and the outline alone shows them on a background of their own colour.
    """
    outline_px = _outline_px(height_px) if mark.outline else 0
    placed = _placed(split_into_runs(mark.text, fonts), height_px)
    left, top, right, bottom = _bounds(placed, height_px, outline_px)
    size = (max(1, right - left), max(1, bottom - top))
    letters, outlined = Image.new("L", size), Image.new("L", size)
    for run, across in placed:
        at, font = (across - left, -top), run.font(height_px)
        ImageDraw.Draw(letters).text(at, run.text, fill=255, font=font, anchor=_BASELINE)
        if outline_px:
            ImageDraw.Draw(outlined).text(
                at, run.text, fill=255, font=font, anchor=_BASELINE, stroke_width=outline_px
            )
    cover = letters.point(lambda value: value * mark.opacity)
    if outline_px:
        strength = mark.opacity * _OUTLINE_STRENGTH
        outline = ImageChops.subtract(outlined, letters)
        cover = ImageChops.add(cover, outline.point(lambda value: value * strength))
    ink = Image.new("RGB", size, ImageColor.getrgb(mark.outline or mark.colour)[:3])
    ink.paste(ImageColor.getrgb(mark.colour)[:3], mask=letters)
    return WatermarkTile(ink=ink, cover=cover)


@lru_cache(maxsize=64)
def width_per_px(mark: Watermark, fonts: Fonts) -> float:
    """Return the width of the outlined text for each pixel of its height."""
    placed = _placed(split_into_runs(mark.text, fonts), _REFERENCE_PX)
    outline_px = _outline_px(_REFERENCE_PX) if mark.outline else 0
    left, _, right, _ = _bounds(placed, _REFERENCE_PX, outline_px)
    return max(1.0, float(right - left)) / _REFERENCE_PX


def _placed(runs: tuple[Run, ...], height_px: int) -> list[tuple[Run, int]]:
    """Return each run with where it begins, in pixels from the left."""
    placed, across = [], 0.0
    for run in runs:
        placed.append((run, round(across)))
        across += run.font(height_px).getlength(run.text)
    return placed


def _bounds(placed: list[tuple[Run, int]], height_px: int, outline_px: int) -> tuple[int, int, int, int]:
    boxes = [
        (across, run.font(height_px).getbbox(run.text, anchor=_BASELINE, stroke_width=outline_px))
        for run, across in placed
    ]
    return (
        int(min(across + box[0] for across, box in boxes)),
        int(min(box[1] for _, box in boxes)),
        int(max(across + box[2] for across, box in boxes)),
        int(max(box[3] for _, box in boxes)),
    )


def _outline_px(height_px: int) -> int:
    return max(1, round(height_px * _OUTLINE_SHARE))
