from typing import Any

import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from tests.support.pictures import encoded, opened, quadrants, with_exif
from worker.domain.recipe import Limits, OutputFormat, Recipe, Size
from worker.domain.step import EncodedRendition
from worker.imaging.exif import extract_credits, extract_metadata
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


def credits_in(content: bytes, output: OutputFormat = OutputFormat.JPEG) -> dict[int, str]:
    """Return the artist and copyright of the rendition, decoded as UTF-8."""
    recipe = Recipe(sizes=(Size("m", 80, 60, format=output),), watermark=None)
    *_, rendition = process(content, recipe, limits=Limits(), fonts=Fonts(()))
    assert isinstance(rendition, EncodedRendition)
    kept = opened(rendition.content).getexif()
    return {tag: kept[tag].encode("latin-1").decode() for tag in kept}


CARRYING_EXIF = {OutputFormat.JPEG, OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF}
NOTICE = "\N{COPYRIGHT SIGN} 2024 Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}"


@pytest.mark.parametrize("output", sorted(set(OutputFormat) & CARRYING_EXIF))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_copyright_that_is_not_ascii_is_kept(
    image_format: str, encoding: str, output: OutputFormat
) -> None:
    exif = Image.Exif()
    exif[B.Copyright] = NOTICE.encode(encoding)
    content = encoded(quadrants(64, 48), image_format, exif=exif)
    assert credits_in(content, output) == {B.Copyright: NOTICE}


def test_the_typographic_characters_of_western_code_pages_are_kept() -> None:
    assert credits_in(with_exif({B.Artist: "“Zoë” 9 €".encode("cp1252")})) == {B.Artist: "“Zoë” 9 €"}


def test_a_copyright_in_any_script_is_kept() -> None:
    assert credits_in(with_exif({B.Artist: "Фото 写真 📷".encode()})) == {B.Artist: "Фото 写真 📷"}


def test_a_camera_that_is_not_ascii_is_recorded() -> None:
    assert metadata_of(with_exif({B.Model: "Größe ß".encode()})) == {"camera": "Größe ß"}
    assert metadata_of(with_exif({B.Model: "Größe ß".encode("latin-1")})) == {"camera": "Größe ß"}


def xmp_packet(properties: str) -> bytes:
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/">'
        f'{properties}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


RIGHTS = (
    '<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">© Zoë</rdf:li><rdf:li xml:lang="de">© die Zoë</rdf:li>'
    "</rdf:Alt></dc:rights><dc:creator><rdf:Seq><rdf:li>Zoë</rdf:li><rdf:li>Jan</rdf:li></rdf:Seq></dc:creator>"
)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_rights_and_creators_of_the_xmp_are_kept_where_there_is_no_exif(image_format: str) -> None:
    content = encoded_with_xmp(xmp_packet(RIGHTS), image_format)
    assert credits_in(content) == {B.Artist: "Zoë; Jan", B.Copyright: "© Zoë"}


def test_the_exif_goes_before_the_xmp() -> None:
    exif = Image.Exif()
    exif[B.Copyright] = "EXIF"
    content = encoded(quadrants(64, 48), xmp=xmp_packet(RIGHTS), exif=exif)
    assert credits_in(content) == {B.Artist: "Zoë; Jan", B.Copyright: "EXIF"}


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "packet",
    [b"<", b"\xff\xfe", BOMB + xmp_packet(RIGHTS), xmp_packet(RIGHTS + " " * 300_000), xmp_packet("&b;")],
    ids=["cut", "not text", "entities", "too large", "unknown entity"],
)
def test_an_xmp_packet_that_cannot_be_read_is_ignored(packet: bytes) -> None:
    assert extract_credits(Image.Exif(), packet) == b""


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_the_orientation_of_the_xmp_is_ignored_as_in_browsers(image_format: str) -> None:
    packet = xmp_packet("<tiff:Orientation>6</tiff:Orientation>")
    decoded, _ = validate(
        encoded_with_xmp(packet, image_format), limits=Limits(), sizes=(Size("medium", 800, 600),)
    )
    assert (decoded.orientation, decoded.original) == (1, (64, 48))


def test_an_orientation_in_the_text_of_a_png_is_ignored_as_in_browsers() -> None:
    exif = Image.Exif()
    exif[B.Orientation] = 6
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes())}\n{exif.tobytes().hex()}")
    content = encoded(quadrants(64, 48), "PNG", pnginfo=text)
    decoded, _ = validate(content, limits=Limits(), sizes=(Size("medium", 800, 600),))
    assert decoded.orientation == 1


def encoded_with_xmp(packet: bytes, image_format: str) -> bytes:
    if image_format == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        return encoded(quadrants(64, 48), "PNG", pnginfo=text)
    return encoded(quadrants(64, 48), image_format, xmp=packet)
