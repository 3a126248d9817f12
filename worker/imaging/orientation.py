"""Turn pictures upright according to the eight orientations of EXIF."""

from collections.abc import Mapping
from typing import Final

from PIL import ExifTags, Image

from worker.imaging.picture import Extent

UPRIGHT: Final = 1

_TRANSPOSES: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES: Final = frozenset({5, 6, 7, 8})
_MIRRORED_ACROSS: Final = frozenset({2, 3, 7, 8})
_MIRRORED_DOWN: Final = frozenset({3, 4, 6, 7})


def read_orientation(image: Image.Image, exif: Image.Exif) -> int:
    """
    Return the EXIF orientation, 1 to 8, as browsers apply it; an invalid value counts as 1, upright.

    Pillow has turned a TIFF, and libheif a HEIC. The orientation of an AVIF is that of its image properties,
    with which Pillow replaces that of its EXIF. EXIF in a PNG's text chunks does not count.
    """
    if "exif" not in image.info:
        return UPRIGHT
    stored = exif.get(ExifTags.Base.Orientation, UPRIGHT)
    return stored if isinstance(stored, int) and stored in _TRANSPOSES else UPRIGHT


def turn_extent(extent: Extent, orientation: int) -> Extent:
    """Convert an extent between as stored and as displayed, in either direction."""
    return extent.turned if orientation in _SWAPS_SIDES else extent


def point_as_stored(point: tuple[float, float], orientation: int) -> tuple[float, float]:
    """
    Convert a point in the displayed picture to the same point in the stored picture.

    Args:
        point: Shares of width and height, from the left and the top.
        orientation: EXIF orientation, 1 to 8.
    """
    across, down = shares_as_stored(point, orientation)
    return (
        1 - across if orientation in _MIRRORED_ACROSS else across,
        1 - down if orientation in _MIRRORED_DOWN else down,
    )


def shares_as_stored(shares: tuple[float, float], orientation: int) -> tuple[float, float]:
    """Convert shares of the displayed width and height to shares of the stored width and height."""
    across, down = shares
    return (down, across) if orientation in _SWAPS_SIDES else shares


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the picture rotated and mirrored so that it is upright."""
    return image.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else image
