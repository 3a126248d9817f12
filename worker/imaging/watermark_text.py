"""Render a text as a watermark tile."""

from functools import lru_cache
from typing import Final, NamedTuple

from PIL import Image, ImageChops, ImageColor, ImageDraw

from worker.domain.recipe import Watermark
from worker.imaging.fonts import Fonts, Run, split_into_runs
from worker.imaging.watermark_tile import WatermarkTile

_OUTLINE_SHARE: Final = 0.07
_OUTLINE_STRENGTH: Final = 0.75
_REFERENCE_PX: Final = 100
_BASELINE: Final = "ls"


class _PlacedRun(NamedTuple):
    """A run of characters and its offset from the left, in pixels."""

    run: Run
    left: int


@lru_cache(maxsize=64)
def text_tile(mark: Watermark, *, height_px: int, fonts: Fonts) -> WatermarkTile:
    """
    Return the text of a watermark as a tile; cached, because many images need it at the same height.

    The outline is cut out below the letters: the picture is visible through them as `opacity` specifies, and
    the outline keeps them legible on a background of their own colour.

    Args:
        mark: Watermark with a text.
        height_px: Height of the text in pixels.
        fonts: Fonts in order of preference.
    """
    outline_px = _outline_px(height_px) if mark.outline else 0
    placed = _place_runs(split_into_runs(mark.text, fonts), height_px)
    left, top, right, bottom = _bounding_box(placed, height_px, outline_px)
    size = (max(1, right - left), max(1, bottom - top))
    letters, outlined = Image.new("L", size), Image.new("L", size)
    for run, run_left in placed:
        at, font = (run_left - left, -top), run.font(height_px)
        ImageDraw.Draw(letters).text(at, run.text, fill=255, font=font, anchor=_BASELINE)
        if outline_px:
            ImageDraw.Draw(outlined).text(
                at, run.text, fill=255, font=font, anchor=_BASELINE, stroke_width=outline_px
            )
    alpha = letters.point(lambda value: value * mark.opacity)
    if outline_px:
        strength = mark.opacity * _OUTLINE_STRENGTH
        outline = ImageChops.subtract(outlined, letters)
        alpha = ImageChops.add(alpha, outline.point(lambda value: value * strength))
    colour = Image.new("RGB", size, ImageColor.getrgb(mark.outline or mark.colour)[:3])
    colour.paste(ImageColor.getrgb(mark.colour)[:3], mask=letters)
    return WatermarkTile(colour=colour, alpha=alpha)


@lru_cache(maxsize=64)
def width_per_px(mark: Watermark, fonts: Fonts) -> float:
    """Return the width of the outlined text, in pixels, for each pixel of its height."""
    placed = _place_runs(split_into_runs(mark.text, fonts), _REFERENCE_PX)
    outline_px = _outline_px(_REFERENCE_PX) if mark.outline else 0
    left, _, right, _ = _bounding_box(placed, _REFERENCE_PX, outline_px)
    return max(1.0, float(right - left)) / _REFERENCE_PX


def _place_runs(runs: tuple[Run, ...], height_px: int) -> list[_PlacedRun]:
    placed, left = [], 0.0
    for run in runs:
        placed.append(_PlacedRun(run, round(left)))
        left += run.font(height_px).getlength(run.text)
    return placed


def _bounding_box(placed: list[_PlacedRun], height_px: int, outline_px: int) -> tuple[int, int, int, int]:
    boxes = [
        (left, run.font(height_px).getbbox(run.text, anchor=_BASELINE, stroke_width=outline_px))
        for run, left in placed
    ]
    return (
        int(min(left + box[0] for left, box in boxes)),
        int(min(box[1] for _, box in boxes)),
        int(max(left + box[2] for left, box in boxes)),
        int(max(box[3] for _, box in boxes)),
    )


def _outline_px(height_px: int) -> int:
    return max(1, round(height_px * _OUTLINE_SHARE))
