"""Scale a picture with Pillow; `simd_resampling` does the same faster where its package is installed."""

from collections.abc import Callable
from typing import TypeAlias

from PIL import Image

from worker.imaging.picture import Extent

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture."""

Resample: TypeAlias = Callable[[Image.Image, Extent, Box | None], Image.Image]
"""Returns the picture, or the part of it in the box, scaled to the extent; see `resize.scale`."""


def with_pillow(image: Image.Image, extent: Extent, box: Box | None) -> Image.Image:
    """
    Scale with Pillow, which multiplies colours by alpha too.

    Pillow's `reducing_gap` would save time for large PNG and WebP, but its results for fine patterns differ
    from those of the SIMD code (PSNR 40 dB), and so between the workers of a fleet of both architectures.
    """
    return image.resize(extent, Image.Resampling.LANCZOS, box=box)
