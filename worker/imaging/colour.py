"""Modes and profiles: from whatever a file holds to RGB or RGBA in sRGB."""

import io
import re
from functools import lru_cache
from typing import Final

from PIL import Image, ImageCms

from worker.imaging.cmyk import cmyk_to_srgb

_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_SPACES: Final = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
_WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBa"})
_DEPTH_16_TO_8: Final = 1 / 256
UNREADABLE: Final = "unreadable"
_LONGEST_NAME: Final = 40
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_CMS_ERRORS: Final = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


def to_scalable_mode(image: Image.Image, profile: bytes | None) -> Image.Image:
    """
    Return the picture in a mode that can be scaled: L, RGB or RGBA.

    Palettes and bits cannot be averaged; samples of more than eight bits are brought down to eight: of
    sixteen by their high byte, wider and floating ones by their own range, since nothing says what white is.
    Inks multiply: scaled as CMYK, sharp edges come out wrong (28 dB off), so they become sRGB before.

    Args:
        image: In any mode.
        profile: Its ICC profile, for inks only: light is cheaper to convert, and as right, after scaling.
    """
    mode = image.mode
    if image.has_transparency_data and mode not in {"RGBA", *_WITH_ALPHA}:
        return image.convert("RGBA")
    if mode == "CMYK":
        return to_srgb(image, profile)
    if mode in _SPACES:
        return image
    if mode in _WITH_ALPHA:
        return image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, "RGBA")).convert("RGBA")
    if mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * _DEPTH_16_TO_8 + 0).convert("L")
    if mode in {"I", "F"}:
        return _by_its_own_range(image)
    if mode == "1":
        return image.convert("L")
    if mode == "LAB":
        return _from_lab(image)
    return image.convert("RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """
    Return the picture as RGB or RGBA in sRGB.

    Args:
        image: L, RGB, RGBA or CMYK.
        profile: Its ICC profile. One that cannot be read, or is for another kind of colours, is ignored.
    """
    becomes = "RGBA" if image.mode == "RGBA" else "RGB"
    transform = _transform(profile, image.mode, becomes) if profile else None
    if transform is None and image.mode == "CMYK":
        return cmyk_to_srgb(image)
    if transform is None:
        return image if image.mode == becomes else image.convert(becomes)
    return transform.apply(image)


def flattened(image: Image.Image, background: str) -> Image.Image:
    """Return an RGBA picture as RGB, laid on a colour, `#rrggbb`."""
    ground = Image.new("RGB", image.size, background[:7])
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def profile_name(profile: bytes) -> str:
    """Return what a profile calls itself, in at most 40 characters, or what is wrong with it."""
    opened = _opened(profile)
    if opened is None:
        return UNREADABLE
    name = _UNPRINTABLE.sub(" ", opened.profile.profile_description or "").strip()
    return name[:_LONGEST_NAME].strip() or "nameless"


def reason_profile_ignored(profile: bytes | None, mode: str) -> str | None:
    """Return why a picture of this mode counts as sRGB although it brings a profile; None if it does not."""
    if not profile:
        return None
    opened = _opened(profile)
    if opened is None:
        return UNREADABLE
    space = opened.profile.xcolor_space.strip()
    mode = "RGB" if mode not in _SPACES and space == "RGB" else mode
    return None if space == _SPACES.get(mode) else f"for {space} colours"


def drop_opaque_alpha(image: Image.Image) -> Image.Image:
    """Return an RGBA picture as RGB when nothing of it shines through."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str, becomes: str) -> ImageCms.ImageCmsTransform | None:
    """Build the way from a profile to sRGB; None when there is nothing to do or nothing that can be done."""
    source = _opened(profile)
    if source is None:
        return None
    try:
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        if mode != "CMYK" and "srgb" in (source.profile.profile_description or "").casefold():
            return None
        return ImageCms.ImageCmsTransform(source, _SRGB, mode, becomes, ImageCms.Intent.PERCEPTUAL)
    except _CMS_ERRORS:
        return None


@lru_cache(maxsize=8)
def _opened(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except _CMS_ERRORS:
        return None


def _by_its_own_range(image: Image.Image) -> Image.Image:
    low, high = image.getextrema()
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
        return Image.new("L", image.size)
    scale = 255 / (high - low)
    offset = -low * scale
    return image.convert("F").point(lambda value: value * scale + offset).convert("L")


def _from_lab(image: Image.Image) -> Image.Image:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.ImageCmsTransform(lab, _SRGB, "LAB", "RGB", ImageCms.Intent.PERCEPTUAL).apply(image)
