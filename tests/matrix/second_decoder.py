"""Read image files by libvips as an independent reference: upright, sRGB, RGBA of 8 bits."""

import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("VIPS_CONCURRENCY", "1")
import pyvips

pyvips.cache_set_max(0)

Pixels = NDArray[np.uint8]
"""Rows x columns x red, green, blue, alpha."""

_PROFILE: Final = "icc-profile-data"


class SecondDecoderError(Exception):
    """Raised when libvips rejects a file."""


def decode(content: bytes) -> Pixels:
    """
    Decode the first picture of a file.

    Raises:
        SecondDecoderError: libvips rejects the file, or reports missing data.
    """
    try:
        image = pyvips.Image.new_from_buffer(content, "", fail_on="truncated").autorot()
        image = _in_srgb(image)
        if image.bands == 3:
            image = image.bandjoin(255)
        return np.asarray(image.cast("uchar").numpy())
    except pyvips.Error as error:
        raise SecondDecoderError(str(error)) from error


def _in_srgb(image: pyvips.Image) -> pyvips.Image:
    if image.get_typeof(_PROFILE) and image.interpretation != "lab":
        try:
            return image.icc_transform("srgb", embedded=True, intent="perceptual", depth=8).copy_memory()
        except pyvips.Error:  # the profile cannot be used: the pixels are taken as they are
            image = image.copy()
            image.remove(_PROFILE)
    if image.interpretation == "cmyk":
        return image.icc_transform("srgb", input_profile="cmyk", intent="perceptual", depth=8)
    return image.colourspace("srgb")


def version() -> str:
    """Return the version of libvips."""
    return ".".join(str(pyvips.version(part)) for part in range(3))
