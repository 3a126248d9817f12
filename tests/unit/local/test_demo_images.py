"""The pictures that the demo makes for itself."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageStat

from worker.local import demo_images as maker
from worker.local.demo_images import BROKEN, generate


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.name: path for path in generate(tmp_path_factory.mktemp("demo") / "made")}


def test_a_dozen_pictures_in_many_formats_are_made(pictures: dict[str, Path]) -> None:
    assert len(pictures) >= 12
    formats = set()
    for path in pictures.values():
        with Image.open(path) as picture:
            formats.add(picture.format)
    assert formats == {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"}


def test_all_but_the_broken_one_are_whole(pictures: dict[str, Path]) -> None:
    for name, path in pictures.items():
        with Image.open(path) as picture:
            if name == BROKEN:
                with pytest.raises(OSError, match="truncated"):
                    picture.load()
            else:
                picture.load()


def test_every_kind_that_gives_workers_trouble_is_among_them(pictures: dict[str, Path]) -> None:
    kinds = {}
    for name, path in pictures.items():
        with Image.open(path) as picture:
            kinds[name] = (picture.mode, bool(picture.info.get("progressive")))
    assert kinds["lake-in-grey.jpg"] == ("L", False)
    assert kinds["tulips-for-print-cmyk.jpg"] == ("CMYK", False)
    assert kinds["balloon-transparent.png"] == ("RGBA", False)
    assert kinds["city-lights.gif"] == ("P", False)
    assert kinds["sea-at-sunset-progressive.jpg"] == ("RGB", True)


def test_the_phone_s_picture_lies_on_its_side_and_tells_where_it_was_taken(pictures: dict[str, Path]) -> None:
    with Image.open(pictures["forest-from-a-phone.jpg"]) as picture:
        exif = picture.getexif()
        assert picture.width > picture.height
    assert exif[ExifTags.Base.Orientation] == 6
    assert exif[ExifTags.Base.Model] == "Acme Phone 12"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (47.0, 33.0, 24.5)


def test_the_balloon_is_solid_and_its_surroundings_are_not(pictures: dict[str, Path]) -> None:
    with Image.open(pictures["balloon-transparent.png"]) as picture:
        alpha = picture.getchannel("A")
        assert alpha.getpixel((0, 0)) == 0
        assert alpha.getpixel((picture.width // 2, picture.height // 3)) == 255


def test_no_picture_is_flat(pictures: dict[str, Path]) -> None:
    for name, path in pictures.items():
        if name != BROKEN:
            with Image.open(path) as picture:
                assert ImageStat.Stat(picture.convert("L")).stddev[0] > 20, name


def digests(paths: Iterable[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_same_seed_gives_the_same_pictures(pictures: dict[str, Path], tmp_path: Path) -> None:
    assert digests(generate(tmp_path)) == digests(pictures.values())


def test_another_seed_gives_another_picture(
    pictures: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small,) = (one for one in maker._PRINTS if one.name == "stamp-sized-sea.png")
    monkeypatch.setattr(maker, "_PRINTS", (small,))
    other = digests(generate(tmp_path, seed=8))
    assert other.keys() == {small.name}
    assert other[small.name] != digests(pictures.values())[small.name]
