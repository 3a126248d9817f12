"""Bounds of the memory and the CPU time that decoding an image may take."""

import math
from collections.abc import Mapping
from typing import Final

from worker.domain.recipe import Size

_MIB: Final = 2**20
_PROCESS_BYTES: Final = 240 * _MIB
"""Address space of a decoder that has not decoded anything."""

_BYTES_PER_PIXEL: Final[Mapping[str, float]] = {
    "1": 3,
    "L": 3,
    "P": 6.5,
    "I;16": 5,
    "RGB": 4.6,
    "YCbCr": 4.6,
    "RGBA": 9.5,
    "CMYK": 9.5,
    "LAB": 9,
}
"""
Memory of a decoded picture and of what is made of it before scaling, by Pillow's mode.

Measured as growth of `VmPeak` from 4 to 16 megapixels. A PNG is decoded faster where memory for a second copy
of its pixels is left.
"""

_MAX_BYTES_PER_PIXEL: Final = 13.0
"""Of the other modes: grey with alpha takes most, 12.4 bytes."""

_FORMAT_BYTES_PER_PIXEL: Final[Mapping[str, float]] = {"webp": 16.5, "avif": 12.2, "heic": 12.2}
"""The same for formats whose decoders take more: that of WebP keeps two canvases, besides the frame."""

COEFFICIENT_BYTES_PER_PIXEL: Final = 6
"""A progressive JPEG is in memory as coefficients until its last scan."""

DEEP_BYTES_PER_PIXEL: Final = 9
"""16-bit samples are decoded twice if their profile makes the low byte visible; a colour key is a mask."""

APNG_BYTES_PER_PIXEL: Final = 17
"""Frames of a PNG are decoded besides the canvas, the part of it that is restored, and the default image."""

_BYTES_PER_RESULT_PIXEL: Final = 12


def max_pixels_in_memory(
    image_format: str,
    mode: str,
    *,
    memory_mb: int,
    size_bytes: int,
    sizes: tuple[Size, ...],
    more_bytes_per_pixel: float = 0,
) -> int:
    """
    Return the number of pixels that a decoder process can decode and scale.

    Args:
        image_format: Format of the file, from `signatures.ALLOWED_FORMATS`.
        mode: Pillow's mode of the picture.
        memory_mb: Address space of the process in mebibytes.
        size_bytes: Size of the file.
        sizes: Sizes that are made of the image.
        more_bytes_per_pixel: Memory for a peculiarity of the file.
    """
    results = _BYTES_PER_RESULT_PIXEL * sum(size.width * size.height for size in sizes)
    left = memory_mb * _MIB - _PROCESS_BYTES - results - 2 * size_bytes
    by_mode = _BYTES_PER_PIXEL.get(mode, _MAX_BYTES_PER_PIXEL)
    needed = _FORMAT_BYTES_PER_PIXEL.get(image_format, by_mode) + more_bytes_per_pixel
    return max(0, int(left / needed))


_MIN_SECONDS, _PIXELS_PER_SECOND = 3, 2_500_000
_MIN_SECONDS_OF_FILE, _FILE_BYTES_PER_SECOND = 5, 50_000
"""The slowest decoders, of AVIF and HEIC, decode ten megapixels a second, and a file of 1 MB in less."""


def max_decoding_seconds(*, pixels: int, size_bytes: int) -> int:
    """
    Return the CPU time in seconds that decoding may take: about four times that of the slowest formats.

    Args:
        pixels: Number of pixels, over all frames that are decoded.
        size_bytes: Size of the file.
    """
    by_pixels = _MIN_SECONDS + pixels / _PIXELS_PER_SECOND
    by_bytes = _MIN_SECONDS_OF_FILE + size_bytes / _FILE_BYTES_PER_SECOND
    return math.ceil(min(by_pixels, by_bytes))
