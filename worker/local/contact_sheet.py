"""Draw the contact sheet of a demo: each image before and after, side by side, with its outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from worker.local.preview import Preview, checkered, preview
from worker.presentation.units import human_bytes, human_shape
from worker.settings import FONT

_CELL: Final = (344, 258)
_GAP: Final = 24
_PADDING: Final = 14
_CAPTION: Final = 66
_HEADER: Final = 132
_CARD: Final = (2 * _CELL[0] + 3 * _PADDING, _CELL[1] + 2 * _PADDING + _CAPTION)
_MAX_IN_TWO_COLUMNS: Final = 6
"""Up to this number of images are laid out in two columns, more in three."""

_BACKGROUND: Final = (17, 19, 24)
_CARD_COLOUR: Final = (29, 32, 40)
_CELL_COLOUR: Final = (20, 22, 28)
_TEXT_COLOUR: Final = (236, 239, 244)
_MUTED_COLOUR: Final = (140, 148, 163)
_SUCCESS_COLOUR: Final = (122, 205, 150)
_ERROR_COLOUR: Final = (255, 118, 110)
_ERROR_CELL_COLOUR: Final = (52, 27, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """
    One upload and its result.

    Attributes:
        name: Name of the file.
        before: Path of the upload.
        after: Encoded result, or its path; None if there is no result.
        before_size: (width, height) in pixels of the upload, upright; None if unknown.
        after_size: (width, height) in pixels of the result.
        before_bytes: Size of the upload.
        after_bytes: Size of the result.
        elapsed_ms: Processing time.
        error_code: Code of the error, if the image failed.
        error_message: Message of the error.
    """

    name: str
    before: Path
    after: bytes | Path | None = None
    before_size: tuple[int, int] | None = None
    after_size: tuple[int, int] | None = None
    before_bytes: int | None = None
    after_bytes: int | None = None
    elapsed_ms: int | None = None
    error_code: str | None = None
    error_message: str | None = None


def contact_sheet(pairs: Sequence[Pair], *, path: Path) -> None:
    """
    Write a PNG file that shows all pairs.

    Uploads that cannot be opened get a placeholder.

    Args:
        pairs: Uploads and results, in the order of the rows.
        path: File to write.
    """
    columns = min(len(pairs), 2 if len(pairs) <= _MAX_IN_TWO_COLUMNS else 3) or 1
    rows = -(-len(pairs) // columns)
    width = columns * (_CARD[0] + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _HEADER + rows * (_CARD[1] + _GAP)), _BACKGROUND)
    _draw_header(sheet, pairs)
    for index, pair in enumerate(pairs):
        row, column = divmod(index, columns)
        sheet.paste(_card(pair), (_GAP + column * (_CARD[0] + _GAP), _HEADER + row * (_CARD[1] + _GAP)))
    sheet.save(path, format="PNG", compress_level=2)


def _draw_header(sheet: Image.Image, pairs: Sequence[Pair]) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 30), "Before and after", font=_font(34), fill=_TEXT_COLOUR)
    draw.text((_GAP, 84), _totals(pairs), font=_font(17), fill=_MUTED_COLOUR)


def _totals(pairs: Sequence[Pair]) -> str:
    completed = [pair for pair in pairs if pair.after is not None]
    failed = sum(pair.error_code is not None for pair in pairs)
    before = sum(pair.before_bytes or 0 for pair in completed)
    after = sum(pair.after_bytes or 0 for pair in completed)
    parts = [f"{len(pairs)} image{'' if len(pairs) == 1 else 's'}"]
    if completed:
        parts.append(
            f"{len(completed)} completed, {human_bytes(before)} \N{RIGHTWARDS ARROW} {human_bytes(after)}"
        )
    if failed:
        parts.append(f"{failed} failed")
    times = [pair.elapsed_ms for pair in completed if pair.elapsed_ms is not None]
    if times:
        parts.append(f"median {median(times):.0f} ms")
    return "  \N{MIDDLE DOT}  ".join(parts)


def _card(pair: Pair) -> Image.Image:
    card = Image.new("RGB", _CARD, _BACKGROUND)
    draw = ImageDraw.Draw(card)
    draw.rounded_rectangle((0, 0, _CARD[0] - 1, _CARD[1] - 1), radius=12, fill=_CARD_COLOUR)
    before = preview(pair.before, box=_CELL)
    after = preview(pair.after, box=_CELL) if pair.after is not None else None
    left, right = (_PADDING, _PADDING), (2 * _PADDING + _CELL[0], _PADDING)
    card.paste(_placeholder("no preview") if before is None else _preview_cell(before), left)
    if after is not None:
        card.paste(_preview_cell(after), right)
    elif pair.error_code is not None:
        card.paste(_error_cell(pair.error_code, pair.error_message or ""), right)
    else:
        card.paste(_placeholder("no result"), right)
    _draw_caption(draw, pair, before, after)
    return card


def _draw_caption(
    draw: ImageDraw.ImageDraw, pair: Pair, before: Preview | None, after: Preview | None
) -> None:
    first_line, second_line = _CELL[1] + _PADDING + 14, _CELL[1] + _PADDING + 42
    right, available = _CARD[0] - _PADDING, _CARD[0] - 2 * _PADDING
    if pair.elapsed_ms is not None:
        elapsed = f"{pair.elapsed_ms:,} ms"
        colour = _ERROR_COLOUR if pair.error_code else _SUCCESS_COLOUR
        draw.text((right, first_line), elapsed, font=_font(17), fill=colour, anchor="ra")
        available -= round(_font(17).getlength(elapsed)) + _PADDING
    draw.text((_PADDING, first_line), _shorten(pair.name, 18, available), font=_font(18), fill=_TEXT_COLOUR)
    upload = _describe(pair.before_size, before, pair.before.suffix, pair.before_bytes)
    if pair.error_code:
        result = pair.error_code
    elif after is None:
        result = ""
    else:
        result = _describe(pair.after_size, after, "", pair.after_bytes)
    line = f"{upload}  \N{RIGHTWARDS ARROW}  {result}" if result else upload
    draw.text(
        (_PADDING, second_line),
        _shorten(line, 15, _CARD[0] - 2 * _PADDING),
        font=_font(15),
        fill=_MUTED_COLOUR,
    )


def _describe(
    size: tuple[int, int] | None, shown: Preview | None, suffix: str, size_bytes: int | None
) -> str:
    """Return size, format and bytes of a file: `4032x3024 JPEG 2.1 MB`."""
    size = size or (shown.size if shown else None)
    file_format = shown.format if shown else suffix.removeprefix(".").upper()
    amount = None if size_bytes is None else human_bytes(size_bytes)
    return " ".join(part for part in (human_shape(size) if size else None, file_format, amount) if part)


def _preview_cell(shown: Preview) -> Image.Image:
    """Return a cell with a preview in its centre, chequered where the preview is transparent."""
    cell = Image.new("RGB", _CELL, _CELL_COLOUR)
    image = shown.image
    corner = ((_CELL[0] - image.width) // 2, (_CELL[1] - image.height) // 2)
    if image.mode == "RGBA":
        cell.paste(checkered(image.size), corner)
        cell.paste(image, corner, image)
    else:
        cell.paste(image, corner)
    return cell


def _placeholder(text: str) -> Image.Image:
    cell = Image.new("RGB", _CELL, _CELL_COLOUR)
    draw = ImageDraw.Draw(cell)
    middle, across = _CELL[0] // 2, _CELL[1] // 2 - 22
    draw.rounded_rectangle(
        (middle - 34, across - 26, middle + 34, across + 26), 6, outline=_MUTED_COLOUR, width=3
    )
    draw.line((middle - 34, across + 26, middle + 34, across - 26), fill=_MUTED_COLOUR, width=3)
    draw.text((middle, across + 56), text, font=_font(15), fill=_MUTED_COLOUR, anchor="mm")
    return cell


def _error_cell(code: str, message: str) -> Image.Image:
    cell = Image.new("RGB", _CELL, _ERROR_CELL_COLOUR)
    draw = ImageDraw.Draw(cell)
    lines = _wrap(message, 15, _CELL[0] - 40)[:6]
    top = _CELL[1] // 2 - (40 + 22 * len(lines)) // 2
    draw.text((20, top), _shorten(code, 21, _CELL[0] - 40), font=_font(21), fill=_ERROR_COLOUR)
    for index, line in enumerate(lines):
        draw.text((20, top + 42 + 22 * index), line, font=_font(15), fill=_TEXT_COLOUR)
    return cell


def _wrap(text: str, points: int, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font(points).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_shorten(word, points, width))
    return lines


def _shorten(text: str, points: int, width: int) -> str:
    """Shorten a text in its middle to fit a width in pixels: both ends of a file name identify it."""
    if _font(points).getlength(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 1 and _font(points).getlength(_without_middle(text, keep)) > width:
        keep -= 1
    return _without_middle(text, keep)


def _without_middle(text: str, keep: int) -> str:
    return f"{text[: keep - keep // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - keep // 2 :]}"


@cache
def _font(points: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, points, layout_engine=ImageFont.Layout.BASIC)
