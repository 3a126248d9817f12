"""The third step: the text or logo that marks a picture."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from PIL import Image

from worker.domain.errors import RejectedError
from worker.domain.recipe import Watermark
from worker.domain.status import StepMove
from worker.imaging.errors import rejected_error_for
from worker.imaging.fonts import Fonts
from worker.imaging.picture import Extent, Picture, StepNote
from worker.imaging.watermark_logo import logo_tile
from worker.imaging.watermark_text import text_tile, width_per_px
from worker.imaging.watermark_tile import WatermarkTile

if TYPE_CHECKING:
    from worker.domain.step import Json

MIN_TEXT_PX: Final = 8
"""Below this height, DejaVu Sans Bold cannot be read."""
MIN_LOGO_PX: Final = 16
"""Below this length, a logo is a smudge."""

_MARGIN_SHARE: Final = 0.02
_MIN_MARGIN_PX: Final = 2
_GAP_SHARE: Final = 0.06
_LONGEST_SOURCE: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def watermark(
    pictures: tuple[Picture, ...], *, mark: Watermark | None, fonts: Fonts
) -> tuple[tuple[Picture, ...], StepNote]:
    """
    Mark each picture, every frame of it, in place, where the mark can be read.

    Args:
        pictures: The main one first; it decides what the record says.
        mark: None leaves them unmarked. A logo that cannot be used leaves its place to the text.
        fonts: What the text is written in.

    Returns:
        The same pictures.
    """
    if mark is None:
        return pictures, _skipped("disabled")
    mark = replace(mark, text=collapse_whitespace(mark.text))
    mark, fault = _with_usable_logo(mark)
    if mark.logo is None and not mark.text:
        return pictures, _skipped(f"logo not usable: {fault}" if fault else "disabled")
    is_marked = [
        [mark_image(image, mark=mark, fonts=fonts) for image in picture.images] for picture in pictures
    ]
    if not is_marked[0][0]:
        return pictures, _skipped("picture too small")
    detail: dict[str, Json] = {"watermarkType": "text", "watermarkText": mark.text}
    if mark.logo is not None:
        detail = {"watermarkType": "image", "watermarkImage": mark.logo.source[-_LONGEST_SOURCE:]}
    elif fault:
        detail["reason"] = f"logo not usable: {fault}"
    return pictures, StepNote(detail=detail)


def mark_image(image: Image.Image, *, mark: Watermark, fonts: Fonts) -> bool:
    """
    Mark one picture, touching only the pixels under the mark.

    Returns:
        Whether it was marked: False when the mark would be too small to read.
    """
    extent = Extent(*image.size)
    if min(extent) < mark.min_side_px:
        return False
    tile = _fitting_tile(extent, mark=mark, fonts=fonts)
    if tile is None:
        return False
    for at in places(extent, Extent(*tile.cover.size), mark=mark):
        tile.paste_onto(image, at)
    return True


def places(extent: Extent, tile: Extent, *, mark: Watermark) -> list[tuple[int, int]]:
    """Return where on the picture the mark stands: its left top corners, all of it within the margin."""
    margin = margin_px(extent)
    free = (extent.width - 2 * margin - tile.width, extent.height - 2 * margin - tile.height)
    if not mark.tiled:
        across, down = mark.position.point
        return [(margin + round(free[0] * across), margin + round(free[1] * down))]
    gap = max(_MIN_MARGIN_PX, round(min(extent) * _GAP_SHARE))
    columns, rows = (
        _spread(space, side + gap) for space, side in zip(free, (tile.width, tile.height), strict=True)
    )
    return [(margin + left, margin + top) for top in rows for left in columns]


def collapse_whitespace(text: str) -> str:
    """Return the text with every run of spaces, line breaks and control characters as one space."""
    return " ".join(_CONTROL.sub(" ", text).split())


def margin_px(extent: Extent) -> int:
    """Return how far the mark stays from the edges."""
    return max(_MIN_MARGIN_PX, round(min(extent) * _MARGIN_SHARE))


def text_height_px(extent: Extent, *, mark: Watermark, fonts: Fonts) -> int:
    """Return the height of the text: the wanted share of the shorter side, or what the width has room for."""
    margin = margin_px(extent)
    wanted = min(_wanted_px(extent, mark.height_share, mark), extent.height - 2 * margin)
    if mark.rotation_deg % 180:
        return max(0, wanted)
    room = (extent.width - 2 * margin) / width_per_px(mark, fonts)
    return max(0, min(wanted, int(room)))


def _wanted_px(extent: Extent, share: float, mark: Watermark) -> int:
    return min(mark.max_px, max(mark.min_px, round(min(extent) * share)))


def _fitting_tile(extent: Extent, *, mark: Watermark, fonts: Fonts) -> WatermarkTile | None:
    """Return the mark as large as wanted, or as there is room for; None when that cannot be read."""
    room = Extent(*(side - 2 * margin_px(extent) for side in extent))
    if mark.logo is None:
        height_px, least_px = text_height_px(extent, mark=mark, fonts=fonts), MIN_TEXT_PX
    else:
        height_px, least_px = _wanted_px(extent, mark.logo_share, mark), MIN_LOGO_PX
    while height_px >= least_px:
        if mark.logo is None:
            tile = text_tile(mark, height_px=height_px, fonts=fonts)
        else:
            tile = logo_tile(mark.logo, longer_px=height_px, opacity=mark.opacity)
        tile = tile.rotated(mark.rotation_deg)
        width, height = tile.cover.size
        if width <= room.width and height <= room.height:
            return tile
        # Hinting can make small letters wider than their height says: at least a pixel less each time.
        height_px = min(height_px - 1, int(height_px * min(room.width / width, room.height / height)))
    return None


def _spread(free_px: int, step_px: int) -> list[int]:
    """Return the beginnings of as many as have room, from edge to edge with equal gaps."""
    further = free_px // step_px
    if further < 1:
        return [free_px // 2]
    return [round(number * free_px / further) for number in range(further + 1)]


def _with_usable_logo(mark: Watermark) -> tuple[Watermark, str]:
    """Return the mark without a logo that cannot be used, and the code of what is wrong with it."""
    if mark.logo is None:
        return mark, ""
    try:
        logo_tile(mark.logo, longer_px=MIN_LOGO_PX, opacity=mark.opacity)
    except RejectedError as refusal:
        return replace(mark, logo=None), refusal.code
    except Exception as error:  # noqa: BLE001 - a picture is not refused for the logo on it
        return replace(mark, logo=None), rejected_error_for(error).code
    return mark, ""


def _skipped(reason: str) -> StepNote:
    return StepNote(move=StepMove.SKIPPED, detail={"reason": reason})
