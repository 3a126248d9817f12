"""
What inks look like on paper, for CMYK that brings no profile.

The eight overprints of cyan, magenta and yellow are those of offset print on coated paper (as ISO Coated v2
shows them in sRGB); between them colours are blended in sRGB, which comes close to how dots blend on paper
(the Yule-Nielsen form of Neugebauer's equations). Black darkens what is under it. `Image.convert`, which
subtracts, makes screen colours that no press can print.
"""

from functools import lru_cache
from typing import Final

from PIL import Image, ImageChops, ImageFilter

_PRINTS: Final = {
    (0, 0, 0): (255, 255, 255),
    (1, 0, 0): (0, 158, 227),
    (0, 1, 0): (230, 0, 126),
    (0, 0, 1): (255, 237, 0),
    (1, 1, 0): (49, 39, 131),
    (1, 0, 1): (0, 150, 64),
    (0, 1, 1): (227, 6, 19),
    (1, 1, 1): (60, 60, 59),
}
"""Which of cyan, magenta and yellow are printed solid -> the colour that they give."""

_LINEAR, _SQUARE = 170 / 226, 56 / 226
"""How a share of black darkens: half of it leaves 156 of 255, all of it 29."""
_DEPTH: Final = 226
_GRID: Final = 9


def cmyk_to_srgb(image: Image.Image) -> Image.Image:
    """Return a CMYK picture as RGB in sRGB, by the inks of an ordinary press."""
    cyan, magenta, yellow, black = image.split()
    coloured = Image.merge("RGB", (cyan, magenta, yellow)).filter(_blend())
    shade = black.point([round(255 - _DEPTH * _covered(level / 255)) for level in range(256)])
    return ImageChops.multiply(coloured, Image.merge("RGB", (shade, shade, shade)))


@lru_cache(maxsize=1)
def _blend() -> ImageFilter.Color3DLUT:
    return ImageFilter.Color3DLUT.generate(_GRID, _blended)


def _blended(cyan: float, magenta: float, yellow: float) -> tuple[float, float, float]:
    shares = [_covered(share) for share in (cyan, magenta, yellow)]
    red = green = blue = 0.0
    for inks, colour in _PRINTS.items():
        weight = 1.0
        for ink, share in zip(inks, shares, strict=True):
            weight *= share if ink else 1 - share
        red, green, blue = red + weight * colour[0], green + weight * colour[1], blue + weight * colour[2]
    return red / 255, green / 255, blue / 255


def _covered(share: float) -> float:
    return _LINEAR * share + _SQUARE * share * share
