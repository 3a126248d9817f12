"""
Convert CMYK without a profile to the sRGB colours that a printing press would produce.

The colours of the eight solid overprints of cyan, magenta and yellow are those of offset printing on coated
paper (ISO Coated v2, converted to sRGB). Between them, colours are blended in sRGB, which approximates the
Yule-Nielsen form of the Neugebauer equations. Black darkens the result. `Image.convert` subtracts the inks
instead, and so makes saturated screen colours that no press can print.
"""

from functools import lru_cache
from typing import Final

from PIL import Image, ImageChops, ImageFilter

_OVERPRINTS: Final = {
    (0, 0, 0): (255, 255, 255),
    (1, 0, 0): (0, 158, 227),
    (0, 1, 0): (230, 0, 126),
    (0, 0, 1): (255, 237, 0),
    (1, 1, 0): (49, 39, 131),
    (1, 0, 1): (0, 150, 64),
    (0, 1, 1): (227, 6, 19),
    (1, 1, 1): (60, 60, 59),
}
"""Which of cyan, magenta and yellow are printed solid -> the sRGB colour."""

_LINEAR, _SQUARE = 170 / 226, 56 / 226
"""Dot gain, so that 50 % black becomes level 156 of 255, and 100 % black level 29."""
_BLACK_DEPTH: Final = 226
_GRID: Final = 9


def cmyk_to_srgb(image: Image.Image) -> Image.Image:
    """Return a CMYK picture as RGB in sRGB."""
    cyan, magenta, yellow, black = image.split()
    coloured = Image.merge("RGB", (cyan, magenta, yellow)).filter(_overprint_table())
    shade = black.point([round(255 - _BLACK_DEPTH * _coverage(level / 255)) for level in range(256)])
    return ImageChops.multiply(coloured, Image.merge("RGB", (shade, shade, shade)))


@lru_cache(maxsize=1)
def _overprint_table() -> ImageFilter.Color3DLUT:
    return ImageFilter.Color3DLUT.generate(_GRID, _blend)


def _blend(cyan: float, magenta: float, yellow: float) -> tuple[float, float, float]:
    """Return red, green and blue, 0 to 1, of the given shares of ink, 0 to 1."""
    coverages = [_coverage(share) for share in (cyan, magenta, yellow)]
    red = green = blue = 0.0
    for inks, colour in _OVERPRINTS.items():
        weight = 1.0
        for ink, coverage in zip(inks, coverages, strict=True):
            weight *= coverage if ink else 1 - coverage
        red, green, blue = red + weight * colour[0], green + weight * colour[1], blue + weight * colour[2]
    return red / 255, green / 255, blue / 255


def _coverage(share: float) -> float:
    return _LINEAR * share + _SQUARE * share * share
