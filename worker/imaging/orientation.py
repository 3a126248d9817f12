"""The eight orientations of EXIF, and how to stand a picture upright."""

from collections.abc import Mapping
from typing import Final

from PIL import ExifTags, Image

from worker.imaging.picture import Extent

UPRIGHT: Final = 1

_TURNS: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE: Final = frozenset({5, 6, 7, 8})
_MIRRORED_ACROSS: Final = frozenset({2, 3, 7, 8})
_MIRRORED_DOWN: Final = frozenset({3, 4, 6, 7})


def read_orientation(exif: Image.Exif) -> int:
    """Return 1 to 8; anything that EXIF does not know counts as upright."""
    stored = exif.get(ExifTags.Base.Orientation, UPRIGHT)
    return stored if isinstance(stored, int) and stored in _TURNS else UPRIGHT


def turned(extent: Extent, orientation: int) -> Extent:
    """Return the extent after standing a picture of this one upright; the same function leads back."""
    return extent.turned if orientation in _ON_ITS_SIDE else extent


def to_stored_coordinates(
    shares: tuple[float, float], orientation: int, *, is_place: bool = True
) -> tuple[float, float]:
    """
    Return where a place in the picture as displayed lies in the picture as stored.

    Args:
        shares: Of width and height.
        orientation: As EXIF counts.
        is_place: False for the shares of an extent, which has no left and right.
    """
    across, down = shares[::-1] if orientation in _ON_ITS_SIDE else shares
    if not is_place:
        return across, down
    return (
        1 - across if orientation in _MIRRORED_ACROSS else across,
        1 - down if orientation in _MIRRORED_DOWN else down,
    )


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the picture turned and mirrored as its orientation asks."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
