"""Convert pictures of any mode and colour profile to RGB or RGBA in sRGB."""

import io
import re
from functools import lru_cache
from typing import Final

from PIL import Image, ImageCms

from worker.imaging.cmyk import cmyk_to_srgb

_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_COLOUR_SPACES: Final = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
_MODES_WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBa"})
_DEPTH_16_TO_8: Final = 1 / 256
UNREADABLE: Final = "unreadable"
_MAX_NAME_CHARACTERS: Final = 40
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_CMS_ERRORS: Final = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


def to_scalable_mode(image: Image.Image, profile: bytes | None) -> Image.Image:
    """
    Return the picture in a mode that can be scaled: L, RGB or RGBA.

    Palette indices and single bits cannot be averaged. Samples of 16 bits are reduced to their high byte;
    wider and floating-point samples are stretched over their own range, since their file does not define
    white. CMYK is converted to sRGB first, because scaling CMYK distorts sharp edges (PSNR 28 dB).

    Args:
        image: Picture in any mode.
        profile: ICC profile. Used for CMYK only: RGB is converted after scaling, with the same result at a
            lower cost.
    """
    mode = image.mode
    if image.has_transparency_data and mode not in {"RGBA", *_MODES_WITH_ALPHA}:
        return image.convert("RGBA")
    if mode == "CMYK":
        return to_srgb(image, profile)
    if mode in _COLOUR_SPACES:
        return image
    if mode in _MODES_WITH_ALPHA:
        return image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, "RGBA")).convert("RGBA")
    if mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * _DEPTH_16_TO_8 + 0).convert("L")
    if mode in {"I", "F"}:
        return _stretch_to_8_bits(image)
    if mode == "1":
        return image.convert("L")
    if mode == "LAB":
        return _lab_to_srgb(image)
    return image.convert("RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """
    Return the picture as RGB or RGBA in sRGB.

    Args:
        image: L, RGB, RGBA or CMYK.
        profile: ICC profile. Ignored if it cannot be read or is for another colour space.
    """
    target_mode = "RGBA" if image.mode == "RGBA" else "RGB"
    transform = _transform(profile, image.mode, target_mode) if profile else None
    if transform is None and image.mode == "CMYK":
        return cmyk_to_srgb(image)
    if transform is None:
        return image if image.mode == target_mode else image.convert(target_mode)
    return transform.apply(image)


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
    name = _UNPRINTABLE.sub(" ", opened.profile.profile_description or "").strip()
    return name[:_MAX_NAME_CHARACTERS].strip() or "nameless"


def reason_profile_ignored(profile: bytes | None, mode: str) -> str | None:
    """Return why a picture of this mode is treated as sRGB despite its profile; None if it is not."""
    if not profile:
        return None
    opened = _open_profile(profile)
    if opened is None:
        return UNREADABLE
    space = opened.profile.xcolor_space.strip()
    mode = "RGB" if mode not in _COLOUR_SPACES and space == "RGB" else mode
    return None if space == _COLOUR_SPACES.get(mode) else f"for {space} colours"


def drop_opaque_alpha(image: Image.Image) -> Image.Image:
    """Return an RGBA picture as RGB if every pixel is opaque."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str, target_mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB; None if it is sRGB, or the profile cannot be used."""
    source = _open_profile(profile)
    if source is None:
        return None
    try:
        if source.profile.xcolor_space.strip() != _COLOUR_SPACES[mode]:
            return None
        if mode != "CMYK" and "srgb" in (source.profile.profile_description or "").casefold():
            return None
        return ImageCms.ImageCmsTransform(source, _SRGB, mode, target_mode, ImageCms.Intent.PERCEPTUAL)
    except _CMS_ERRORS:
        return None


@lru_cache(maxsize=8)
def _open_profile(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except _CMS_ERRORS:
        return None


def _stretch_to_8_bits(image: Image.Image) -> Image.Image:
    low, high = image.getextrema()
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
        return Image.new("L", image.size)
    scale = 255 / (high - low)
    offset = -low * scale
    return image.convert("F").point(lambda value: value * scale + offset).convert("L")


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.ImageCmsTransform(lab, _SRGB, "LAB", "RGB", ImageCms.Intent.PERCEPTUAL).apply(image)
