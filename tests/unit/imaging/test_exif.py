from typing import Any

import pytest
from PIL import ExifTags, Image

from tests.pictures import encoded, scene, with_exif
from worker.domain.recipe import Limits, Size
from worker.imaging.validate import validate

B = ExifTags.Base


def told(content: bytes) -> dict[str, str]:
    _, note = validate(content, limits=Limits(), sizes=(Size("medium", 800, 600),))
    return dict(note.metadata)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON", "Nikon Z6", "Nikon Z6"),
        ("", "FC330", "FC330"),
        ("DJI", "", "DJI"),
        ("Ap\0ple\n", "\x01iPhone\x7f", "Ap ple iPhone"),
        ("M" * 80, "n" * 80, "M" * 80 + " " + "n" * 19),
    ],
)
def test_the_camera_is_make_and_model_without_repeating(make: str, model: str, camera: str) -> None:
    assert told(with_exif({B.Make: make, B.Model: model})) == {"camera": camera}


@pytest.mark.parametrize(
    ("details", "taken_at"),
    [
        ({B.DateTimeOriginal: "2024:01:02 03:04:05"}, "2024-01-02T03:04:05"),
        (
            {B.DateTimeOriginal: "2024:01:02 03:04:05", B.OffsetTimeOriginal: "+03:00"},
            "2024-01-02T03:04:05+03:00",
        ),
        ({B.DateTimeOriginal: "2024:01:02 03:04:05", B.OffsetTimeOriginal: "east"}, "2024-01-02T03:04:05"),
        ({B.DateTimeDigitized: "2023:12:31 23:59:59"}, "2023-12-31T23:59:59"),
        ({B.DateTimeOriginal: "0000:00:00 00:00:00"}, None),
        ({B.DateTimeOriginal: "2024:13:45 99:99:99"}, None),
        ({B.DateTimeOriginal: 20240102}, None),
    ],
)
def test_the_time_is_iso_or_absent(details: dict[int, Any], taken_at: str | None) -> None:
    assert told(with_exif({}, details)).get("takenAt") == taken_at


def test_the_place_is_never_told() -> None:
    exif = Image.Exif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "N", (47.0, 22.0, 10.0)
    assert told(encoded(scene(64, 48), exif=exif)) == {}


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0" + b"\xff" * 400])
def test_a_picture_is_valid_whatever_its_exif(exif: bytes) -> None:
    assert told(encoded(scene(64, 48), exif=exif)) == {}
