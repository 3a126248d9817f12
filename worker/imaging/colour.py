"""Modes and profiles: from whatever a file holds to RGB or RGBA in sRGB."""

import io
from functools import lru_cache
from typing import Final

from PIL import Image, ImageCms

_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_SPACES: Final = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
_WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBa"})
_DEPTH_16_TO_8: Final = 1 / 256


def scalable(image: Image.Image, profile: bytes | None) -> Image.Image:
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
    if transform is None:
        return image if image.mode == becomes else image.convert(becomes)
    return transform.apply(image)


def without_needless_alpha(image: Image.Image) -> Image.Image:
    """Return an RGBA picture as RGB when nothing of it shines through."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str, becomes: str) -> ImageCms.ImageCmsTransform | None:
    """Build the way from a profile to sRGB; None when there is nothing to do or nothing that can be done."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        if mode != "CMYK" and "srgb" in (source.profile.profile_description or "").casefold():
            return None
        return ImageCms.ImageCmsTransform(source, _SRGB, mode, becomes, ImageCms.Intent.PERCEPTUAL)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
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
