import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pictures import encoded, quadrants
from worker.imaging.signatures import identify


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_each_allowed_format_is_identified_by_its_content(image_format: str) -> None:
    assert identify(encoded(quadrants(), image_format)) == image_format.lower()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0heic", "heic"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "avif"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1miafavif", "avif"),
        (b"\0\0\x01\0\x01\0\x10\x10", "icon"),
        (b"8BPS\0\x01", "Photoshop document"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="">', "SVG"),
        (b"<svg>", "SVG"),
        (b"II*\0\x10\0\0\0CR\x02\0", "Canon camera raw"),
        (b"P6\n3 3\n255\n", "portable pixmap"),
        (b"IIRO\x08\0\0\0", "Olympus camera raw"),
        (b"IIU\0\x18\0\0\0", "Panasonic camera raw"),
        (b"FUJIFILMCCD-RAW 0201", "Fujifilm camera raw"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "Canon camera raw"),
        (b"\xff\xd8\xff\xf7\0\x0b\x08", "JPEG-LS"),
        (b"%PDF-1.7", "PDF"),
        (b"\n\n%PDF-1.4", "PDF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "MP4 video"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "MP4 video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "QuickTime video"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "QuickTime video"),
        (b"\x1aE\xdf\xa3\x9fB\x86", "Matroska or WebM video"),
        (b"RIFF\x10\0\0\0AVI LIST", "AVI video"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "WAV audio"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avci", "HEIF with H.264"),
        (b"\x1f\x8b\x08\0\0\0", "gzip"),
        (b"PK\x03\x04\x14\0", "zip archive"),
        (b"<!DOCTYPE html><html><svg></svg></html>", "HTML page"),
        (b"<html><body><svg></svg></body></html>", "HTML page"),
        (b'<?xml version="1.0"?><kml></kml>', "XML document"),
    ],
)
def test_other_image_formats_are_identified_by_name(head: bytes, expected: str) -> None:
    assert identify(head) == expected


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0",
        b"hello, world",
        b"BMW sales figures, third quarter of the year",
        b"The free encyclopedia",
        b"GIF is pronounced in two ways",
        b"<notes",
        b"ID",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    ],
)
def test_files_that_are_not_images_are_not_identified(head: bytes) -> None:
    assert identify(head) is None


def test_any_type_of_buffer_is_accepted() -> None:
    content = encoded(quadrants(), "TIFF")
    assert {identify(content), identify(bytearray(content)), identify(memoryview(content))} == {"tiff"}


SVG = "<svg:svg xmlns:svg='http://www.w3.org/2000/svg'/>"
ENTITIES = "<!DOCTYPE svg [" + 200 * "<!ENTITY name 'value'> " + "]>"


@pytest.mark.parametrize(
    "content",
    [
        f"<!-- {'a long comment ' * 500}-->{SVG}".encode(),
        f'<?xml version="1.0"?>\n{ENTITIES}\n{SVG}'.encode(),
        f"\ufeff {SVG}".encode(),
        SVG.encode("utf-16"),
    ],
    ids=["long comment", "entities", "byte order mark", "UTF-16"],
)
def test_an_svg_is_identified_in_every_form(content: bytes) -> None:
    assert identify(content) == "SVG"


def jpeg_with_frame(marker: int, *, bits: int = 8, channels: int = 3) -> bytes:
    """Return the start of a JPEG whose frame has this marker, after some other segments and padding."""
    frame = bytes([0xFF, marker, 0, 8 + 3 * channels, bits, 0, 16, 0, 16, channels]) + 3 * channels * b"\1"
    return b"\xff\xd8\xff\xe0\0\x06JFIF\xff\xff\xfe\0\x04hi" + frame


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (jpeg_with_frame(0xC0), "jpeg"),
        (jpeg_with_frame(0xC2, channels=1), "jpeg"),
        (jpeg_with_frame(0xC9, channels=4), "jpeg"),
        (jpeg_with_frame(0xC1, bits=12), "12-bit JPEG"),
        (jpeg_with_frame(0xC2, bits=12), "12-bit JPEG"),
        (jpeg_with_frame(0xC3), "lossless JPEG"),
        (jpeg_with_frame(0xCB), "lossless JPEG"),
        (jpeg_with_frame(0xC5), "hierarchical JPEG"),
        (jpeg_with_frame(0xC0, channels=2), "JPEG with 2 channels"),
        (jpeg_with_frame(0xC0)[:30], "jpeg"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"\xff\xd8\xff\xe0\xff\xff", "jpeg"),
    ],
)
def test_kinds_of_jpeg_that_are_not_decoded_are_named(content: bytes, expected: str) -> None:
    assert identify(content) == expected


@given(head=st.binary(max_size=300))
def test_any_bytes_can_be_identified(head: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"<", b"\xff\xfe<\0", b"\0\0\0\x18ftyp"):
        assert identify(start + head) != ""
