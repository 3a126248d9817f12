"""Test images generated in memory, decoded and as files."""

import io
import random
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (240, 240, 240)

_UNDO = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quadrants(width: int = 640, height: int = 400, mode: str = "RGB") -> Image.Image:
    """Return an image of four quadrants, red and green above blue and white, to recognise its orientation."""
    image = Image.new("RGB", (2, 2))
    for at, colour in zip(((0, 0), (1, 0), (0, 1), (1, 1)), (RED, GREEN, BLUE, WHITE), strict=True):
        image.putpixel(at, colour)
    image = image.resize((width, height), Image.Resampling.NEAREST)
    return image if mode == "RGB" else image.convert(mode)


def quadrant_colours(image: Image.Image) -> tuple[Any, ...]:
    """Return the pixels in the centres of the four quadrants, row by row."""
    width, height = image.size
    across, down = (width // 4, width - 1 - width // 4), (height // 4, height - 1 - height // 4)
    return tuple(image.getpixel((x, y)) for y in down for x in across)


def pixel(image: Image.Image, position: tuple[int, int]) -> tuple[int, ...]:
    """Return the bands of a pixel of an image with several bands."""
    bands = image.getpixel(position)
    assert isinstance(bands, tuple)
    return bands


def extrema(image: Image.Image) -> tuple[int, int]:
    """Return the minimum and maximum of an image with one band of 8 bits."""
    assert image.mode == "L"
    levels = image.tobytes()
    return min(levels), max(levels)


def noise(width: int, height: int, *, mode: str = "RGB", seed: int = 1) -> Image.Image:
    """Return an image of random pixels, which does not compress."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, (width, height), random.Random(seed).randbytes(width * height * bands))


def encoded(image: Image.Image, image_format: str = "JPEG", **options: Any) -> bytes:
    """Return the image encoded as a file."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def stored_as(orientation: int, *, upright: Image.Image, image_format: str = "JPEG") -> bytes:
    """Return a file whose pixels are stored in an EXIF orientation."""
    undo = _UNDO[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(stored, image_format, exif=exif)


def with_exif(tags: Mapping[int, Any], details: Mapping[int, Any] | None = None) -> bytes:
    """Return a JPEG with these EXIF tags, and details in the EXIF sub-directory."""
    exif = Image.Exif()
    exif.update(tags)
    if details:
        exif.get_ifd(ExifTags.IFD.Exif).update(details)
    return encoded(quadrants(64, 48), exif=exif)


def animation(image_format: str, *, frames: int, width: int = 40, height: int = 30) -> bytes:
    """Return an animation of different frames."""
    first, *others = (noise(width, height, seed=seed) for seed in range(frames))
    return encoded(first, image_format, save_all=True, append_images=others)


def opened(content: bytes | bytearray | memoryview) -> Image.Image:
    """Return the decoded image of a file."""
    image = Image.open(io.BytesIO(bytes(content)))
    image.load()
    return image


def difference(first: Image.Image, second: Image.Image) -> float:
    """Return the mean absolute difference of two images of the same size, in levels of 255."""
    left, right = first.convert("RGB").tobytes(), second.convert("RGB").tobytes()
    return sum(abs(a - b) for a, b in zip(left, right, strict=True)) / len(left)
