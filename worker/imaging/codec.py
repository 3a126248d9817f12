"""Opening pictures with an allow-list of decoders, and encoding renditions."""

import io
import warnings
from collections.abc import Mapping
from typing import Final

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from worker.domain.step import EncodedRendition
from worker.imaging.frames import Content
from worker.imaging.picture import Picture

Image.MAX_IMAGE_PIXELS = None  # `validate` refuses by the limits of the settings, before anything is decoded

_DECODERS: Final[Mapping[str, type[ImageFile.ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}
_BECOMES: Final[Mapping[str, tuple[str, str]]] = {
    "jpeg": ("jpeg", "png"),
    "png": ("png", "png"),
    "webp": ("webp", "webp"),
    "gif": ("png", "png"),
    "tiff": ("jpeg", "png"),
    "bmp": ("jpeg", "png"),
}
"""Format of the upload -> (format of an opaque rendition, of one with transparency)."""


def open_picture(content: Content, *, picture_format: str) -> ImageFile.ImageFile:
    """
    Read a picture's header with the decoder of its format, and with no other.

    The plugin is called directly: `Image.open` tries its plugins in turn, imports further ones for formats
    it does not know, and answers MPO for a JPEG that carries a second picture.

    Raises:
        Exception: Whatever the decoder raises on a damaged file.
    """
    with warnings.catch_warnings(action="ignore"):
        return _DECODERS[picture_format](io.BytesIO(content))


def load(image: ImageFile.ImageFile) -> None:
    """
    Decode all pixels of the first frame.

    Raises:
        Exception: Whatever the decoder raises on a damaged file.
    """
    with warnings.catch_warnings(action="ignore"):
        image.load()


def encode(picture: Picture, *, quality: int) -> EncodedRendition:
    """
    Encode a rendition in the format that its upload's format becomes, without any metadata.

    Args:
        picture: Its image carries no metadata; see `Picture`.
        quality: 1 to 100, for JPEG and WebP.
    """
    opaque, transparent = _BECOMES[picture.source_format]
    becomes = transparent if picture.image.mode == "RGBA" else opaque
    file = io.BytesIO()
    match becomes:
        case "jpeg":
            picture.image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
        case "webp":
            picture.image.save(file, "WEBP", quality=quality, method=2)
        case _:
            picture.image.save(file, "PNG", compress_level=3)
    width, height = picture.image.size
    return EncodedRendition(
        size=picture.size, width=width, height=height, format=becomes, content=file.getbuffer()
    )
