import pytest
from PIL import Image, ImageCms

from tests.support.pictures import encoded, noise, opened, scene
from worker.domain.recipe import Limits, Size
from worker.imaging.cmyk import cmyk_to_srgb
from worker.imaging.resize import resize
from worker.imaging.validate import validate

SMALL = Size("small", 400, 400)


def notes(content: bytes) -> tuple[dict[str, object], dict[str, object]]:
    decoded, facts = validate(content, limits=Limits(), sizes=(SMALL,))
    return dict(facts.detail), dict(resize(decoded, sizes=(SMALL,))[1].detail)


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
def test_inks_without_profile_look_as_printed(
    inks: tuple[int, int, int, int], expected: tuple[int, int, int]
) -> None:
    found = cmyk_to_srgb(Image.new("CMYK", (4, 4), inks)).getpixel((1, 1))
    assert isinstance(found, tuple)
    assert all(abs(a - b) <= 2 for a, b in zip(found, expected, strict=True)), found


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_a_file_of_inks_comes_out_as_printed(image_format: str) -> None:
    content = encoded(Image.new("CMYK", (300, 200), (255, 0, 0, 0)), image_format)
    decoded, _ = validate(content, limits=Limits(), sizes=(SMALL,))
    (picture,), _ = resize(decoded, sizes=(SMALL,))
    found = picture.image.getpixel((100, 100))
    assert isinstance(found, tuple)
    assert all(abs(a - b) <= 4 for a, b in zip(found, (0, 158, 227), strict=True)), found


def test_the_record_names_the_profile() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    facts, found = notes(encoded(scene(), "JPEG", icc_profile=profile))
    assert "sRGB" in str(facts["profile"])
    assert "profileIgnored" not in found


def test_a_bad_profile_is_ignored_with_a_note() -> None:
    facts, found = notes(encoded(scene(), "JPEG", icc_profile=b"nonsense"))
    assert (facts["profile"], found["profileIgnored"]) == ("unreadable", "unreadable")


def test_a_profile_for_other_colours_is_ignored_with_a_note() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert notes(encoded(scene(), "JPEG", icc_profile=lab))[1]["profileIgnored"] == "for Lab colours"


@pytest.mark.parametrize("mode", ["I;16", "RGB"])
def test_a_deep_picture_keeps_its_levels(mode: str) -> None:
    image = noise(40, 30, mode="L").convert("I").point(lambda level: level * 257 + 0).convert("I;16")
    content = encoded(image if mode == "I;16" else noise(40, 30), "PNG")
    decoded, _ = validate(content, limits=Limits(), sizes=(SMALL,))
    (picture,), _ = resize(decoded, sizes=(SMALL,))
    expected = opened(content).convert("RGB") if mode == "RGB" else noise(40, 30, mode="L").convert("RGB")
    assert picture.image.tobytes() == expected.tobytes()
