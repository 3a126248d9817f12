"""
Convert pictures of any mode and colour profile to RGB or RGBA in sRGB.

A profile is judged by what it does to a set of test colours, never by its name.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from worker.imaging import icc
from worker.imaging.cmyk import cmyk_to_srgb

_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_SPACES: Final[Mapping[str, frozenset[str]]] = {
    "L": frozenset({"GRAY", "RGB"}),
    "RGB": frozenset({"RGB"}),
    "RGBA": frozenset({"RGB"}),
    "CMYK": frozenset({"CMYK"}),
    "LAB": frozenset({"Lab"}),
}
"""Mode of the pixels -> colour spaces of the profiles that apply. Grey is equal red, green and blue."""
_CLASSES: Final = frozenset({"scnr", "mntr", "prtr", "spac"})
"""Classes of profiles for pixels: scanners, displays, printers and colour spaces."""
_MODES_WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBa"})
_GREY_MODES: Final = frozenset({"1", "L", "LA", "La"})
_TOLERANCE: Final = 2
"""A profile that changes no test colour by more than this, of 255, is sRGB."""

UNREADABLE: Final = "unreadable"
_MAX_NAME_CHARACTERS: Final = 40
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_CMS_ERRORS: Final = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
_ROWS: Final = 256
"""Rows that are converted at a time, to bound the memory."""
_COLOUR_STEPS: Final = (0, 16, 48, 96, 160, 208, 255)

_MAX_16_BITS: Final = 65535

Samples: TypeAlias = NDArray[np.uint16]
Table: TypeAlias = NDArray[np.uint8]


def to_scalable_mode(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """
    Return the picture in a mode that can be scaled, L, RGB or RGBA, and the profile of its pixels.

    Palette indices and single bits cannot be averaged. Grey of 16 bits is converted by its profile, or else
    reduced to its high byte. CMYK is converted to sRGB first, because scaling CMYK distorts sharp edges (PSNR
    28 dB), and so is grey with alpha, since LittleCMS has no conversion that keeps its alpha.

    Args:
        image: Picture in any mode.
        profile: ICC profile. RGB is converted after scaling, with the same result at a lower cost.
    """
    mode = image.mode
    if image.has_transparency_data and mode not in {"RGBA", *_MODES_WITH_ALPHA}:
        return image.convert("RGBA"), profile
    if mode == "CMYK":
        return to_srgb(image, profile), None
    if mode in {"L", "RGB", "RGBA"}:
        return image, profile
    if mode in {"LA", "La"}:
        return _grey_with_alpha(image.convert("LA"), profile)
    if mode in _MODES_WITH_ALPHA:
        return image.convert("RGBA"), profile
    if mode.startswith("I;16"):
        return reduce_grey_to_8_bits(image, profile)
    if mode == "1":
        return image.convert("L"), profile
    if mode == "LAB":
        return _lab_to_srgb(image), None
    return image.convert("RGB"), profile


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """
    Return the picture as RGB or RGBA in sRGB.

    Args:
        image: L, RGB, RGBA or CMYK.
        profile: ICC profile. Ignored if `reason_profile_ignored` has a reason.
    """
    if image.mode == "CMYK" and image.height > _ROWS:
        return _in_bands(image, profile)
    target_mode = "RGBA" if image.mode == "RGBA" else "RGB"
    if profile and image.mode == "L" and _space(profile) == "RGB":
        image = image.convert("RGB")
    is_srgb = not profile or (image.mode != "CMYK" and _is_srgb(profile, image.mode))
    transform = _transform(profile, image.mode) if profile and not is_srgb else None
    if transform is None and image.mode == "CMYK":
        return cmyk_to_srgb(image)
    if transform is None:
        return image if image.mode == target_mode else image.convert(target_mode)
    return transform.apply(image)


def _in_bands(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a CMYK picture some rows at a time, to bound the memory."""
    converted = Image.new("RGB", image.size)
    for top in range(0, image.height, _ROWS):
        band = image.crop((0, top, image.width, min(top + _ROWS, image.height)))
        converted.paste(to_srgb(band, profile), (0, top))
    return converted


def flatten(image: Image.Image, background: str) -> Image.Image:
    """Return an RGBA picture as RGB on a background, `#rrggbb`."""
    flat = Image.new("RGB", image.size, background[:7])
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def profile_name(profile: bytes) -> str:
    """Return a profile's description in at most 40 characters; `unreadable` or `nameless` if it has none."""
    opened = _open_profile(profile)
    if opened is None:
        return UNREADABLE
    try:
        description = opened.profile.profile_description or ""
    except _CMS_ERRORS:  # not text
        description = ""
    name = _UNPRINTABLE.sub(" ", description).strip()
    return name[:_MAX_NAME_CHARACTERS].strip() or "nameless"


def reason_profile_ignored(profile: bytes | None, mode: str) -> str | None:
    """Return why the profile of a picture of this mode is not applied; None if it is, or there is none."""
    if not profile:
        return None
    space = _space(profile)
    if space is None:
        return UNREADABLE
    if mode in _GREY_MODES or mode.startswith("I;16"):
        mode = "L"
    elif mode not in _SPACES:
        mode = "RGB"
    if space not in _SPACES[mode]:
        return f"for {space} colours"
    if mode == "LAB":
        return None
    is_convertible = _transform(profile, "RGB" if space == "RGB" else mode) is not None
    return None if is_convertible else "without a conversion"


def drop_opaque_alpha(image: Image.Image) -> Image.Image:
    """Return an RGBA picture as RGB if every pixel is opaque."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


@lru_cache(maxsize=8)
def levels_in_srgb(profile: bytes, *, depth: int) -> Table | None:
    """
    Return the sRGB level, 0 to 255, of each grey level of a profile; None if it cannot be applied.

    Args:
        profile: For grey, or for RGB, in which grey has equal red, green and blue.
        depth: Bits of the grey levels, 8 or 16.
    """
    tags = icc.read_tags(profile)
    name = {"GRAY": b"kTRC", "RGB": b"gTRC"}.get(_space(profile) or "", b"")
    if name not in tags or b"A2B0" in tags or icc.connects_by_lab(profile):
        return _transformed_levels(profile) if depth == 8 and name == b"kTRC" else None  # noqa: PLR2004 - bits
    return _levels(tags[name], depth=depth)


@dataclass(frozen=True, slots=True)
class DeepConversion:
    """
    The conversion of RGB samples of 16 bits to sRGB levels of 8 bits.

    Attributes:
        light: Light of each of 65,536 levels, for red, green and blue.
        to_srgb: Matrix from that light to the light of the primaries of sRGB.
    """

    light: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
    to_srgb: icc.Matrix

    def apply(self, red: Samples, green: Samples, blue: Samples) -> tuple[Table, Table, Table]:
        """Return red, green and blue in sRGB."""
        lights = [table[band] for table, band in zip(self.light, (red, green, blue), strict=True)]
        first, second, third = (self._level(lights, row) for row in self.to_srgb)
        return first, second, third

    def _level(self, lights: Sequence[NDArray[np.float32]], row: Sequence[float]) -> Table:
        mixed = lights[0] * np.float32(row[0] * _MAX_16_BITS)
        mixed += lights[1] * np.float32(row[1] * _MAX_16_BITS)
        mixed += lights[2] * np.float32(row[2] * _MAX_16_BITS)
        np.clip(mixed, 0, _MAX_16_BITS, out=mixed)
        return _srgb_levels()[mixed.astype(np.uint16)]


@lru_cache(maxsize=4)
def deep_conversion(profile: bytes) -> DeepConversion | None:
    """Return the conversion by a profile of a matrix and curves; None for sRGB and for other profiles."""
    tags = icc.read_tags(profile)
    if _space(profile) != "RGB" or b"A2B0" in tags or _is_srgb(profile, "RGB"):
        return None
    to_xyz, from_xyz = icc.read_matrix(tags), icc.inverted(icc.SRGB_TO_XYZ)
    levels = np.arange(1 << 16) / _MAX_16_BITS
    curves = [icc.curve_light(tags.get(name, b""), levels) for name in (b"rTRC", b"gTRC", b"bTRC")]
    red, green, blue = (None if curve is None else curve.astype(np.float32) for curve in curves)
    if to_xyz is None or from_xyz is None or red is None or green is None or blue is None:
        return None
    return DeepConversion((red, green, blue), icc.product(from_xyz, to_xyz))


def reduce_grey_to_8_bits(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """
    Return grey samples of 16 bits as 8 bits, and their profile.

    If the profile can be applied, it is applied to all 16 bits, and the result is in sRGB without a profile.
    Otherwise the high byte is kept.
    """
    table = levels_in_srgb(profile, depth=16) if profile else None
    if table is None:
        table = (np.arange(1 << 16) >> 8).astype(np.uint8)
    else:
        profile = None
    reduced = Image.new("L", image.size)
    for top in range(0, image.height, _ROWS):
        rows = np.asarray(image.crop((0, top, image.width, min(top + _ROWS, image.height))))
        reduced.paste(Image.fromarray(table[rows]), (0, top))
    return reduced, profile


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB; None if the profile cannot be used for this mode."""
    source = _open_profile(profile)
    if source is None or _space(profile) not in _SPACES[mode] or source.profile.device_class not in _CLASSES:
        return None
    target_mode = "RGBA" if mode == "RGBA" else "RGB"
    try:
        return ImageCms.ImageCmsTransform(source, _SRGB, mode, target_mode, ImageCms.Intent.PERCEPTUAL)
    except _CMS_ERRORS:
        return None


@lru_cache(maxsize=8)
def _is_srgb(profile: bytes, mode: str) -> bool:
    """Return whether a profile changes none of the test colours visibly."""
    test_mode = "L" if mode == "L" else "RGB"
    transform = _transform(profile, test_mode)
    if transform is None:
        return False
    colours = _test_colours(test_mode)
    difference = ImageChops.difference(transform.apply(colours), colours.convert("RGB"))
    return max(difference.tobytes()) <= _TOLERANCE


@lru_cache(maxsize=2)
def _test_colours(mode: str) -> Image.Image:
    greys = Image.frombytes("L", (256, 1), bytes(range(256)))
    if mode == "L":
        return greys
    steps = [
        bytes((red, green, blue))
        for red in _COLOUR_STEPS
        for green in _COLOUR_STEPS
        for blue in _COLOUR_STEPS
    ]
    return Image.frombytes("RGB", (256 + len(steps), 1), greys.convert("RGB").tobytes() + b"".join(steps))


def _space(profile: bytes) -> str | None:
    """Return the colour space of a profile's pixels, `GRAY`, `RGB`, `CMYK` ...; None if it cannot be read."""
    opened = _open_profile(profile)
    return None if opened is None else opened.profile.xcolor_space.strip()


@lru_cache(maxsize=8)
def _open_profile(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        # Pillow decodes these signatures as ASCII when they are read, which fails in a damaged profile.
        is_readable = bool(opened.profile.xcolor_space and opened.profile.device_class)
    except _CMS_ERRORS:
        return None
    return opened if is_readable else None


def _levels(curve: bytes, *, depth: int) -> Table | None:
    """Return the level in sRGB's transfer curve of each level of another curve, the content of a tag."""
    light = icc.curve_light(curve, np.arange(1 << depth) / ((1 << depth) - 1))
    return None if light is None else _srgb_levels()[np.round(light * _MAX_16_BITS).astype(np.uint16)]


@lru_cache(maxsize=1)
def _srgb_levels() -> Table:
    """Return the level in sRGB of each of 65,536 amounts of light."""
    light = np.arange(1 << 16) / _MAX_16_BITS
    levels = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)  # noqa: PLR2004 - IEC 61966-2-1
    return np.round(levels * 255).astype(np.uint8)


def _transformed_levels(profile: bytes) -> Table | None:
    transform = _transform(profile, "L")
    return (
        None
        if transform is None
        else np.asarray(transform.apply(_test_colours("L")).getchannel("G")).reshape(-1)
    )


def _grey_with_alpha(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    if profile is None or _space(profile) != "GRAY":
        return image.convert("RGBA"), profile
    table = levels_in_srgb(profile, depth=8)
    if table is None:
        return image.convert("RGBA"), profile
    grey, alpha = image.split()
    return Image.merge("LA", (grey.point(table.tolist()), alpha)).convert("RGBA"), None


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.ImageCmsTransform(lab, _SRGB, "LAB", "RGB", ImageCms.Intent.PERCEPTUAL).apply(image)
