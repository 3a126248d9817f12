"""Colours of wide-gamut profiles are converted to the same colours in sRGB."""

import pytest
from PIL import Image

from tests.support.profiles import ADOBE_RGB, DISPLAY_P3, Matrix, in_srgb, rgb_profile
from worker.imaging.colour import to_srgb

COLOURS = [(200, 100, 50), (60, 180, 90), (30, 60, 200), (128, 128, 128), (255, 255, 255), (0, 0, 0)]


@pytest.mark.parametrize("colours", [DISPLAY_P3, ADOBE_RGB], ids=["Display P3", "Adobe RGB"])
@pytest.mark.parametrize("rgb", COLOURS)
def test_a_wide_gamut_colour_is_the_same_colour_in_srgb(rgb: tuple[int, int, int], colours: Matrix) -> None:
    converted = to_srgb(Image.new("RGB", (4, 4), rgb), rgb_profile(colours))

    assert converted.getpixel((1, 1)) == pytest.approx(in_srgb(rgb, colours), abs=3)


@pytest.mark.parametrize("colours", [DISPLAY_P3, ADOBE_RGB], ids=["Display P3", "Adobe RGB"])
def test_a_colour_outside_srgb_is_clipped(colours: Matrix) -> None:
    green = to_srgb(Image.new("RGB", (4, 4), (0, 255, 0)), rgb_profile(colours)).getpixel((1, 1))

    assert green == pytest.approx((0, 255, 0), abs=3)


def test_alpha_is_unchanged_by_the_conversion() -> None:
    picture = Image.new("RGBA", (4, 4), (200, 100, 50, 77))

    converted = to_srgb(picture, rgb_profile(DISPLAY_P3))

    pixel = converted.getpixel((1, 1))
    assert isinstance(pixel, tuple)
    assert pixel[3] == 77
    assert pixel[:3] == pytest.approx(in_srgb((200, 100, 50), DISPLAY_P3), abs=3)
