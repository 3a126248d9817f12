import pytest

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
        (b"8BPS\0\x01", "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="">', "SVG"),
        (b"<svg>", "SVG"),
        (b"II*\0\x10\0\0\0CR\x02\0", "Canon raw"),
        (b"P6\n3 3\n255\n", "portable pixmap"),
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
        b"%PDF-1.7",
        b"\0\0\0\x18ftypmp42\0\0\0\0",
        b"RIFF\x10\0\0\0WAVEfmt ",
        b"<html><body><svg></svg></body></html>",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    ],
)
def test_files_that_are_not_images_are_not_identified(head: bytes) -> None:
    assert identify(head) is None


def test_any_type_of_buffer_is_accepted() -> None:
    content = encoded(quadrants(), "TIFF")
    assert {identify(content), identify(bytearray(content)), identify(memoryview(content))} == {"tiff"}
