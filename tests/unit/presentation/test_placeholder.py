"""Placeholders drawn from a BlurHash."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from worker.imaging.visual_summary import visual_summary
from worker.presentation.placeholder import PIXELS, placeholder_png


def decoded(blur_hash: str) -> Image.Image:
    content = placeholder_png(blur_hash)
    assert content is not None
    return Image.open(BytesIO(content)).convert("RGB")


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


@pytest.mark.parametrize(
    "colour", [(255, 255, 255), (0, 0, 0), (200, 40, 90)], ids=["white", "black", "pink"]
)
def test_a_plain_image_has_a_placeholder_of_its_colour(colour: tuple[int, int, int]) -> None:
    blur_hash = visual_summary(Image.new("RGB", (160, 120), colour))["blurHash"]
    drawn = decoded(str(blur_hash))
    assert drawn.size == PIXELS
    for found, expected in zip(pixel(drawn, 16, 12), colour, strict=True):
        assert found == pytest.approx(expected, abs=6)


def test_the_placeholder_has_the_sides_of_the_image() -> None:
    image = Image.new("RGB", (160, 120), "red")
    image.paste("blue", (80, 0, 160, 120))
    drawn = decoded(str(visual_summary(image)["blurHash"]))
    left, right = pixel(drawn, 3, 12), pixel(drawn, 28, 12)
    assert left[0] > left[2] + 60
    assert right[2] > right[0] + 60


@given(st.text(alphabet="0aZ#~é ", max_size=40))
def test_other_text_has_no_placeholder_or_a_valid_one(text: str) -> None:
    content = placeholder_png(text)
    assert content is None or Image.open(BytesIO(content)).size == PIXELS


@pytest.mark.parametrize(
    "text", ["", "L", "LVFs3t%LD*t7~pt7M|ofD*WCofW", "~" * 166, 'LVFs3t"LD*t7~pt7M|ofD*WCofWC']
)
def test_a_damaged_blur_hash_has_no_placeholder(text: str) -> None:
    assert placeholder_png(text) is None
