"""Draw the blurred preview of an image from its BlurHash, as a PNG file."""

import math
import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

PIXELS: Final = (32, 24)
"""Width and height of the file; browsers smooth it when they enlarge it."""

_DIGITS: Final = {
    digit: value
    for value, digit in enumerate(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
    )
}
_HEADER: Final = 6
"""Characters before the waves: their number, their amplitude and the average colour."""

_MAX_COMPONENTS: Final = 9


@lru_cache(maxsize=256)
def placeholder_png(blur_hash: str) -> bytes | None:
    """
    Return the PNG file of a BlurHash (https://github.com/woltapp/blurhash, Algorithm.md).

    Returns:
        The file; None if the text is not a BlurHash.
    """
    colours = _components(blur_hash)
    if colours is None:
        return None
    across, down, waves = colours
    width, height = PIXELS
    cosines_x = [[math.cos(math.pi * x * i / width) for i in range(across)] for x in range(width)]
    cosines_y = [[math.cos(math.pi * y * j / height) for j in range(down)] for y in range(height)]
    rows = bytearray()
    for by_y in cosines_y:
        rows.append(0)  # the filter of the row: none
        for by_x in cosines_x:
            basis = [cos_y * cos_x for cos_y in by_y for cos_x in by_x]
            for channel in range(3):
                light = sum(wave[channel] * factor for wave, factor in zip(waves, basis, strict=True))
                rows.append(_to_srgb(light))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _components(blur_hash: str) -> tuple[int, int, Sequence[tuple[float, float, float]]] | None:
    """Return the number of waves in each direction, and their amplitude in linear light per channel."""
    if len(blur_hash) < _HEADER or any(character not in _DIGITS for character in blur_hash):
        return None
    down, across = (part + 1 for part in divmod(_number(blur_hash[0]), 9))
    if down > _MAX_COMPONENTS or len(blur_hash) != _HEADER + 2 * (across * down - 1):
        return None
    amplitude = (_number(blur_hash[1]) + 1) / 166
    average = _number(blur_hash[2:_HEADER])
    if average >= 1 << 24:
        return None
    waves = [(_to_light(average >> 16), _to_light(average >> 8 & 255), _to_light(average & 255))]
    for at in range(_HEADER, len(blur_hash), 2):
        value = _number(blur_hash[at : at + 2])
        if value >= 19**3:
            return None
        red, green, blue = (
            math.copysign(((level - 9) / 9) ** 2, level - 9) * amplitude
            for level in (value // 361, value // 19 % 19, value % 19)
        )
        waves.append((red, green, blue))
    return across, down, waves


def _number(text: str) -> int:
    value = 0
    for digit in text:
        value = value * 83 + _DIGITS[digit]
    return value


def _to_light(level: int) -> float:
    """Return the linear light of an sRGB level (IEC 61966-2-1)."""
    share = level / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 - constants of the standard


def _to_srgb(light: float) -> int:
    light = max(0.0, min(1.0, light))
    share = light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055  # noqa: PLR2004 - see above
    return int(share * 255 + 0.5)
