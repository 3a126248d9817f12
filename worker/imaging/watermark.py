"""The watermark step: draw a text or logo on pictures."""

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
"""Height below which DejaVu Sans Bold is not legible."""
MIN_LOGO_PX: Final = 16
"""Longer side below which a logo is not recognizable."""

_MARGIN_SHARE: Final = 0.02
_MIN_MARGIN_PX: Final = 2
_GAP_SHARE: Final = 0.06
_MAX_SOURCE_CHARACTERS: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def watermark(
    pictures: tuple[Picture, ...], *, mark: Watermark | None, fonts: Fonts
) -> tuple[tuple[Picture, ...], StepNote]:
    """
    Draw the watermark on every frame of each picture, in place, except where it would not be legible.

    Args:
        pictures: Pictures of all sizes; the note describes the first, the main size.
        mark: Watermark; None leaves the pictures unmarked. If its logo cannot be used, its text is drawn.
        fonts: Fonts for the text.

    Returns:
        The same pictures, and the note for the record.
    """
    if mark is None:
        return pictures, _skipped("disabled")
    mark = replace(mark, text=collapse_whitespace(mark.text))
    mark, logo_problem = _drop_unusable_logo(mark)
    if mark.logo is None and not mark.text:
        return pictures, _skipped(logo_problem or "disabled")
    is_marked = [
        [mark_image(image, mark=mark, fonts=fonts) for image in picture.images] for picture in pictures
    ]
    if not is_marked[0][0]:
        return pictures, _skipped("image too small for a legible watermark")
    detail: dict[str, Json] = {"watermarkType": "text", "watermarkText": mark.text}
    if mark.logo is not None:
        detail = {"watermarkType": "image", "watermarkImage": mark.logo.source[-_MAX_SOURCE_CHARACTERS:]}
    elif logo_problem:
        detail["reason"] = logo_problem
    return pictures, StepNote(detail=detail)


def mark_image(image: Image.Image, *, mark: Watermark, fonts: Fonts) -> bool:
    """
    Draw the watermark on an image, changing only the pixels below it.

    Returns:
        False if the image was left unmarked because the watermark would not be legible.
    """
    extent = Extent(*image.size)
    if min(extent) < mark.min_side_px:
        return False
    tile = fitting_tile(extent, mark=mark, fonts=fonts)
    if tile is None:
        return False
    for at in tile_positions(extent, Extent(*tile.alpha.size), mark=mark):
        tile.paste_onto(image, at)
    return True


def tile_positions(extent: Extent, tile: Extent, *, mark: Watermark) -> list[tuple[int, int]]:
    """Return the top left corner of each copy of the tile on the image, all of them within the margin."""
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
    """Return the text with each run of spaces, line breaks and control characters replaced by a space."""
    return " ".join(_CONTROL.sub(" ", text).split())


def margin_px(extent: Extent) -> int:
    """Return the distance of the watermark from the edges, in pixels."""
    return max(_MIN_MARGIN_PX, round(min(extent) * _MARGIN_SHARE))


def text_height_px(extent: Extent, *, mark: Watermark, fonts: Fonts) -> int:
    """Return the height of the text: the configured share of the shorter side, or less if it is too wide."""
    margin = margin_px(extent)
    height_px = min(_configured_px(extent, mark.height_share, mark), extent.height - 2 * margin)
    if mark.rotation_deg % 180:
        return max(0, height_px)
    max_height_px = (extent.width - 2 * margin) / width_per_px(mark, fonts)
    return max(0, min(height_px, int(max_height_px)))


def _configured_px(extent: Extent, share: float, mark: Watermark) -> int:
    return min(mark.max_px, max(mark.min_px, round(min(extent) * share)))


def fitting_tile(extent: Extent, *, mark: Watermark, fonts: Fonts) -> WatermarkTile | None:
    """Return the tile at its configured size, or smaller to fit; None if it would not be legible."""
    available = Extent(*(side - 2 * margin_px(extent) for side in extent))
    if mark.logo is None:
        height_px, min_px = text_height_px(extent, mark=mark, fonts=fonts), MIN_TEXT_PX
    else:
        height_px, min_px = _configured_px(extent, mark.logo_share, mark), MIN_LOGO_PX
    while height_px >= min_px:
        if mark.logo is None:
            tile = text_tile(mark, height_px=height_px, fonts=fonts)
        else:
            tile = logo_tile(mark.logo, longer_px=height_px, opacity=mark.opacity)
        tile = tile.rotated(mark.rotation_deg)
        width, height = tile.alpha.size
        if width <= available.width and height <= available.height:
            return tile
        # Hinting can make small letters wider than `width_per_px`: reduce by at least a pixel each time.
        shrink = min(available.width / width, available.height / height)
        height_px = min(height_px - 1, int(height_px * shrink))
    return None


def _spread(free_px: int, step_px: int) -> list[int]:
    """Return the offsets of as many copies as fit, from edge to edge with equal gaps."""
    gaps = free_px // step_px
    if gaps < 1:
        return [free_px // 2]
    return [round(number * free_px / gaps) for number in range(gaps + 1)]


def _drop_unusable_logo(mark: Watermark) -> tuple[Watermark, str]:
    """Return the watermark without its logo if that cannot be used, and the reason for the record."""
    logo = mark.logo
    if logo is None:
        return mark, ""
    try:
        logo_tile(logo, longer_px=MIN_LOGO_PX, opacity=mark.opacity)
    except RejectedError as error:
        code = error.code
    except Exception as error:  # noqa: BLE001 - any type is possible; a bad logo does not fail the image
        code = rejected_error_for(error).code
    else:
        return mark, ""
    # Without content, the ETag is the reason why the logo was not loaded, such as `missing`.
    reason = code if logo.content else logo.e_tag
    source = logo.source[-_MAX_SOURCE_CHARACTERS:]
    return replace(mark, logo=None), f"logo {source} cannot be used: {reason}"


def _skipped(reason: str) -> StepNote:
    return StepNote(move=StepMove.SKIPPED, detail={"reason": reason})
