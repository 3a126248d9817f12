"""Decode a logo, by the same rules as an upload, and scale it to a watermark tile."""

from functools import lru_cache
from typing import Final

from PIL import Image

from worker.domain.recipe import Limits, Logo, Size
from worker.imaging.picture import Extent
from worker.imaging.resize import resize, scale
from worker.imaging.validate import validate
from worker.imaging.watermark_tile import WatermarkTile

_MAX_SIZE: Final = Size("logo", 1024, 1024)
_LIMITS: Final = Limits(max_bytes=8 * 1024 * 1024, max_pixels=25_000_000)


@lru_cache(maxsize=16)
def logo_tile(logo: Logo, *, longer_px: int, opacity: float) -> WatermarkTile:
    """
    Return a logo as a watermark tile.

    Args:
        logo: Logo with its content; cached by its ETag.
        longer_px: Length of the longer side in pixels.
        opacity: 0 (invisible) to 1 (opaque).

    Raises:
        RejectedError: The logo cannot be decoded.
    """
    image = _decode(logo)
    longer = max(image.size)
    extent = Extent(*(max(1, round(side * longer_px / longer)) for side in image.size))
    scaled = scale(image, extent)
    if scaled.mode != "RGBA":
        return WatermarkTile(colour=scaled, alpha=Image.new("L", extent, round(255 * opacity)))
    return WatermarkTile(
        colour=scaled.convert("RGB"), alpha=scaled.getchannel("A").point(lambda value: value * opacity)
    )


@lru_cache(maxsize=4)
def _decode(logo: Logo) -> Image.Image:
    """Return the logo upright and in sRGB, RGB or RGBA."""
    decoded, _ = validate(logo.content, limits=_LIMITS, sizes=(_MAX_SIZE,))
    (picture,), _ = resize(decoded, sizes=(_MAX_SIZE,))
    return picture.image
