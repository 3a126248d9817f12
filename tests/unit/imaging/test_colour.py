import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.support.pictures import encoded, noise, opened, quadrants
from tests.support.profiles import DISPLAY_P3, grey_profile, rgb_profile, srgb_profile
from worker.domain.recipe import Limits, Size
from worker.imaging.cmyk import cmyk_to_srgb
from worker.imaging.colour import (
    deep_conversion,
    levels_in_srgb,
    profile_name,
    reason_profile_ignored,
    to_scalable_mode,
    to_srgb,
)
from worker.imaging.resize import resize
from worker.imaging.validate import validate

SMALL = Size("small", 400, 400)


def details_of(content: bytes) -> tuple[dict[str, object], dict[str, object]]:
    decoded, note = validate(content, limits=Limits(), sizes=(SMALL,))
    return dict(note.detail), dict(resize(decoded, sizes=(SMALL,))[1].detail)


@pytest.mark.parametrize(
    ("inks", "expected"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 158, 227)),
        ((0, 255, 0, 0), (230, 0, 126)),
        ((0, 0, 255, 0), (255, 237, 0)),
        ((0, 255, 255, 0), (227, 6, 19)),
        ((0, 0, 0, 255), (29, 29, 29)),
        ((0, 0, 0, 128), (156, 156, 156)),
        ((255, 255, 255, 255), (7, 7, 7)),
    ],
)
def test_cmyk_without_a_profile_is_converted_to_printed_colours(
    inks: tuple[int, int, int, int], expected: tuple[int, int, int]
) -> None:
    found = cmyk_to_srgb(Image.new("CMYK", (4, 4), inks)).getpixel((1, 1))
    assert isinstance(found, tuple)
    assert all(abs(a - b) <= 2 for a, b in zip(found, expected, strict=True)), found


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_a_cmyk_file_is_converted_to_printed_colours(image_format: str) -> None:
    content = encoded(Image.new("CMYK", (300, 200), (255, 0, 0, 0)), image_format)
    decoded, _ = validate(content, limits=Limits(), sizes=(SMALL,))
    (picture,), _ = resize(decoded, sizes=(SMALL,))
    found = picture.image.getpixel((100, 100))
    assert isinstance(found, tuple)
    assert all(abs(a - b) <= 4 for a, b in zip(found, (0, 158, 227), strict=True)), found


def test_the_name_of_the_profile_is_recorded() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    validation, resizing = details_of(encoded(quadrants(), "JPEG", icc_profile=profile))
    assert "sRGB" in str(validation["profile"])
    assert "profileIgnored" not in resizing


def test_an_unreadable_profile_is_ignored_and_recorded() -> None:
    validation, resizing = details_of(encoded(quadrants(), "JPEG", icc_profile=b"not a profile"))
    assert (validation["profile"], resizing["profileIgnored"]) == ("unreadable", "unreadable")


def test_a_profile_for_another_colour_space_is_ignored_and_recorded() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert details_of(encoded(quadrants(), "JPEG", icc_profile=lab))[1]["profileIgnored"] == "for Lab colours"


@pytest.mark.parametrize("mode", ["I;16", "RGB"])
def test_sixteen_bits_are_reduced_to_their_high_byte(mode: str) -> None:
    image = noise(40, 30, mode="L").convert("I").point(lambda level: level * 257 + 0).convert("I;16")
    content = encoded(image if mode == "I;16" else noise(40, 30), "PNG")
    decoded, _ = validate(content, limits=Limits(), sizes=(SMALL,))
    (picture,), _ = resize(decoded, sizes=(SMALL,))
    expected = opened(content).convert("RGB") if mode == "RGB" else noise(40, 30, mode="L").convert("RGB")
    assert picture.image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("offset", [12, 16, 20], ids=["class", "colour space", "connection space"])
@pytest.mark.parametrize("signature", [b"\xff\xfe\xfd\xfc", b"\0\0\0\0"], ids=["binary", "zero"])
def test_a_profile_whose_header_is_damaged_is_ignored(offset: int, signature: bytes) -> None:
    profile = rgb_profile(DISPLAY_P3)
    damaged = profile[:offset] + signature + profile[offset + 4 :]
    picture = Image.new("RGB", (4, 4), (200, 60, 60))
    assert to_srgb(picture, damaged).getpixel((1, 1)) == (200, 60, 60)
    assert reason_profile_ignored(damaged, "RGB")
    assert profile_name(damaged)


PROFILES = [rgb_profile(DISPLAY_P3), grey_profile(1.8), srgb_profile("sRGB")[:2000]]


@given(
    profile=st.sampled_from(PROFILES),
    changes=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8),
    mode=st.sampled_from(["L", "LA", "RGB", "RGBA", "CMYK", "I;16", "P"]),
)
@example(profile=PROFILES[1], changes=[(192, 128)], mode="L").via("a description that is not text")
def test_no_damage_to_a_profile_is_an_error(
    profile: bytes, changes: list[tuple[int, int]], mode: str
) -> None:
    damaged = bytearray(profile)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    content = bytes(damaged)
    profile_name(content)
    reason_profile_ignored(content, mode)
    deep_conversion(content)
    levels_in_srgb(content, depth=16)
    to_srgb(*to_scalable_mode(Image.new(mode, (3, 3)), content))
