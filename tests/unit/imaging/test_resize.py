import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.support.pictures import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    difference,
    encoded,
    noise,
    pixel,
    quadrant_colours,
    quadrants,
    stored_as,
)
from tests.support.resampling import Resized
from worker.domain.recipe import Limits, Size
from worker.imaging.picture import Extent
from worker.imaging.resampling import Resample
from worker.imaging.resize import resize, scale
from worker.imaging.validate import validate

MEDIUM, SMALL, THUMBNAIL = Size("medium", 800, 600), Size("small", 400, 400), Size("thumbnail", 150, 150)


def is_close(found: tuple[int, ...], expected: tuple[int, ...], *, within: int = 12) -> bool:
    return len(found) == len(expected) and all(
        abs(a - b) <= within for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_becomes_upright(resample: Resample, orientation: int, image_format: str) -> None:
    content = stored_as(orientation, upright=quadrants(960, 600), image_format=image_format)
    decoded, _ = validate(content, limits=Limits(), sizes=(SMALL,))
    (picture,), note = resize(decoded, sizes=(SMALL,), resample=resample)
    assert picture.image.size == (400, 250)
    found = quadrant_colours(picture.image)
    assert all(is_close(*pair) for pair in zip(found, (RED, GREEN, BLUE, WHITE), strict=True)), found
    assert note.detail["dimensions"] == {
        "original": {"width": 960, "height": 600},
        "processed": {"width": 400, "height": 250},
    }


@pytest.mark.parametrize(
    ("mode", "image_format", "expected_mode"),
    [
        ("RGB", "PNG", "RGB"),
        ("L", "PNG", "RGB"),
        ("L", "JPEG", "RGB"),
        ("1", "PNG", "RGB"),
        ("P", "PNG", "RGB"),
        ("P", "GIF", "RGB"),
        ("CMYK", "JPEG", "RGB"),
        ("CMYK", "TIFF", "RGB"),
        ("I;16", "PNG", "RGB"),
        ("I;16", "TIFF", "RGB"),
        ("YCbCr", "TIFF", "RGB"),
        ("LAB", "TIFF", "RGB"),
        ("LA", "PNG", "RGB"),
        ("RGBA", "PNG", "RGB"),
    ],
)
def test_every_mode_becomes_rgb(resized: Resized, mode: str, image_format: str, expected_mode: str) -> None:
    image = Image.new("L", (2, 1))
    image.putpixel((1, 0), 255)
    image = image.resize((600, 300), Image.Resampling.NEAREST)
    match mode:
        case "I;16":
            image = image.convert("I").point(lambda value: value * 257 + 0).convert("I;16")
        case "CMYK":
            image = Image.merge("CMYK", [image.point(lambda value: 255 - value)] * 4)
        case "LAB":
            srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
            converted = ImageCms.profileToProfile(image.convert("RGB"), srgb, lab, outputMode="LAB")
            assert converted is not None
            image = converted
        case _:
            image = image.convert(mode)
    (picture,) = resized(encoded(image, image_format), THUMBNAIL)
    assert (picture.image.mode, picture.image.size) == (expected_mode, (150, 75))
    dark, light = pixel(picture.image, (20, 40)), pixel(picture.image, (130, 40))
    assert is_close(dark, (0, 0, 0))
    assert is_close(light, (255, 255, 255))


def half_transparent(mode: str) -> Image.Image:
    image = quadrants(600, 300, "RGBA")
    image.paste((0, 0, 0, 0), (300, 0, 600, 300))
    if mode == "P":
        return image.quantize(16)
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "GIF"), ("RGBA", "WEBP")],
)
def test_transparency_is_kept(resized: Resized, mode: str, image_format: str) -> None:
    (picture,) = resized(encoded(half_transparent(mode), image_format), THUMBNAIL)
    assert picture.image.mode == "RGBA"
    assert pixel(picture.image, (20, 20))[3] == 255
    assert pixel(picture.image, (130, 20))[3] == 0


def test_the_transparent_colour_of_a_png_becomes_alpha(resized: Resized) -> None:
    content = encoded(quadrants(600, 300), "PNG", transparency=GREEN)
    (picture,) = resized(content, THUMBNAIL)
    assert pixel(picture.image, (130, 10))[3] == 0
    assert pixel(picture.image, (20, 10))[3] == 255


def test_the_colour_of_invisible_pixels_does_not_bleed(resized: Resized) -> None:
    image = Image.new("RGBA", (600, 300), (255, 0, 0, 255))
    image.paste((0, 255, 0, 0), (301, 0, 600, 300))
    (picture,) = resized(encoded(image, "PNG"), THUMBNAIL)
    edge = [pixel(picture.image, (x, 30)) for x in range(70, 80)]
    assert all(green <= 2 for _, green, _, alpha in edge if alpha > 8), edge


def swapped_profile() -> bytes:
    """Return an sRGB profile with green and blue swapped, and without sRGB in its name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {tag: profile.index(tag, 128) + 4 for tag in (b"gXYZ", b"bXYZ")}
    green, blue = at[b"gXYZ"], at[b"bXYZ"]
    profile[green : green + 8], profile[blue : blue + 8] = (
        profile[blue : blue + 8],
        profile[green : green + 8],
    )
    return (
        bytes(profile)
        .replace("sRGB".encode("utf-16-be"), "none".encode("utf-16-be"))
        .replace(b"sRGB", b"none")
    )


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_profile_is_converted_to_srgb_and_dropped(resized: Resized, image_format: str) -> None:
    (picture,) = resized(encoded(quadrants(), image_format, icc_profile=swapped_profile()), SMALL)
    red, _, blue, white = quadrant_colours(picture.image)
    assert blue[1] > 150 > blue[2], blue
    assert is_close(red, RED, within=16)
    assert is_close(white, WHITE, within=16)
    assert picture.image.info == {}


@pytest.mark.parametrize("profile", [b"not a profile", b"\0" * 128])
def test_an_unreadable_profile_is_treated_as_srgb(resized: Resized, profile: bytes) -> None:
    (picture,) = resized(encoded(quadrants(), "JPEG", icc_profile=profile), SMALL)
    assert is_close(quadrant_colours(picture.image)[0], RED)


def test_a_profile_for_another_colour_space_is_treated_as_srgb(resized: Resized) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    (picture,) = resized(encoded(quadrants(), "JPEG", icc_profile=lab), SMALL)
    assert is_close(quadrant_colours(picture.image)[0], RED)


def test_sizes_are_in_the_order_of_the_recipe_and_equal_those_made_alone(resized: Resized) -> None:
    content = encoded(quadrants(1600, 1200), "PNG")
    together = resized(content, THUMBNAIL, MEDIUM, SMALL)
    assert [picture.size for picture in together] == ["thumbnail", "medium", "small"]
    assert [picture.image.size for picture in together] == [(150, 113), (800, 600), (400, 300)]
    (alone,) = resized(content, THUMBNAIL)
    assert difference(together[0].image, alone.image) < 1


def test_two_sizes_of_equal_extent_do_not_share_pixels(resized: Resized) -> None:
    medium, small = resized(encoded(quadrants(100, 80), "PNG"), MEDIUM, SMALL)
    assert medium.image is not small.image
    medium.image.putpixel((0, 0), (1, 2, 3))
    assert small.image.getpixel((0, 0)) != (1, 2, 3)


def test_a_picture_smaller_than_the_box_is_unchanged(resized: Resized) -> None:
    (picture,) = resized(encoded(quadrants(33, 21), "PNG"), MEDIUM)
    assert picture.image.size == (33, 21)
    assert difference(picture.image, quadrants(33, 21)) == 0


def test_scaling_matches_pillows_lanczos(resample: Resample) -> None:
    image = noise(400, 300).resize((1200, 900), Image.Resampling.BICUBIC)
    scaled = scale(image, Extent(300, 225), resample=resample)
    assert difference(scaled, image.resize((300, 225), Image.Resampling.LANCZOS)) < 0.5


def test_a_mode_that_only_pillow_supports_is_scaled_too(resample: Resample) -> None:
    assert scale(quadrants(100, 50, "LA"), Extent(50, 25), resample=resample).mode == "LA"


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    box_width=st.integers(1, 200),
    box_height=st.integers(1, 200),
    orientation=st.integers(1, 8),
)
def test_a_picture_in_any_orientation_fits_any_box(
    resized: Resized, width: int, height: int, box_width: int, box_height: int, orientation: int
) -> None:
    content = stored_as(orientation, upright=Image.new("RGB", (width, height), RED))
    (picture,) = resized(content, Size("any", box_width, box_height))
    assert picture.image.width <= min(width, box_width)
    assert picture.image.height <= min(height, box_height)
    assert is_close(pixel(picture.image, (0, 0)), RED)
