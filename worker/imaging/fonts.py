"""Font fallback: choose for each character the first font that has it."""

import io
import struct
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from PIL import ImageFont

_UNICODE_TABLES: Final = {(3, 10): 0, (0, 6): 1, (0, 4): 2, (3, 1): 3, (0, 3): 4}
"""(platform, encoding) of a character map -> its rank, the best first."""
_SEGMENTS, _GROUPS = 4, 12
"""The two formats of character maps; every font has at least one of them."""
_END_OF_SEGMENTS: Final = 0xFFFF

_JOINERS: Final = frozenset("\u200c\u200d\ufe0e\ufe0f")
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL"})
_STRONG: Final = frozenset({"L", *_RIGHT_TO_LEFT})

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Fonts:
    """
    The fonts for watermark texts.

    Attributes:
        files: Contents of TrueType or OpenType files, in order of preference.
    """

    files: tuple[bytes, ...]


class Run(NamedTuple):
    """Consecutive characters in the same font."""

    text: str
    file: bytes

    def font(self, height_px: int) -> ImageFont.FreeTypeFont:
        """Return the font at a height; letters are shaped and joined where Pillow has Raqm."""
        return ImageFont.truetype(io.BytesIO(self.file), height_px)


@lru_cache(maxsize=64)
def split_into_runs(text: str, fonts: Fonts) -> tuple[Run, ...]:
    """
    Split a text into runs of a single font, in visual order from left to right.

    A character gets the first font that has it; combining marks and joiners stay with the character before.
    """
    if len(fonts.files) == 1:
        return (Run(text, fonts.files[0]),)
    runs: list[Run] = []
    for character in text:
        belongs_to_run = bool(runs) and (
            character in _JOINERS or character.isspace() or unicodedata.category(character).startswith("M")
        )
        file = runs[-1].file if belongs_to_run else _first_with(ord(character), fonts)
        if runs and file is runs[-1].file:
            runs[-1] = Run(runs[-1].text + character, file)
        else:
            runs.append(Run(character, file))
    directions = (unicodedata.bidirectional(character) for character in text)
    first_strong = next((direction for direction in directions if direction in _STRONG), "L")
    return tuple(reversed(runs)) if first_strong in _RIGHT_TO_LEFT else tuple(runs)


def _first_with(code: int, fonts: Fonts) -> bytes:
    return next((file for file in fonts.files if _has(code, coverage(file))), fonts.files[0])


def _has(code: int, ranges: Ranges) -> bool:
    at = bisect_right(ranges, (code, 0x11_0000)) - 1
    return at >= 0 and code <= ranges[at][1]


@lru_cache(maxsize=16)
def coverage(file: bytes) -> Ranges:
    """Return the ranges of code points (first, last) that a font has; empty if it cannot be read."""
    try:
        return _read_character_map(memoryview(file))
    except (struct.error, IndexError, StopIteration):
        return ()


def _read_character_map(view: memoryview) -> Ranges:
    start = struct.unpack_from(">I", view, 12)[0] if bytes(view[:4]) == b"ttcf" else 0
    (tables,) = struct.unpack_from(">H", view, start + 4)
    cmap = next(
        struct.unpack_from(">I", view, at + 8)[0]
        for at in range(start + 12, start + 12 + 16 * tables, 16)
        if bytes(view[at : at + 4]) == b"cmap"
    )
    (count,) = struct.unpack_from(">H", view, cmap + 2)
    found = [struct.unpack_from(">HHI", view, cmap + 4 + 8 * number) for number in range(count)]
    known = sorted(
        (_UNICODE_TABLES[platform, encoding], cmap + offset)
        for platform, encoding, offset in found
        if (platform, encoding) in _UNICODE_TABLES
    )
    for _, at in known:
        (kind,) = struct.unpack_from(">H", view, at)
        if kind == _GROUPS:
            (groups,) = struct.unpack_from(">I", view, at + 12)
            flat = struct.unpack_from(f">{3 * groups}I", view, at + 16)
            return tuple(sorted(zip(flat[::3], flat[1::3], strict=True)))
        if kind == _SEGMENTS:
            segments = struct.unpack_from(">H", view, at + 6)[0] // 2
            lasts = struct.unpack_from(f">{segments}H", view, at + 14)
            firsts = struct.unpack_from(f">{segments}H", view, at + 16 + 2 * segments)
            ranges = zip(firsts, lasts, strict=True)
            return tuple(sorted((first, last) for first, last in ranges if first < _END_OF_SEGMENTS))
    return ()
