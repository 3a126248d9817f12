"""The contact sheet of a demo: every picture before and after, side by side, with what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from worker.local.preview import Preview, checkered, preview
from worker.local.units import human_bytes, human_shape
from worker.settings import FONT

_CELL: Final = (344, 258)
_GAP: Final = 24
_PADDING: Final = 14
_CAPTION: Final = 66
_HEADER: Final = 132
_CARD: Final = (2 * _CELL[0] + 3 * _PADDING, _CELL[1] + 2 * _PADDING + _CAPTION)
_FEW: Final = 6
"""Up to so many pictures stand in two columns, more in three."""

_PAPER: Final = (17, 19, 24)
_CARD_COLOUR: Final = (29, 32, 40)
_CELL_COLOUR: Final = (20, 22, 28)
_INK: Final = (236, 239, 244)
_DIM: Final = (140, 148, 163)
_GOOD: Final = (122, 205, 150)
_BAD: Final = (255, 118, 110)
_BAD_CELL: Final = (52, 27, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """
    What went in and what came out.

    Attributes:
        name: Of the file.
        before: The upload.
        after: The result, encoded, or where it lies; None when there is none.
        before_size: (width, height) in pixels as the upload stands upright; None when nobody could tell.
        after_size: (width, height) in pixels of the result.
        before_bytes: Of the upload.
        after_bytes: Of the result.
        elapsed_ms: From the upload to the verdict.
        error_code: Why there is no result.
        error_message: The same in a sentence.
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
    Draw all pairs on one sheet and write it as PNG.

    An upload that cannot be opened here (HEIC, say, or a broken file) gets a placeholder.

    Args:
        pairs: In the order in which they stand, row by row.
        path: Where the sheet is written.
    """
    columns = min(len(pairs), 2 if len(pairs) <= _FEW else 3) or 1
    rows = -(-len(pairs) // columns)
    width = columns * (_CARD[0] + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _HEADER + rows * (_CARD[1] + _GAP)), _PAPER)
    _draw_header(sheet, pairs)
    for index, pair in enumerate(pairs):
        row, column = divmod(index, columns)
        sheet.paste(_card(pair), (_GAP + column * (_CARD[0] + _GAP), _HEADER + row * (_CARD[1] + _GAP)))
    sheet.save(path, format="PNG", compress_level=2)


def _draw_header(sheet: Image.Image, pairs: Sequence[Pair]) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 30), "Before and after", font=_font(34), fill=_INK)
    draw.text((_GAP, 84), _totals(pairs), font=_font(17), fill=_DIM)


def _totals(pairs: Sequence[Pair]) -> str:
    done = [pair for pair in pairs if pair.after is not None]
    failed = sum(pair.error_code is not None for pair in pairs)
    before = sum(pair.before_bytes or 0 for pair in done)
    after = sum(pair.after_bytes or 0 for pair in done)
    parts = [f"{len(pairs)} picture{'' if len(pairs) == 1 else 's'}"]
    if done:
        parts.append(f"{len(done)} done, {human_bytes(before)} \N{RIGHTWARDS ARROW} {human_bytes(after)}")
    if failed:
        parts.append(f"{failed} failed")
    times = [pair.elapsed_ms for pair in done if pair.elapsed_ms is not None]
    if times:
        parts.append(f"median {median(times):.0f} ms")
    return "  \N{MIDDLE DOT}  ".join(parts)


def _card(pair: Pair) -> Image.Image:
    card = Image.new("RGB", _CARD, _PAPER)
    draw = ImageDraw.Draw(card)
    draw.rounded_rectangle((0, 0, _CARD[0] - 1, _CARD[1] - 1), radius=12, fill=_CARD_COLOUR)
    before = preview(pair.before, box=_CELL)
    after = preview(pair.after, box=_CELL) if pair.after is not None else None
    left, right = (_PADDING, _PADDING), (2 * _PADDING + _CELL[0], _PADDING)
    card.paste(_placeholder("no preview of this file") if before is None else _framed(before), left)
    if after is not None:
        card.paste(_framed(after), right)
    elif pair.error_code is not None:
        card.paste(_refusal(pair.error_code, pair.error_message or ""), right)
    else:
        card.paste(_placeholder("no result"), right)
    _draw_caption(draw, pair, before, after)
    return card


def _draw_caption(
    draw: ImageDraw.ImageDraw, pair: Pair, before: Preview | None, after: Preview | None
) -> None:
    first, second = _CELL[1] + _PADDING + 14, _CELL[1] + _PADDING + 42
    end, room = _CARD[0] - _PADDING, _CARD[0] - 2 * _PADDING
    if pair.elapsed_ms is not None:
        elapsed = f"{pair.elapsed_ms:,} ms"
        colour = _BAD if pair.error_code else _GOOD
        draw.text((end, first), elapsed, font=_font(17), fill=colour, anchor="ra")
        room -= round(_font(17).getlength(elapsed)) + _PADDING
    draw.text((_PADDING, first), _cut(pair.name, 18, room), font=_font(18), fill=_INK)
    came = _described(pair.before_size, before, pair.before.suffix, pair.before_bytes)
    if pair.error_code:
        became = pair.error_code
    elif after is None:
        became = ""
    else:
        became = _described(pair.after_size, after, "", pair.after_bytes)
    line = f"{came}  \N{RIGHTWARDS ARROW}  {became}" if became else came
    draw.text((_PADDING, second), _cut(line, 15, _CARD[0] - 2 * _PADDING), font=_font(15), fill=_DIM)


def _described(
    size: tuple[int, int] | None, shown: Preview | None, suffix: str, size_bytes: int | None
) -> str:
    """Say what a file is: `4032x3024 JPEG 2.1 MB`."""
    size = size or (shown.size if shown else None)
    kind = shown.kind if shown else suffix.removeprefix(".").upper()
    amount = None if size_bytes is None else human_bytes(size_bytes)
    return " ".join(part for part in (human_shape(size) if size else None, kind, amount) if part)


def _framed(shown: Preview) -> Image.Image:
    """Put a preview into the middle of a cell, on a chequered ground where it is transparent."""
    cell = Image.new("RGB", _CELL, _CELL_COLOUR)
    picture = shown.picture
    corner = ((_CELL[0] - picture.width) // 2, (_CELL[1] - picture.height) // 2)
    if picture.mode == "RGBA":
        cell.paste(checkered(picture.size), corner)
        cell.paste(picture, corner, picture)
    else:
        cell.paste(picture, corner)
    return cell


def _placeholder(text: str) -> Image.Image:
    cell = Image.new("RGB", _CELL, _CELL_COLOUR)
    draw = ImageDraw.Draw(cell)
    middle, across = _CELL[0] // 2, _CELL[1] // 2 - 22
    draw.rounded_rectangle((middle - 34, across - 26, middle + 34, across + 26), 6, outline=_DIM, width=3)
    draw.line((middle - 34, across + 26, middle + 34, across - 26), fill=_DIM, width=3)
    draw.text((middle, across + 56), text, font=_font(15), fill=_DIM, anchor="mm")
    return cell


def _refusal(code: str, message: str) -> Image.Image:
    cell = Image.new("RGB", _CELL, _BAD_CELL)
    draw = ImageDraw.Draw(cell)
    lines = _wrapped(message, 15, _CELL[0] - 40)[:6]
    top = _CELL[1] // 2 - (40 + 22 * len(lines)) // 2
    draw.text((20, top), _cut(code, 21, _CELL[0] - 40), font=_font(21), fill=_BAD)
    for index, line in enumerate(lines):
        draw.text((20, top + 42 + 22 * index), line, font=_font(15), fill=_INK)
    return cell


def _wrapped(text: str, points: int, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font(points).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_cut(word, points, width))
    return lines


def _cut(text: str, points: int, width: int) -> str:
    """Shorten a text in its middle until it fits the width in pixels: a file's name is told by both ends."""
    if _font(points).getlength(text) <= width:
        return text
    keep = len(text) - 1
    while keep > 1 and _font(points).getlength(_shortened(text, keep)) > width:
        keep -= 1
    return _shortened(text, keep)


def _shortened(text: str, keep: int) -> str:
    return f"{text[: keep - keep // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - keep // 2 :]}"


@cache
def _font(points: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, points, layout_engine=ImageFont.Layout.BASIC)
