"""What lists and pages need of a picture before they have it: computed once, from a tiny copy."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.domain.step import Json

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
    light = _linear()[np.asarray(tiny)]
    across, down = _basis(tiny.width, _COMPONENTS[0]), _basis(tiny.height, _COMPONENTS[1])
    # Not by `@`: BLAS takes tens of megabytes for its first product, and ends the process where it gets none.
    rows = np.einsum("jy,yxc->jxc", down, light)
    dc, *ac = np.einsum("ix,jxc->jic", across, rows).reshape(-1, 3) / (tiny.width * tiny.height)
    waves = 2 * np.asarray(ac)
    quantised = max(0, min(82, math.floor(np.abs(waves).max() * 166 - 0.5)))
    real = (quantised + 1) / 166
    levels = np.floor(np.copysign(np.sqrt(np.abs(waves) / real), waves) * 9 + 9.5).clip(0, 18).astype(int)
    size_flag = (_COMPONENTS[0] - 1) + (_COMPONENTS[1] - 1) * 9
    text = _base_83(size_flag, 1) + _base_83(quantised, 1) + _base_83(_dc_value(dc), 4)
    return text + "".join(_base_83(r * 19**2 + g * 19 + b, 2) for r, g, b in levels.tolist())


@lru_cache(maxsize=4)
def _basis(length: int, components: int) -> Waves:
    """Return a cosine wave of so many pixels in each row, of 0, 1, 2 ... half turns."""
    waves: Waves = np.cos(np.pi / length * np.outer(np.arange(components), np.arange(length)))
    return waves


@lru_cache(maxsize=1)
def _linear() -> Waves:
    """Return how much light each level of sRGB is (IEC 61966-2-1)."""
    shares = np.arange(256) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004


def _srgb(light: float) -> int:
    light = max(0.0, min(1.0, light))
    share = light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055  # noqa: PLR2004
    return int(share * 255 + 0.5)


def _dc_value(colour: Iterable[float]) -> int:
    red, green, blue = (_srgb(light) for light in colour)
    return red << 16 | green << 8 | blue


def _base_83(value: int, length: int) -> str:
    return "".join(_BASE_83[value // 83**place % 83] for place in reversed(range(length)))
