"""Compute placeholders for web pages and a hash to find similar images, from a small copy of a picture."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.domain.step import Json
from worker.imaging.colour import flatten

_BASE_83: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
_COMPONENTS: Final = (4, 3)
_TINY: Final = (16, 12)
_PALETTE: Final = 4
_SMALL_PX, _SAMPLED_PX = 48, 96
_HASH_SIDE: Final = 8

Waves: TypeAlias = NDArray[np.float64]


def visual_summary(image: Image.Image) -> dict[str, Json]:
    """
    Return `dominantColor` (`#rrggbb`), `blurHash` (28 characters) and `perceptualHash` (16 digits).

    Args:
        image: RGB or RGBA; transparent pixels count as white.
    """
    # Sample pixels, then average boxes by whole factors: Lanczos from the full size takes 60 times as long.
    if (step := min(image.size) // _SAMPLED_PX) > 1:
        image = image.resize((image.width // step, image.height // step), Image.Resampling.NEAREST)
    small = image.reduce((max(1, image.width // _SMALL_PX), max(1, image.height // _SMALL_PX)))
    if small.mode == "RGBA":
        small = flatten(small, "#ffffff")
    tiny = small.resize(_TINY, Image.Resampling.BOX)
    return {
        "dominantColor": dominant_colour(tiny),
        "blurHash": blur_hash(tiny),
        "perceptualHash": difference_hash(small),
    }


def dominant_colour(tiny: Image.Image) -> str:
    """Return the mean of the largest cluster of colours, as `#rrggbb`."""
    grouped = tiny.quantize(_PALETTE, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    counts = grouped.histogram()
    at = 3 * counts.index(max(counts))
    red, green, blue = (grouped.getpalette() or [])[at : at + 3]
    return f"#{red:02x}{green:02x}{blue:02x}"


def difference_hash(image: Image.Image) -> str:
    """
    Return 64 bits as 16 hexadecimal digits: whether each of 8 x 8 areas is darker than its right neighbour.

    Similar images differ in at most about ten bits. Same algorithm as `dhash` of the package ImageHash
    (http://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html).
    """
    grey = image.convert("L").resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.LANCZOS).tobytes()
    bits = 0
    for row in range(0, len(grey), _HASH_SIDE + 1):
        for at in range(row, row + _HASH_SIDE):
            bits = bits << 1 | (grey[at + 1] > grey[at])
    return f"{bits:016x}"


def blur_hash(tiny: Image.Image) -> str:
    """Return the BlurHash of 4 x 3 components (https://github.com/woltapp/blurhash, Algorithm.md)."""
    light = _linear_light()[np.asarray(tiny)]
    across, down = _cosine_basis(tiny.width, _COMPONENTS[0]), _cosine_basis(tiny.height, _COMPONENTS[1])
    # Not `@`: BLAS allocates tens of megabytes for its first product, and ends the process if that fails.
    rows = np.einsum("jy,yxc->jxc", down, light)
    dc, *ac = np.einsum("ix,jxc->jic", across, rows).reshape(-1, 3) / (tiny.width * tiny.height)
    waves = 2 * np.asarray(ac)
    quantised = max(0, min(82, math.floor(np.abs(waves).max() * 166 - 0.5)))
    real = (quantised + 1) / 166
    levels = np.floor(np.copysign(np.sqrt(np.abs(waves) / real), waves) * 9 + 9.5).clip(0, 18).astype(int)
    size_flag = (_COMPONENTS[0] - 1) + (_COMPONENTS[1] - 1) * 9
    text = _base_83(size_flag, 1) + _base_83(quantised, 1) + _base_83(_average_colour(dc), 4)
    return text + "".join(_base_83(r * 19**2 + g * 19 + b, 2) for r, g, b in levels.tolist())


@lru_cache(maxsize=4)
def _cosine_basis(length: int, components: int) -> Waves:
    """Return a cosine wave of `length` pixels in each row, with 0, 1, 2 ... half periods."""
    waves: Waves = np.cos(np.pi / length * np.outer(np.arange(components), np.arange(length)))
    return waves


@lru_cache(maxsize=1)
def _linear_light() -> Waves:
    """Return the linear light of each of the 256 sRGB levels (IEC 61966-2-1)."""
    shares = np.arange(256) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 - constants of the standard


def _srgb_level(light: float) -> int:
    light = max(0.0, min(1.0, light))
    share = light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055  # noqa: PLR2004 - see above
    return int(share * 255 + 0.5)


def _average_colour(colour: Iterable[float]) -> int:
    red, green, blue = (_srgb_level(light) for light in colour)
    return red << 16 | green << 8 | blue


def _base_83(value: int, length: int) -> str:
    return "".join(_BASE_83[value // 83**place % 83] for place in reversed(range(length)))
