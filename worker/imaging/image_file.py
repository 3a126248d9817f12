"""Open and decode image files with an allow-list of decoders."""

import io
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    WebPImagePlugin,
)

from worker.imaging.gif import GifFile
from worker.imaging.png import PngFile
from worker.imaging.tiff import open_tiff

Image.MAX_IMAGE_PIXELS = None  # `validate` applies the configured limit, before anything is decoded
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_DECODERS: Final[Mapping[str, Callable[[io.BytesIO], ImageFile.ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifFile,
    "tiff": open_tiff,
    "bmp": BmpImagePlugin.BmpImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
}
EXTRAS: Final[Mapping[str, str]] = {"heic": "pillow_heif"}
"""Format -> the module that decodes it, installed by the extra of the same name as the format."""


def missing_extra(image_format: str) -> str | None:
    """Return the name of the extra that this format needs; None if it is installed or not needed."""
    module = EXTRAS.get(image_format)
    return image_format if module is not None and find_spec(module) is None else None


def open_image(content: bytes, *, image_format: str) -> ImageFile.ImageFile:
    """
    Read an image's header with the decoder of its format, and with no other.

    The plugin is called directly: `Image.open` tries its plugins in turn, imports more of them for formats
    that it does not know, and returns MPO for a JPEG that contains a second image.

    Raises:
        Exception: Any type of error, if the file is damaged.
    """
    with warnings.catch_warnings(action="ignore"):
        return _decoder_of(image_format)(io.BytesIO(content))


def load(image: ImageFile.ImageFile) -> None:
    """
    Decode all pixels of the current frame.

    Raises:
        Exception: Any type of error, if the file is damaged.
    """
    with warnings.catch_warnings(action="ignore"):
        image.load()


def _decoder_of(image_format: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    return _heic_decoder() if image_format == "heic" else _DECODERS[image_format]


def _heic_decoder() -> type[ImageFile.ImageFile]:
    """Return the HEIC decoder of the extra; it decodes in the calling thread."""
    from pillow_heif import HeifImageFile, options

    options.DECODE_THREADS = 0
    return HeifImageFile
