"""Open and decode image files with an allow-list of decoders."""

import io
import warnings
from collections.abc import Callable, Mapping
from typing import Final

import pillow_heif.options
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    WebPImagePlugin,
)
from pillow_heif import HeifImageFile

from worker.imaging.apng import ApngFile
from worker.imaging.avif import AvifFile
from worker.imaging.gif import GifFile
from worker.imaging.png import PngFile
from worker.imaging.tiff import open_tiff

Image.MAX_IMAGE_PIXELS = None  # `validate` applies the configured limit, before anything is decoded
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.options.DECODE_THREADS = 0
pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False

_DECODERS: Final[Mapping[str, Callable[[io.BytesIO], ImageFile.ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifFile,
    "tiff": open_tiff,
    "bmp": BmpImagePlugin.BmpImageFile,
    "avif": AvifFile,
    "heic": HeifImageFile,
}


def open_image(content: bytes, *, image_format: str, animated: bool = False) -> ImageFile.ImageFile:
    """
    Read an image's header with the decoder of its format, and with no other.

    Args:
        content: Content of the file.
        image_format: Format of the file.
        animated: Whether all frames of a PNG with several are decoded; otherwise its default image is.

    The plugin is called directly: `Image.open` tries its plugins in turn, imports more of them for formats
    that it does not know, and returns MPO for a JPEG that contains a second image.

    Raises:
        Exception: Any type of error, if the file is damaged.
    """
    with warnings.catch_warnings(action="ignore"):
        decoder = ApngFile if animated and image_format == "png" else _DECODERS[image_format]
        return decoder(io.BytesIO(content))


def load(image: ImageFile.ImageFile) -> None:
    """
    Decode all pixels of the current frame.

    Raises:
        Exception: Any type of error, if the file is damaged.
    """
    with warnings.catch_warnings(action="ignore"):
        image.load()
