"""Fits, gravities and output formats of sizes, on pixels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.pictures import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    difference,
    encoded,
    noise,
    opened,
    quadrant_colours,
    quadrants,
    stored_as,
)
from tests.support.resampling import Resized
from worker.domain.focus import Focus
from worker.domain.recipe import Animation, Fit, Gravity, Limits, OutputFormat, Size
from worker.imaging.encode import encode
from worker.imaging.picture import Picture
from worker.imaging.resampling import Resample
from worker.imaging.resize import resize
from worker.imaging.validate import validate


def is_close(found: object, expected: tuple[int, ...], *, within: int = 14) -> bool:
    assert isinstance(found, tuple)
    return all(abs(a - b) <= within for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("gravity", "expected"),
    [
        (Gravity.TOP_LEFT, RED),
        (Gravity.TOP_RIGHT, GREEN),
        (Gravity.BOTTOM_LEFT, BLUE),
        (Gravity.BOTTOM_RIGHT, WHITE),
    ],
)
def test_cover_keeps_the_corner_of_its_gravity_in_every_orientation(
    resized: Resized, orientation: int, gravity: Gravity, expected: tuple[int, int, int]
) -> None:
    sizes = (
        Size("wide", 200, 40, fit=Fit.COVER, gravity=gravity),
        Size("high", 40, 200, fit=Fit.COVER, gravity=gravity),
    )
    content = stored_as(orientation, upright=quadrants(640, 400))
    wide, high = resized(content, *sizes)
    assert (wide.image.size, high.image.size) == ((200, 40), (40, 200))
    across = 10 if "left" in gravity else 190
    down = 10 if "top" in gravity else 190
    assert is_close(wide.image.getpixel((across, 20)), expected)
    assert is_close(high.image.getpixel((20, down)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("focus", "expected"),
    [
        (Focus(0, 0), RED),
        (Focus(1, 0), GREEN),
        (Focus(0, 1), BLUE),
        (Focus(1, 1), WHITE),
        (Focus(0.2, 0.9), BLUE),
    ],
)
def test_cover_keeps_the_focal_point_in_every_orientation_whatever_the_gravity_is(
    resized: Resized, orientation: int, focus: Focus, expected: tuple[int, int, int]
) -> None:
    sizes = tuple(
        Size(name, *box, fit=Fit.COVER, gravity=gravity)
        for name, box in {"wide": (200, 40), "high": (40, 200)}.items()
        for gravity in (Gravity.CENTER, Gravity.TOP_RIGHT)
    )
    content = stored_as(orientation, upright=quadrants(640, 400))
    for picture in resized(content, *sizes, focus=focus):
        width, height = picture.image.size
        corner = round(focus.x * (width - 1)), round(focus.y * (height - 1))
        assert is_close(picture.image.getpixel(corner), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("focus", [Focus(0.25, 0.3), Focus(0.5, 0.5), Focus(0.8, 0.65)])
def test_a_crop_is_centred_on_the_focal_point(resized: Resized, orientation: int, focus: Focus) -> None:
    upright = Image.new("RGB", (800, 500))
    spot = round(800 * focus.x), round(500 * focus.y)
    upright.paste((255, 255, 255), (spot[0] - 20, spot[1] - 20, spot[0] + 20, spot[1] + 20))
    content = stored_as(orientation, upright=upright)
    sizes = Size("wide", 200, 40, fit=Fit.COVER), Size("high", 40, 200, fit=Fit.COVER)
    wide, high = resized(content, *sizes, focus=focus)
    left, top, right, bottom = shown(wide.image)
    assert (top + bottom) / 2 == pytest.approx(20, abs=1)
    left, top, right, bottom = shown(high.image)
    assert (left + right) / 2 == pytest.approx(20, abs=1)


def shown(image: Image.Image) -> tuple[int, int, int, int]:
    """Return the box of the light pixels."""
    box = image.convert("L").point(lambda level: 255 if level > 127 else 0).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("fit", [Fit.INSIDE, Fit.CONTAIN, Fit.FILL])
def test_a_focal_point_changes_nothing_that_is_not_cropped(resized: Resized, fit: Fit) -> None:
    content, size = encoded(noise(120, 80), "PNG"), Size("box", 60, 60, fit=fit, gravity=Gravity.BOTTOM)
    (without,), (with_focus,) = resized(content, size), resized(content, size, focus=Focus(0, 0))
    assert without.image.tobytes() == with_focus.image.tobytes()


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.booleans(),
)
def test_every_focal_point_of_every_image_can_be_cropped_to(
    resized: Resized, extent: tuple[int, int], box: tuple[int, int], focus: tuple[float, float], enlarge: bool
) -> None:
    size = Size("box", *box, fit=Fit.COVER, enlarge=enlarge)
    (picture,) = resized(encoded(quadrants(*extent), "BMP"), size, focus=Focus(*focus))
    assert picture.image.width <= size.width
    assert picture.image.height <= size.height


def test_the_frames_of_an_animation_are_cropped_alike(resample: Resample) -> None:
    frames = [quadrants(64, 40), quadrants(64, 40).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    size = Size("box", 20, 20, fit=Fit.COVER)
    decoded, _ = validate(content, limits=Limits(), sizes=(size,), animation=Animation.KEEP)
    ((picture,), _) = resize(decoded, sizes=(size,), focus=Focus(1, 0), resample=resample)
    assert is_close(picture.image.convert("RGB").getpixel((17, 2)), GREEN)
    (second,) = picture.frames
    assert is_close(second.image.convert("RGB").getpixel((17, 2)), RED)


def test_contain_pads_with_the_background(resized: Resized) -> None:
    (picture,) = resized(
        encoded(quadrants(600, 200), "PNG"),
        Size("box", 300, 300, fit=Fit.CONTAIN, gravity=Gravity.BOTTOM, background="#336699"),
    )
    assert picture.image.size == (300, 300)
    assert picture.image.getpixel((150, 20)) == (0x33, 0x66, 0x99)
    assert is_close(picture.image.getpixel((10, 210)), RED)


def test_a_transparent_background_makes_the_rendition_transparent(resized: Resized) -> None:
    size = Size("box", 300, 300, fit=Fit.CONTAIN, background="#ffffff00")
    (picture,) = resized(encoded(quadrants(600, 200), "JPEG"), size)
    assert picture.image.mode == "RGBA"
    assert picture.image.getpixel((150, 20)) == (255, 255, 255, 0)
    assert encode(picture, size=size, quality=80).format == "png"


def test_fill_stretches(resized: Resized) -> None:
    (picture,) = resized(encoded(quadrants(640, 400), "PNG"), Size("box", 100, 300, fit=Fit.FILL))
    assert picture.image.size == (100, 300)
    assert quadrant_colours(picture.image) == (RED, GREEN, BLUE, WHITE)


def test_a_size_with_enlarge_scales_up(resized: Resized) -> None:
    (picture,) = resized(encoded(quadrants(64, 40), "PNG"), Size("box", 320, 320, enlarge=True))
    assert picture.image.size == (320, 200)


def test_cover_never_allocates_more_than_the_box(resized: Resized) -> None:
    (picture,) = resized(
        encoded(quadrants(2, 20_000), "PNG"), Size("box", 2000, 2000, fit=Fit.COVER, enlarge=True)
    )
    assert picture.image.size == (2000, 2000)


def test_a_cropped_size_made_from_a_larger_size_equals_one_made_alone(resized: Resized) -> None:
    content = encoded(noise(64, 48).resize((1600, 1200), Image.Resampling.BICUBIC), "PNG")
    square = Size("square", 150, 150, fit=Fit.COVER, gravity=Gravity.RIGHT)
    _, together = resized(content, Size("medium", 800, 600), square)
    (alone,) = resized(content, square)
    assert difference(together.image, alone.image) < 1


@pytest.mark.parametrize(
    ("output_format", "mode", "expected"),
    [
        (OutputFormat.JPEG, "RGB", "jpeg"),
        (OutputFormat.JPEG, "RGBA", "jpeg"),
        (OutputFormat.PNG, "RGB", "png"),
        (OutputFormat.WEBP, "RGBA", "webp"),
        (OutputFormat.AVIF, "RGB", "avif"),
        (OutputFormat.AVIF, "RGBA", "avif"),
    ],
)
def test_a_size_is_encoded_in_its_format(output_format: OutputFormat, mode: str, expected: str) -> None:
    image = quadrants(200, 100, mode)
    rendition = encode(
        Picture("box", image, "png"), size=Size("box", 200, 200, format=output_format), quality=85
    )
    result = opened(rendition.content)
    assert (rendition.format, result.format, result.size) == (expected, expected.upper(), (200, 100))
    assert difference(result, quadrants(200, 100)) < 4


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (quadrants(200, 100), "png"),
        (noise(200, 100), "jpeg"),
        (noise(200, 100, mode="RGBA"), "webp"),
    ],
)
def test_auto_chooses_the_format_by_colours_and_transparency(image: Image.Image, expected: str) -> None:
    size = Size("box", 200, 200, format=OutputFormat.AUTO)
    assert encode(Picture("box", image, "png"), size=size, quality=80).format == expected


def test_transparency_is_flattened_on_the_background_for_an_opaque_format() -> None:
    size = Size("box", 200, 200, format=OutputFormat.JPEG, background="#ff8000")
    rendition = encode(Picture("box", Image.new("RGBA", (40, 40)), "png"), size=size, quality=90)
    assert is_close(opened(rendition.content).getpixel((20, 20)), (255, 128, 0))


@pytest.mark.parametrize("output_format", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_quality_is_lowered_until_the_file_is_within_its_target(output_format: OutputFormat) -> None:
    picture = Picture("box", noise(40, 30).resize((400, 300), Image.Resampling.BICUBIC), "png")
    unlimited = encode(picture, size=Size("box", 400, 400, format=output_format), quality=92)
    target = len(unlimited.content) * 2 // 3
    limited = encode(
        picture, size=Size("box", 400, 400, format=output_format, target_bytes=target), quality=92
    )
    assert target // 2 < len(limited.content) <= target


def test_the_quality_of_a_size_overrides_the_default() -> None:
    picture = Picture("box", noise(100, 100), "jpeg")
    light, heavy = (
        encode(picture, size=Size("box", 100, 100, quality=own), quality=80) for own in (30, None)
    )
    assert len(light.content) < len(heavy.content)
