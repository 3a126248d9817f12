"""What lists and pages need of a picture before they have it: computed once, from a tiny copy."""

import math
from functools import lru_cache
from operator import mul
from typing import Final

from PIL import Image

from worker.domain.step import Json

_BASE_83: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
_COMPONENTS: Final = (4, 3)
_TINY: Final = (16, 12)
_PALETTE: Final = 4
_SMALL_PX, _SAMPLED_PX = 48, 96
_HASH_SIDE: Final = 8

Rgb = tuple[float, float, float]


def traits_of(image: Image.Image) -> dict[str, Json]:
    """
    Return `dominantColor` (`#rrggbb`), `blurHash` (28 characters) and `perceptualHash` (16 digits).

    Args:
        image: RGB or RGBA; what is transparent counts as white.
    """
    # One pixel of many, then boxes by whole factors: a Lanczos from full size costs sixty times as much.
    if (every := min(image.size) // _SAMPLED_PX) > 1:
        image = image.resize((image.width // every, image.height // every), Image.Resampling.NEAREST)
    small = image.reduce((max(1, image.width // _SMALL_PX), max(1, image.height // _SMALL_PX)))
    if small.mode == "RGBA":
        ground = Image.new("RGB", small.size, "white")
        ground.paste(small, mask=small.getchannel("A"))
        small = ground
    tiny = small.resize(_TINY, Image.Resampling.BOX)
    return {
        "dominantColor": dominant_colour(tiny),
        "blurHash": blur_hash(tiny),
        "perceptualHash": difference_hash(small),
    }


def dominant_colour(tiny: Image.Image) -> str:
    """Return the mean of the largest group of alike colours, as `#rrggbb`."""
    grouped = tiny.quantize(_PALETTE, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    counts = grouped.histogram()
    at = 3 * counts.index(max(counts))
    red, green, blue = (grouped.getpalette() or [])[at : at + 3]
    return f"#{red:02x}{green:02x}{blue:02x}"


def difference_hash(image: Image.Image) -> str:
    """
    Return 64 bits as 16 hexadecimal digits: whether each of 8 x 8 places is darker than its right neighbour.

    Pictures that look alike differ in few bits: up to ten count as alike. Reckoned as `dhash` of the package
    ImageHash does (http://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html).
    """
    grey = image.convert("L").resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.LANCZOS).tobytes()
    bits = 0
    for row in range(0, len(grey), _HASH_SIDE + 1):
        for at in range(row, row + _HASH_SIDE):
            bits = bits << 1 | (grey[at + 1] > grey[at])
    return f"{bits:016x}"


def blur_hash(tiny: Image.Image) -> str:
    """Return the BlurHash of 4 x 3 components (https://github.com/woltapp/blurhash, Algorithm.md)."""
    across, down = _basis(tiny.width, _COMPONENTS[0]), _basis(tiny.height, _COMPONENTS[1])
    factors: list[list[float]] = []
    for band in tiny.split():
        light = [_linear()[level] for level in band.tobytes()]
        rows = [light[at : at + tiny.width] for at in range(0, len(light), tiny.width)]
        columns = [[sum(map(mul, row, wave)) for row in rows] for wave in across]
        factors.append([sum(map(mul, column, wave)) for wave in down for column in columns])
    scale = 1 / (tiny.width * tiny.height)
    dc, *ac = [(r * scale, g * scale, b * scale) for r, g, b in zip(*factors, strict=True)]
    ac = [(2 * r, 2 * g, 2 * b) for r, g, b in ac]
    most = max(abs(value) for factor in ac for value in factor)
    quantised = max(0, min(82, math.floor(most * 166 - 0.5)))
    real = (quantised + 1) / 166
    size_flag = (_COMPONENTS[0] - 1) + (_COMPONENTS[1] - 1) * 9
    text = _base_83(size_flag, 1) + _base_83(quantised, 1) + _base_83(_dc_value(dc), 4)
    return text + "".join(_base_83(_ac_value(factor, real), 2) for factor in ac)


@lru_cache(maxsize=4)
def _basis(length: int, components: int) -> tuple[tuple[float, ...], ...]:
    return tuple(
        tuple(math.cos(math.pi * number * at / length) for at in range(length))
        for number in range(components)
    )


@lru_cache(maxsize=1)
def _linear() -> tuple[float, ...]:
    """Return how much light each level of sRGB is (IEC 61966-2-1)."""
    shares = (level / 255 for level in range(256))
    return tuple(s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)  # noqa: PLR2004


def _srgb(light: float) -> int:
    light = max(0.0, min(1.0, light))
    share = light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055  # noqa: PLR2004
    return int(share * 255 + 0.5)


def _dc_value(colour: Rgb) -> int:
    red, green, blue = (_srgb(light) for light in colour)
    return red << 16 | green << 8 | blue


def _ac_value(factor: Rgb, most: float) -> int:
    value = 0
    for one in factor:
        share = math.copysign(math.sqrt(abs(one / most)), one)
        value = value * 19 + max(0, min(18, math.floor(share * 9 + 9.5)))
    return value


def _base_83(value: int, length: int) -> str:
    return "".join(_BASE_83[value // 83**place % 83] for place in reversed(range(length)))
