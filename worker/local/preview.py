"""Make small previews of image files, as an image viewer shows them, for intact and damaged files."""

import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from pillow_heif import register_heif_opener

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
"""Formats that are opened: some of Pillow's other readers start programs (EPS) or read other files."""

register_heif_opener()

_NAMES: Final = {"MPO": "JPEG", "HEIF": "HEIC"}
"""Pillow's name of a format -> the usual one."""

_MAX_PIXELS: Final = 120_000_000

_JPEG_END_MARKER: Final = b"\xff\xd9"
"""Appended to a truncated JPEG, so that the part that exists is decoded, as in a browser."""

_UNREADABLE: Final = (
    OSError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""Errors that Pillow's decoders raise for damaged files."""


@dataclass(frozen=True, slots=True)
class Preview:
    """
    Small preview of an image file.

    Attributes:
        image: Pixels, upright, RGB or RGBA.
        size: (width, height) in pixels of the full image, upright.
        format: Format of the file: `JPEG`, `PNG`, ...
    """

    image: Image.Image
    size: tuple[int, int]
    format: str


def preview(source: Path | bytes, *, box: tuple[int, int]) -> Preview | None:
    """
    Return a preview that fits into a box in pixels, or None if the file cannot be opened.

    The file is decoded in this process, so it must come from the user of the command, never from an upload.
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        return _open(content, box) or _open(content + _JPEG_END_MARKER, box)
    except OSError:
        return None


def _open(content: bytes, box: tuple[int, int]) -> Preview | None:
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            return _scale(image, box)
    except _UNREADABLE:
        return None


def checkered(size: tuple[int, int], *, square: int = 12) -> Image.Image:
    """Return the chequered background on which viewers show transparency."""
    pattern = Image.new("RGB", (2, 2), (206, 208, 212))
    pattern.putpixel((0, 0), (236, 237, 240))
    pattern.putpixel((1, 1), (236, 237, 240))
    tile = pattern.resize((square * 2, square * 2), Image.Resampling.NEAREST)
    board = Image.new("RGB", size)
    for left in range(0, size[0], tile.width):
        for top in range(0, size[1], tile.height):
            board.paste(tile, (left, top))
    return board


def _scale(opened: Image.Image, box: tuple[int, int]) -> Preview | None:
    file_format = _NAMES.get(opened.format or "", opened.format or "")
    width, height = opened.size
    if width * height > _MAX_PIXELS:
        return None
    swaps_sides = opened.getexif().get(0x0112, 1) in range(5, 9)
    profile = opened.info.get("icc_profile")
    # Lets JPEG decode at a fraction of the size; a square box serves either orientation.
    opened.draft(opened.mode, (2 * max(box), 2 * max(box)))
    small = ImageOps.exif_transpose(opened)
    small.thumbnail(box, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return Preview(_in_srgb(small, profile), (height, width) if swaps_sides else (width, height), file_format)


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert any mode to RGB or RGBA, by the colour profile if it is usable."""
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode.startswith(("I", "F")):
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if profile and image.mode in {"RGB", "CMYK", "L"}:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.getOpenProfile(BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
            return converted or image.convert("RGB")
    return image.convert("RGB")
