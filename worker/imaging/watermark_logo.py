"""A logo as a tile: decoded like an upload, by the same rules, in the same child."""

from functools import lru_cache
from typing import Final

from PIL import Image

from worker.domain.recipe import Limits, Logo, Size
from worker.imaging.picture import Extent
from worker.imaging.resize import resize, scale
from worker.imaging.validate import validate
from worker.imaging.watermark_tile import WatermarkTile

_LARGEST: Final = Size("logo", 1024, 1024)
_LIMITS: Final = Limits(max_bytes=8 * 1024 * 1024, max_pixels=25_000_000)


@lru_cache(maxsize=16)
def logo_tile(logo: Logo, *, longer_px: int, opacity: float) -> WatermarkTile:
    """
    Return the logo with its longer side at this length.

    Raises:
        RejectedError: It is no picture that can be used.
    """
    image = _decoded(logo)
    longer = max(image.size)
    extent = Extent(*(max(1, round(side * longer_px / longer)) for side in image.size))
    scaled = scale(image, extent)
    if scaled.mode != "RGBA":
        return WatermarkTile(ink=scaled, cover=Image.new("L", extent, round(255 * opacity)))
    return WatermarkTile(
        ink=scaled.convert("RGB"), cover=scaled.getchannel("A").point(lambda value: value * opacity)
    )


@lru_cache(maxsize=4)
def _decoded(logo: Logo) -> Image.Image:
    """Return the logo upright and in sRGB, RGB or RGBA; its eTag stands for its content."""
    decoded, _ = validate(logo.content, limits=_LIMITS, sizes=(_LARGEST,))
    (picture,), _ = resize(decoded, sizes=(_LARGEST,))
    return picture.image
