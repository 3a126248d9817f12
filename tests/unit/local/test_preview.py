"""Small views of pictures, whatever state the file is in."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageCms

from worker.local.preview import checkered, preview

BOX = (120, 90)


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    content = BytesIO()
    picture.save(content, kind, **options)  # type: ignore[arg-type]
    return content.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_picture_is_fitted_into_the_box_and_keeps_telling_its_own_size(kind: str) -> None:
    shown = preview(encoded(Image.new("RGB", (800, 400), (200, 40, 40)), kind), box=BOX)
    assert shown is not None
    assert (shown.picture.size, shown.size, shown.kind) == ((120, 60), (800, 400), kind)
    assert shown.picture.mode == "RGB"


def test_a_small_picture_is_not_enlarged() -> None:
    shown = preview(encoded(Image.new("RGB", (30, 20))), box=BOX)
    assert shown is not None
    assert shown.picture.size == (30, 20)


def test_a_picture_stands_as_its_orientation_says() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = Image.new("RGB", (400, 200), (0, 0, 255))
    lying.paste(
        (255, 0, 0), (0, 0, 100, 200)
    )  # the left end of the stored picture is the top of the shown one
    shown = preview(encoded(lying, exif=exif), box=BOX)
    assert shown is not None
    assert (shown.picture.size, shown.size) == ((45, 90), (200, 400))
    top = shown.picture.getpixel((22, 5))
    assert isinstance(top, tuple)
    assert top[0] > 200


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "I", "F"])
def test_every_mode_can_be_shown(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "TIFF"
    shown = preview(encoded(Image.new(mode, (40, 30)), kind), box=BOX)
    assert shown is not None
    assert shown.picture.mode in {"RGB", "RGBA"}


def test_transparency_is_kept() -> None:
    shown = preview(encoded(Image.new("RGBA", (40, 30), (9, 9, 9, 0)), "PNG"), box=BOX)
    assert shown is not None
    assert shown.picture.getpixel((3, 3)) == (9, 9, 9, 0)


def test_a_profile_that_is_no_profile_is_ignored() -> None:
    shown = preview(encoded(Image.new("RGB", (40, 30), (9, 99, 9)), "PNG", icc_profile=b"none"), box=BOX)
    assert shown is not None
    assert shown.picture.getpixel((3, 3)) == (9, 99, 9)


def test_a_good_profile_is_applied() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    shown = preview(encoded(Image.new("RGB", (40, 30), (9, 99, 9)), "PNG", icc_profile=profile), box=BOX)
    assert shown is not None
    assert shown.picture.getpixel((3, 3)) == (9, 99, 9)


def test_a_jpeg_that_was_cut_off_shows_what_there_is_of_it() -> None:
    whole = encoded(Image.effect_noise((300, 300), 90).convert("RGB"), quality=95)
    shown = preview(whole[: len(whole) // 2], box=BOX)
    assert shown is not None
    assert shown.size == (300, 300)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a picture",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    ],
    ids=["nothing", "text", "a program in PostScript", "a broken PNG"],
)
def test_what_cannot_be_opened_has_no_preview(content: bytes) -> None:
    assert preview(content, box=BOX) is None


def test_a_file_that_is_not_there_has_no_preview(tmp_path: Path) -> None:
    assert preview(tmp_path / "gone.jpg", box=BOX) is None


def test_a_picture_too_large_to_be_opened_lightly_has_no_preview() -> None:
    assert preview(encoded(Image.new("1", (12_000, 12_000)), "PNG"), box=BOX) is None


def test_the_ground_of_transparency_is_chequered() -> None:
    ground = checkered((50, 30), square=10)
    assert ground.size == (50, 30)
    assert ground.getpixel((0, 0)) == ground.getpixel((10, 10)) != ground.getpixel((10, 0))
