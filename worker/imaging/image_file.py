"""Opening pictures with an allow-list of decoders."""

import io
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from worker.imaging.png import PngFile
from worker.ipc.framing import Content

Image.MAX_IMAGE_PIXELS = None  # `validate` refuses by the limits of the settings, before anything is decoded
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_DECODERS: Final[Mapping[str, type[ImageFile.ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
}
NEEDS_EXTRA: Final[Mapping[str, str]] = {"heic": "pillow_heif"}
"""Format -> the module that decodes it, which comes with an extra of the same name."""


def missing_extra(picture_format: str) -> str | None:
    """Return the extra that this format needs and that is not installed."""
    module = NEEDS_EXTRA.get(picture_format)
    return picture_format if module is not None and find_spec(module) is None else None


def open_picture(content: Content, *, picture_format: str) -> ImageFile.ImageFile:
    """
    Read a picture's header with the decoder of its format, and with no other.

    The plugin is called directly: `Image.open` tries its plugins in turn, imports further ones for formats
    it does not know, and answers MPO for a JPEG that carries a second picture.

    Raises:
        Exception: Whatever the decoder raises on a damaged file.
    """
    with warnings.catch_warnings(action="ignore"):
        return _decoder(picture_format)(io.BytesIO(bytes(content)))


def load(image: ImageFile.ImageFile) -> None:
    """
    Decode all pixels of the first frame.

    Raises:
        Exception: Whatever the decoder raises on a damaged file.
    """
    with warnings.catch_warnings(action="ignore"):
        image.load()


def _decoder(picture_format: str) -> type[ImageFile.ImageFile]:
    return _heic() if picture_format == "heic" else _DECODERS[picture_format]


def _heic() -> type[ImageFile.ImageFile]:
    """Import the decoder with the first picture that needs it: it costs 50 ms."""
    from pillow_heif import HeifImageFile, options  # noqa: PLC0415

    options.DECODE_THREADS = 1  # a child has one CPU's worth of work to do
    return HeifImageFile
