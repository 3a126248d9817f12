import struct
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, TiffTags
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


XMP_RIGHTS = (
    '<photoshop:Credit xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">Agentur Blick</photoshop:Credit>'
    '<r:UsageTerms xmlns:r="http://ns.adobe.com/xap/1.0/rights/"><rdf:Alt>'
    '<rdf:li xml:lang="de">Nur redaktionell</rdf:li><rdf:li xml:lang="x-default">Editorial use only</rdf:li>'
    "</rdf:Alt></r:UsageTerms><r:WebStatement"
    ' xmlns:r="http://ns.adobe.com/xap/1.0/rights/">https://example.com/terms</r:WebStatement>'
)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_credit_line_and_the_terms_of_use_follow_the_copyright(image_format: str) -> None:
    content = encoded_with_xmp(xmp_packet(RIGHTS + XMP_RIGHTS), image_format)
    notice = "© Zoë; Agentur Blick; Editorial use only; https://example.com/terms"
    assert credits_in(content) == {B.Artist: "Zoë; Jan", B.Copyright: notice}


def test_properties_of_the_xmp_may_be_attributes() -> None:
    packet = xmp_packet("").replace(
        b"<rdf:Description",
        '<rdf:Description xmlns:p="http://ns.adobe.com/photoshop/1.0/" p:Credit="Bild: Zoë"'.encode(),
    )
    assert credits_in(encoded_with_xmp(packet, "JPEG")) == {B.Copyright: "Bild: Zoë"}


def test_a_credit_that_the_copyright_contains_is_not_repeated() -> None:
    exif = Image.Exif()
    exif[B.Copyright] = "© 2026 Agentur Blick, Editorial use only".encode()
    content = encoded(quadrants(64, 48), xmp=xmp_packet(XMP_RIGHTS), exif=exif)
    assert credits_in(content)[B.Copyright] == (
        "© 2026 Agentur Blick, Editorial use only; https://example.com/terms"
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_an_xmp_packet_may_have_another_encoding(encoding: str) -> None:
    packet = xmp_packet(RIGHTS).decode().replace('<?xpacket begin=""', "<?xpacket begin=''").encode(encoding)
    kept = extract_credits(Image.Exif(), packet)
    assert "© Zoë".encode() in kept


def iim(*datasets: tuple[int, int, bytes]) -> bytes:
    return b"".join(
        bytes((0x1C, record, number)) + len(value).to_bytes(2) + value for record, number, value in datasets
    )


def iptc_credits(encoding: str) -> bytes:
    return iim(
        (1, 90, b"\x1b%G" if encoding == "utf-8" else b""),
        (2, 80, "Zoë".encode(encoding)),
        (2, 80, b"Jan"),
        (2, 110, "Agentur Süd".encode(encoding)),
        (2, 116, "© Zoë".encode(encoding)),
    )


def with_iptc(iptc: bytes, image_format: str, **options: Any) -> bytes:
    if image_format == "TIFF":
        return encoded(quadrants(64, 48), "TIFF", tiffinfo={33723: iptc}, **options)
    resource = b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4) + iptc + bytes(len(iptc) % 2)
    body = b"Photoshop 3.0\0" + resource
    content = encoded(quadrants(64, 48), "JPEG", **options)
    return content[:2] + b"\xff\xed" + (2 + len(body)).to_bytes(2) + body + content[2:]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_by_line_copyright_and_credit_of_the_iptc_are_kept(image_format: str, encoding: str) -> None:
    content = with_iptc(iptc_credits(encoding), image_format)
    assert credits_in(content) == {B.Artist: "Zoë; Jan", B.Copyright: "© Zoë; Agentur Süd"}


def test_iptc_stored_as_numbers_is_read() -> None:
    iptc = iptc_credits("utf-8")
    iptc += bytes(-len(iptc) % 4)
    content = with_iptc(iptc, "TIFF")
    entry = struct.pack("<HHI", 33723, TiffTags.BYTE, len(iptc))
    numbers = struct.pack("<HHI", 33723, TiffTags.LONG, len(iptc) // 4)
    entry = entry if entry in content else struct.pack("<HHI", 33723, TiffTags.UNDEFINED, len(iptc))
    assert content.count(entry) == 1
    assert credits_in(content.replace(entry, numbers))[B.Artist] == "Zoë; Jan"


def test_exif_goes_before_xmp_and_xmp_before_iptc_for_each_credit() -> None:
    exif = Image.Exif()
    exif[B.Artist] = b"From EXIF"
    only_rights = '<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">From XMP</rdf:li></rdf:Alt></dc:rights>'
    content = with_iptc(iptc_credits("utf-8"), "JPEG", exif=exif, xmp=xmp_packet(only_rights))
    assert credits_in(content) == {B.Artist: "From EXIF", B.Copyright: "From XMP; Agentur Süd"}


def test_no_credits_are_kept_where_the_setting_forbids_it() -> None:
    content = with_iptc(iptc_credits("utf-8"), "JPEG", xmp=xmp_packet(RIGHTS + XMP_RIGHTS))
    recipe = Recipe(sizes=(Size("m", 80, 60),), watermark=None, keep_credits=False)
    *_, rendition = process(content, recipe, limits=Limits(), fonts=Fonts(()))
    assert isinstance(rendition, EncodedRendition)
    assert not opened(rendition.content).getexif()


@given(st.binary(max_size=200), st.integers(0, 80))
def test_iptc_and_xmp_of_any_content_are_read_or_ignored(noise: bytes, at: int) -> None:
    iptc, packet = bytearray(iptc_credits("utf-8")), bytearray(xmp_packet(RIGHTS))
    iptc[at : at + len(noise)] = noise
    packet[5 * at : 5 * at + len(noise)] = noise
    assert len(extract_credits(Image.Exif(), bytes(packet), bytes(iptc))) < 2000


@pytest.mark.parametrize(
    ("packet", "iptc"),
    [
        (xmp_packet("<dc:rights>" * 11_000 + "</dc:rights>" * 11_000), b""),
        (xmp_packet("<dc:creator>" + "<rdf:li>" * 13_000 + "</rdf:li>" * 13_000 + "</dc:creator>"), b""),
        (xmp_packet("<dc:rights>" + "x" * 260_000 + "</dc:rights>"), b""),
        (b"", iim((2, 80, b"")) * 100_000),
        (b"", b"\x1c\x02\x50\x80\x04\xff\xff\xff\xff" + b"x" * 1000),
        (b"", b"\x1c\x02\x50\xff\xff" + b"x" * 100_000),
    ],
    ids=[
        "nested rights",
        "nested items",
        "long rights",
        "datasets",
        "absurd length",
        "absurd length of length",
    ],
)
def test_hostile_credits_take_little_time(packet: bytes, iptc: bytes) -> None:
    start = time.process_time()
    assert len(extract_credits(Image.Exif(), packet, iptc)) < 1000
    assert time.process_time() - start < 1


def encoded_with_xmp(packet: bytes, image_format: str) -> bytes:
    if image_format == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        return encoded(quadrants(64, 48), "PNG", pnginfo=text)
    if image_format == "TIFF":
        return encoded(quadrants(64, 48), "TIFF", tiffinfo={700: packet})
    return encoded(quadrants(64, 48), image_format, xmp=packet)
