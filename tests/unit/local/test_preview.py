"""Previews of intact and damaged image files."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageCms

from worker.local.preview import checkered, preview

BOX = (120, 90)


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    content = BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_an_image_is_scaled_to_the_box_and_keeps_its_full_size(kind: str) -> None:
    shown = preview(encoded(Image.new("RGB", (800, 400), (200, 40, 40)), kind), box=BOX)
    assert shown is not None
    assert (shown.image.size, shown.size, shown.format) == ((120, 60), (800, 400), kind)
    assert shown.image.mode == "RGB"


def test_a_small_image_is_not_enlarged() -> None:
    shown = preview(encoded(Image.new("RGB", (30, 20))), box=BOX)
    assert shown is not None
    assert shown.image.size == (30, 20)


def test_the_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = Image.new("RGB", (400, 200), (0, 0, 255))
    lying.paste(
        (255, 0, 0), (0, 0, 100, 200)
    )  # the left end of the stored image is the top of the upright one
    shown = preview(encoded(lying, exif=exif), box=BOX)
    assert shown is not None
    assert (shown.image.size, shown.size) == ((45, 90), (200, 400))
    top = shown.image.getpixel((22, 5))
    assert isinstance(top, tuple)
    assert top[0] > 200


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "I", "F"])
def test_every_mode_can_be_shown(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "TIFF"
    shown = preview(encoded(Image.new(mode, (40, 30)), kind), box=BOX)
    assert shown is not None
    assert shown.image.mode in {"RGB", "RGBA"}


def test_transparency_is_kept() -> None:
    shown = preview(encoded(Image.new("RGBA", (40, 30), (9, 9, 9, 0)), "PNG"), box=BOX)
    assert shown is not None
    assert shown.image.getpixel((3, 3)) == (9, 9, 9, 0)


def test_an_invalid_colour_profile_is_ignored() -> None:
    shown = preview(encoded(Image.new("RGB", (40, 30), (9, 99, 9)), "PNG", icc_profile=b"none"), box=BOX)
    assert shown is not None
    assert shown.image.getpixel((3, 3)) == (9, 99, 9)


def test_a_valid_colour_profile_is_applied() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    shown = preview(encoded(Image.new("RGB", (40, 30), (9, 99, 9)), "PNG", icc_profile=profile), box=BOX)
    assert shown is not None
    assert shown.image.getpixel((3, 3)) == (9, 99, 9)


def test_a_truncated_jpeg_shows_the_part_that_exists() -> None:
    whole = encoded(Image.effect_noise((300, 300), 90).convert("RGB"), quality=95)
    shown = preview(whole[: len(whole) // 2], box=BOX)
    assert shown is not None
    assert shown.size == (300, 300)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    ],
    ids=["empty", "text", "PostScript", "damaged PNG"],
)
def test_a_file_that_cannot_be_opened_has_no_preview(content: bytes) -> None:
    assert preview(content, box=BOX) is None


def test_a_missing_file_has_no_preview(tmp_path: Path) -> None:
    assert preview(tmp_path / "gone.jpg", box=BOX) is None


def test_an_image_with_too_many_pixels_has_no_preview() -> None:
    assert preview(encoded(Image.new("1", (12_000, 12_000)), "PNG"), box=BOX) is None


def test_the_background_of_transparency_is_chequered() -> None:
    pattern = checkered((50, 30), square=10)
    assert pattern.size == (50, 30)
    assert pattern.getpixel((0, 0)) == pattern.getpixel((10, 10)) != pattern.getpixel((10, 0))
