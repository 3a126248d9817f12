"""
Correct decoded pixels where Pillow leaves out a part of what the file states.

These are colours that a PNG declares transparent, alpha channels that are not used, and samples of 16 bits
whose profile makes their low byte visible.
"""

import functools
import io
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageChops, ImageFile, PngImagePlugin, TiffImagePlugin

from worker.imaging.colour import deep_conversion, levels_in_srgb, reduce_grey_to_8_bits
from worker.imaging.exif import take_xmp
from worker.imaging.tiff import open_tiff
from worker.ipc.framing import Content

_ROWS: Final = 64
"""Rows that are converted at a time, to bound the memory."""

_OPACITIES: Final = np.array((0, 255), np.uint8)
_PNG_DEPTH, _PNG_COLOUR_TYPE = 24, 25
"""Offsets in the file; see the chunk IHDR in the PNG specification."""
_GREY_ALPHA: Final = 4
_DECLARED_ALPHA: Final = frozenset({1, 2})
"""TIFF ExtraSamples: associated and unassociated alpha."""

_LOW_BYTES: Final = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "RGB;16N": "RGB;16B" if sys.byteorder == "little" else "RGB;16L",
    "RGBA;16N": "RGBA;16B" if sys.byteorder == "little" else "RGBA;16L",
}
"""Layout of 16-bit samples, whose high byte Pillow keeps -> the layout of which it keeps the low byte."""

_FOUR_BYTES: Final = {"LA;16B": "RGBA"}
"""Grey with alpha has no such layout: read as four channels of 8 bits, it has all bytes."""


def correct_samples(
    content: Content, image: ImageFile.ImageFile, profile: bytes | None
) -> tuple[Image.Image, bytes | None]:
    """
    Return the picture of a decoded file with its transparency and depth as the file states them.

    Args:
        content: The file.
        image: Its decoded picture, of a single frame.
        profile: ICC profile of the pixels.

    Returns:
        The picture, and the profile of its pixels.
    """
    if isinstance(image, PngImagePlugin.PngImageFile):
        return _correct_png(content, image, profile)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        extra = image.tag_v2.get(TiffImagePlugin.EXTRASAMPLES, ())
        reduced: Image.Image = image
        if has_deep_samples(content, image):
            reduced, profile = _reduce_to_8_bits(content, image, profile)
        return (reduced if _DECLARED_ALPHA & set(extra) else _drop_unused_alpha(reduced)), profile
    if isinstance(image, BmpImagePlugin.BmpImageFile):
        return _drop_unused_alpha(image), profile
    return image, profile


def has_deep_samples(content: Content, image: ImageFile.ImageFile) -> bool:
    """Return whether the samples of an RGB or RGBA picture have more than eight bits in the file."""
    if image.mode not in {"RGB", "RGBA"}:
        return False
    if isinstance(image, PngImagePlugin.PngImageFile):
        return content[_PNG_DEPTH] > 8  # noqa: PLR2004 - bits
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, ()), default=1) > 8  # noqa: PLR2004 - bits
    return False


def _correct_png(
    content: Content, image: PngImagePlugin.PngImageFile, profile: bytes | None
) -> tuple[Image.Image, bytes | None]:
    depth, colour_type = content[_PNG_DEPTH], content[_PNG_COLOUR_TYPE]
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple):
        alpha = _differs(image, [part >> (depth - 8) & 0xFF for part in key])
        if depth > 8:  # noqa: PLR2004 - bits
            low = _decoded_as(content, image, _LOW_BYTES)
            if low is not None:
                alpha = ImageChops.lighter(alpha, _differs(low, [part & 0xFF for part in key]))
        reduced, profile = _reduce_to_8_bits(content, image, profile) if depth > 8 else (image, profile)  # noqa: PLR2004 - bits
        return _with_alpha(reduced, alpha), profile
    if image.mode in {"1", "L"} and isinstance(key, int):
        highest = (1 << depth) - 1
        grey = image.convert("L")
        return _with_alpha(grey, _differs(grey, [(key & highest) * 255 // highest])), profile
    if image.mode == "I;16" and isinstance(key, int):
        alpha = Image.new("L", image.size)
        for top in range(0, image.height, _ROWS):
            alpha.paste(Image.fromarray(_OPACITIES[(_rows(image, top) != key).astype(np.uint8)]), (0, top))
        grey, profile = reduce_grey_to_8_bits(image, profile)
        return _with_alpha(grey, alpha), profile
    if depth > 8 and colour_type == _GREY_ALPHA:  # noqa: PLR2004 - bits
        return _correct_grey_alpha(content, image, profile)
    if has_deep_samples(content, image):
        return _reduce_to_8_bits(content, image, profile)
    return image, profile


def _correct_grey_alpha(
    content: Content, image: PngImagePlugin.PngImageFile, profile: bytes | None
) -> tuple[Image.Image, bytes | None]:
    """Return grey of 16 bits with alpha, which Pillow decodes as RGBA, as LA."""
    grey, alpha = image.getchannel("R"), image.getchannel("A")
    if profile and levels_in_srgb(profile, depth=16) is not None:
        both = _decoded_as(content, image, _FOUR_BYTES)
        if both is not None:
            samples = Image.merge("LA", (both.getchannel("G"), both.getchannel("R")))  # little-endian
            grey, profile = reduce_grey_to_8_bits(
                Image.frombytes("I;16", image.size, samples.tobytes()), profile
            )
    return _with_alpha(grey, alpha), profile


def _reduce_to_8_bits(
    content: Content, image: ImageFile.ImageFile, profile: bytes | None
) -> tuple[Image.Image, bytes | None]:
    """
    Return RGB or RGBA in sRGB, converted from 16 bits, if the profile is one of a matrix and curves.

    Converted from the high byte alone, the dark levels of linear light are 13 levels apart, and saturated
    colours of a wide gamut off by up to 9.
    """
    conversion = deep_conversion(profile) if profile else None
    low = _decoded_as(content, image, _LOW_BYTES) if conversion else None
    if conversion is None or low is None:
        return image, profile
    for top in range(0, image.height, _ROWS):  # in place, since a large picture does not fit a third time
        high_rows, low_rows = _rows(image, top).copy(), _rows(low, top)
        samples = high_rows.astype(np.uint16) << np.uint16(8) | low_rows
        red, green, blue = (samples[..., band].astype(np.uint16) for band in range(3))
        for band, levels in enumerate(conversion.apply(red, green, blue)):
            high_rows[..., band] = levels
        image.paste(Image.fromarray(high_rows), (0, top))
    return image, None


def _decoded_as(
    content: Content, image: ImageFile.ImageFile, layouts: Mapping[str, str]
) -> Image.Image | None:
    """Decode a file again with another layout of its samples; None if it has none of these layouts."""
    is_png = isinstance(image, PngImagePlugin.PngImageFile)
    again = (PngImagePlugin.PngImageFile if is_png else open_tiff)(io.BytesIO(bytes(content)))
    tiles = []
    for tile in again.tile:
        stored, *options = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if stored not in layouts:
            return None
        layout = layouts[stored]
        tiles.append(tile._replace(args=(layout, *options) if isinstance(tile.args, tuple) else layout))
    again.tile = tiles
    take_xmp(again)  # Pillow would turn a TIFF by it
    with warnings.catch_warnings(action="ignore"):
        again.load()
    return again


def _rows(image: Image.Image, top: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    return np.asarray(image.crop((0, top, image.width, min(top + _ROWS, image.height))))


def _differs(image: Image.Image, key: Sequence[int]) -> Image.Image:
    """Return 0 for pixels of exactly this colour, and 255 for all others."""
    bands = [
        band.point([0 if level == part else 255 for level in range(256)])
        for band, part in zip(image.split(), key, strict=True)
    ]
    return functools.reduce(ImageChops.lighter, bands)


def _with_alpha(image: Image.Image, alpha: Image.Image) -> Image.Image:
    return Image.merge(f"{image.mode}A", (*image.split(), alpha))


def _drop_unused_alpha(image: Image.Image) -> Image.Image:
    """Return RGBA as RGB if its alpha is zero everywhere: the program that wrote it left the byte empty."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return image
