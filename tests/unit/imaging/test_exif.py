from typing import Any

import pytest
from PIL import ExifTags, Image

from tests.support.pictures import encoded, opened, quadrants, with_exif
from worker.domain.recipe import Limits, Recipe, Size
from worker.domain.step import EncodedRendition
from worker.imaging.exif import extract_metadata
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process
from worker.imaging.validate import validate

B = ExifTags.Base


def metadata_of(content: bytes) -> dict[str, str]:
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
def test_the_camera_is_make_and_model_without_repetition(make: str, model: str, camera: str) -> None:
    assert metadata_of(with_exif({B.Make: make, B.Model: model})) == {"camera": camera}


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
def test_the_time_taken_is_in_iso_8601_or_missing(details: dict[int, Any], taken_at: str | None) -> None:
    assert metadata_of(with_exif({}, details)).get("takenAt") == taken_at


def test_the_location_is_not_recorded_by_default() -> None:
    exif = Image.Exif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "N", (47.0, 22.0, 10.0)
    assert metadata_of(encoded(quadrants(64, 48), exif=exif)) == {}


GPS = {1: "S", 2: (33.0, 51.0, 25.2), 3: "E", 4: (151.0, 12.0, 36.0)}


def metadata_with_location(gps: dict[int, Any]) -> dict[str, str]:
    exif = Image.Exif()
    exif[B.Make] = "Camera"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    metadata = dict(extract_metadata(exif, with_location=True))
    assert metadata.pop("camera") == "Camera"
    return metadata


def test_the_location_is_recorded_where_the_setting_allows_it() -> None:
    assert metadata_with_location(GPS) == {"location": "-33.85700, 151.21000"}


@pytest.mark.parametrize(
    "change",
    [{2: (91.0, 0.0, 0.0)}, {2: (1.0, 2.0)}, {4: "here"}, {4: (float("nan"), 0.0, 0.0)}, {2: b"\0\0\0"}],
)
def test_an_invalid_location_is_not_recorded(change: dict[int, Any]) -> None:
    assert metadata_with_location(GPS | change) == {}


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({B.ExposureTime: 1 / 120, B.FNumber: 1.8, B.ISOSpeedRatings: 100}, "1/120 s, f/1.8, ISO 100"),
        ({B.ExposureTime: 2.5, B.FocalLength: 26.0}, "2.5 s, 26 mm"),
        ({B.ExposureTime: 0.0, B.FNumber: 0.0, B.ISOSpeedRatings: 0}, None),
    ],
)
def test_the_exposure_is_recorded_as_cameras_show_it(details: dict[int, Any], expected: str | None) -> None:
    assert metadata_of(with_exif({}, details)).get("exposure") == expected


def test_the_lens_is_recorded() -> None:
    assert metadata_of(with_exif({}, {B.LensModel: "50mm f/1.4"}))["lens"] == "50mm f/1.4"


def test_renditions_keep_only_artist_and_copyright() -> None:
    exif = Image.Exif()
    exif.update({B.Artist: "Jane Doe", B.Copyright: "\N{COPYRIGHT SIGN} 2026 Jane Doe", B.Make: "Secret"})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(GPS)
    for image_format in ("JPEG", "PNG", "WEBP", "AVIF"):
        content = encoded(quadrants(64, 48), image_format, exif=exif)
        for keep in (True, False):
            recipe = Recipe(sizes=(Size("m", 80, 60),), watermark=None, keep_credits=keep)
            *_, rendition = process(content, recipe, limits=Limits(), fonts=Fonts(()))
            assert isinstance(rendition, EncodedRendition)
            kept = opened(rendition.content).getexif()
            assert set(kept) == ({B.Artist, B.Copyright} if keep else set())
            assert not kept.get_ifd(ExifTags.IFD.GPSInfo)
            assert b"Secret" not in bytes(rendition.content)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0" + b"\xff" * 400])
def test_damaged_exif_does_not_make_an_image_invalid(exif: bytes) -> None:
    assert metadata_of(encoded(quadrants(64, 48), exif=exif)) == {}
