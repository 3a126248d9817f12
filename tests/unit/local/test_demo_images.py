"""The images of a demo without images of the user's own."""

from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageStat

from worker.imaging.colour import profile_name
from worker.local.demo_images import BUNDLED, TRUNCATED_NAME, bundled_image, write_demo_images


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.name: path for path in write_demo_images(tmp_path_factory.mktemp("demo") / "created")}


def test_more_than_a_dozen_images_in_seven_formats_are_written(images: dict[str, Path]) -> None:
    assert len(images) >= 14
    formats = set()
    for path in images.values():
        with Image.open(path) as image:
            formats.add(image.format)
    assert formats == {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIF"}


def test_all_but_the_truncated_image_can_be_decoded(images: dict[str, Path]) -> None:
    for name, path in images.items():
        with Image.open(path) as image:
            if name == TRUNCATED_NAME:
                with pytest.raises(OSError, match="truncated"):
                    image.load()
            else:
                image.load()


def test_the_modes_and_encodings_that_need_care_are_among_them(images: dict[str, Path]) -> None:
    kinds = {}
    for name, path in images.items():
        with Image.open(path) as image:
            kinds[name] = (image.mode, bool(image.info.get("progressive")))
    assert kinds["lake-in-grey.jpg"] == ("L", False)
    assert kinds["tulips-for-print-cmyk.jpg"] == ("CMYK", False)
    assert kinds["forest-transparent.png"] == ("RGBA", False)
    assert kinds["tulips-palette.png"] == ("P", False)
    assert kinds["sea-at-sunset-progressive.jpg"] == ("RGB", True)


def test_the_heic_is_as_phones_write_it(images: dict[str, Path]) -> None:
    with Image.open(images["sea-from-an-iphone.heic"]) as image:
        assert image.size == (3024, 4032)
        assert image.info["tiling"]["tile_width"] == 512
        assert profile_name(image.info["icc_profile"]) == "Display P3"
        assert image.info["original_orientation"] != 1
        assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)


def test_the_gif_is_animated(images: dict[str, Path]) -> None:
    with Image.open(images["sea-animated.gif"]) as image:
        assert getattr(image, "n_frames", 1) == 8
        first = image.convert("RGB").tobytes()
        image.seek(7)
        assert image.convert("RGB").tobytes() != first


def test_the_image_from_a_phone_is_stored_rotated_and_holds_its_location(images: dict[str, Path]) -> None:
    with Image.open(images["forest-from-a-phone.jpg"]) as image:
        exif = image.getexif()
        assert image.width > image.height
    assert exif[ExifTags.Base.Orientation] == 6
    assert exif[ExifTags.Base.Model] == "Acme Phone 12"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (47.0, 33.0, 24.5)


def test_the_transparent_image_is_opaque_in_its_centre_only(images: dict[str, Path]) -> None:
    with Image.open(images["forest-transparent.png"]) as image:
        alpha = image.getchannel("A")
        assert alpha.getpixel((0, 0)) == 0
        assert alpha.getpixel((image.width // 2, image.height // 2)) == 255


def test_no_image_is_flat(images: dict[str, Path]) -> None:
    for name, path in images.items():
        if name != TRUNCATED_NAME:
            with Image.open(path) as image:
                assert ImageStat.Stat(image.convert("L")).stddev[0] > 20, name


def test_every_call_writes_the_same_images(images: dict[str, Path], tmp_path: Path) -> None:
    again = {path.name: path.read_bytes() for path in write_demo_images(tmp_path)}
    assert again == {name: path.read_bytes() for name, path in images.items()}


def test_the_bundled_images_are_large_enough_to_be_resized_and_take_less_than_1_mb_together() -> None:
    files = list(BUNDLED.glob("*.jpg"))
    assert len(files) == 5
    assert sum(file.stat().st_size for file in files) < 1_000_000
    assert all(min(bundled_image(file.stem).size) >= 800 for file in files)
