"""Scale a picture with the SIMD code of `cykooz-resizer`; importing this module requires the package."""

from typing import Final

from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

from worker.imaging.picture import Extent
from worker.imaging.resampling import Box, with_pillow

_RESIZER: Final = Resizer()
_LANCZOS: Final = ResizeAlg.convolution(FilterType.lanczos3)
_MODES: Final = frozenset({"L", "RGB", "RGBA"})


def with_simd(image: Image.Image, extent: Extent, box: Box | None) -> Image.Image:
    """Scale L, RGB and RGBA with SIMD code, which multiplies colours by alpha; other modes with Pillow."""
    if image.mode not in _MODES:
        return with_pillow(image, extent, box)
    scaled = Image.new(image.mode, extent)
    crop = CropBox(box[0], box[1], box[2] - box[0], box[3] - box[1]) if box else None
    _RESIZER.resize_pil(image, scaled, ResizeOptions(_LANCZOS, crop_box=crop))
    return scaled
