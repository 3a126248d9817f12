"""Small views of pictures: as a viewer would show them, whatever state the file is in."""

import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
"""No others: some of Pillow's readers start programs (EPS) or read other files."""

_MOST_PIXELS: Final = 120_000_000

_END_OF_JPEG: Final = b"\xff\xd9"
"""With it a JPEG that was cut off shows what there is of it, as a browser would."""

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
"""What Pillow's decoders raise on damaged files."""


@dataclass(frozen=True, slots=True)
class Preview:
    """
    A small view of a picture.

    Attributes:
        picture: Upright, RGB or RGBA.
        size: (width, height) in pixels of the whole picture, upright.
        kind: Its format: `JPEG`, `PNG`, ...
    """

    picture: Image.Image
    size: tuple[int, int]
    kind: str


def preview(source: Path | bytes, *, box: tuple[int, int]) -> Preview | None:
    """
    Show a picture within a box, in pixels; None if it cannot be opened.

    Decoding happens in this process: for files that their owner wants to see, never for a stranger's upload.
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        return _opened(content, box) or _opened(content + _END_OF_JPEG, box)
    except OSError:
        return None


def _opened(content: bytes, box: tuple[int, int]) -> Preview | None:
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as picture:
            return _shown(picture, box)
    except _UNREADABLE:
        return None


def checkered(size: tuple[int, int], *, square: int = 12) -> Image.Image:
    """Return the ground on which a viewer shows transparency."""
    ground = Image.new("RGB", (2, 2), (206, 208, 212))
    ground.putpixel((0, 0), (236, 237, 240))
    ground.putpixel((1, 1), (236, 237, 240))
    tile = ground.resize((square * 2, square * 2), Image.Resampling.NEAREST)
    board = Image.new("RGB", size)
    for left in range(0, size[0], tile.width):
        for top in range(0, size[1], tile.height):
            board.paste(tile, (left, top))
    return board


def _shown(opened: Image.Image, box: tuple[int, int]) -> Preview | None:
    kind = "JPEG" if opened.format == "MPO" else opened.format or ""
    width, height = opened.size
    if width * height > _MOST_PIXELS:
        return None
    turned = opened.getexif().get(0x0112, 1) in range(5, 9)  # these orientations swap the sides
    profile = opened.info.get("icc_profile")
    # A JPEG decodes itself at a fraction of its size for nothing; the longer side serves either orientation.
    opened.draft(opened.mode, (2 * max(box), 2 * max(box)))
    small = ImageOps.exif_transpose(opened)
    small.thumbnail(box, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return Preview(_in_srgb(small, profile), (height, width) if turned else (width, height), kind)


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Turn any mode into RGB or RGBA, by the picture's colour profile where it has a usable one."""
    if picture.has_transparency_data:
        return picture.convert("RGBA")
    if picture.mode.startswith(("I", "F")):
        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
    if profile and picture.mode in {"RGB", "CMYK", "L"}:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            converted = ImageCms.profileToProfile(
                picture,
                ImageCms.getOpenProfile(BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
            return converted or picture.convert("RGB")
    return picture.convert("RGB")
