"""The ICC profiles of the matrix."""

from functools import cache

import pyvips

from tests.support.profiles import ADOBE_RGB, DISPLAY_P3, SRGB, grey_profile, rgb_profile, srgb_profile


@cache
def profile(name: str) -> bytes | None:
    """Return a profile by its name in the matrix; None for `none`."""
    match name:
        case "sRGB":
            return srgb_profile("sRGB")
        case "Display P3":
            return rgb_profile(DISPLAY_P3, name="P3")
        case "Adobe RGB":
            return rgb_profile(ADOBE_RGB, name="Adobe RGB")
        case "linear":
            return rgb_profile(SRGB, gamma=1.0, name="linear")
        case "grey gamma":
            return grey_profile(1.8)
        case "CMYK":
            return bytes(pyvips.Operation.call("profile_load", "cmyk"))
        case "broken":
            return srgb_profile("sRGB")[:200]
    return None
