import io
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.pictures import encoded, noise, quadrants
from worker.decoder_pool.rendition_files import InvalidRenditionError, check_rendition_file

EXTENT = (40, 25)
FILES: dict[str, tuple[str, bytes]] = {
    "JPEG": ("jpeg", encoded(noise(*EXTENT))),
    "progressive JPEG": ("jpeg", encoded(noise(*EXTENT), progressive=True, optimize=True, quality=95)),
    "grey JPEG": ("jpeg", encoded(noise(*EXTENT, mode="L"))),
    "PNG": ("png", encoded(noise(*EXTENT), "PNG")),
    "palette PNG": ("png", encoded(quadrants(*EXTENT, "P"), "PNG")),
    "lossy WebP": ("webp", encoded(noise(*EXTENT), "WEBP")),
    "transparent WebP": (
        "webp",
        encoded(noise(*EXTENT, mode="RGBA"), "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08"),
    ),
    "lossless WebP": ("webp", encoded(noise(*EXTENT), "WEBP", lossless=True)),
    "animated WebP": (
        "webp",
        encoded(noise(*EXTENT), "WEBP", save_all=True, append_images=[quadrants(*EXTENT)], duration=[9, 9]),
    ),
    "GIF": ("gif", encoded(noise(*EXTENT), "GIF")),
    "animated GIF": (
        "gif",
        encoded(noise(*EXTENT), "GIF", save_all=True, append_images=[quadrants(*EXTENT)], duration=[90, 90]),
    ),
    "animated PNG": (
        "png",
        encoded(noise(*EXTENT), "PNG", save_all=True, append_images=[quadrants(*EXTENT)], duration=[90, 90]),
    ),
    "AVIF": ("avif", encoded(noise(*EXTENT), "AVIF")),
    "animated AVIF": (
        "avif",
        encoded(noise(*EXTENT), "AVIF", save_all=True, append_images=[quadrants(*EXTENT)], duration=[90, 90]),
    ),
    "transparent AVIF": ("avif", encoded(noise(*EXTENT, mode="RGBA"), "AVIF")),
}
FORMATS = sorted({image_format for image_format, _ in FILES.values()})


def check(content: bytes, image_format: str, extent: tuple[int, int] = EXTENT) -> None:
    check_rendition_file(bytearray(content), image_format=image_format, extent=extent)


@pytest.mark.parametrize("name", FILES)
def test_what_an_encoder_writes_is_valid(name: str) -> None:
    image_format, content = FILES[name]

    check(content, image_format)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("extent", [(39, 25), (40, 24), (25, 40)], ids=str)
def test_other_dimensions_are_invalid(name: str, extent: tuple[int, int]) -> None:
    image_format, content = FILES[name]

    with pytest.raises(InvalidRenditionError, match="40x25 pixels in place of"):
        check(content, image_format, extent)


@pytest.mark.parametrize("name", FILES)
def test_another_format_is_invalid(name: str) -> None:
    image_format, content = FILES[name]

    for other in FORMATS:
        if other != image_format:
            with pytest.raises(InvalidRenditionError):
                check(content, other)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "appended",
    [b"<script>", b"\0", b"PK\x03\x04", FILES["JPEG"][1], FILES["PNG"][1], b"\xff\xd9", b";"],
    ids=["script", "byte", "ZIP", "JPEG", "PNG", "end of JPEG", "end of GIF"],
)
def test_anything_after_the_image_is_invalid(name: str, appended: bytes) -> None:
    image_format, content = FILES[name]

    with pytest.raises(InvalidRenditionError):
        check(content + appended, image_format)


@pytest.mark.parametrize("name", FILES)
def test_anything_before_the_image_is_invalid(name: str) -> None:
    image_format, content = FILES[name]

    with pytest.raises(InvalidRenditionError):
        check(b"<html>" + content, image_format)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_is_invalid(name: str) -> None:
    image_format, content = FILES[name]

    for length in range(len(content)):
        with pytest.raises(InvalidRenditionError):
            check(content[:length], image_format)


@given(st.sampled_from(FORMATS), st.binary(max_size=200))
def test_any_bytes_are_invalid_without_another_error(image_format: str, content: bytes) -> None:
    with pytest.raises(InvalidRenditionError):
        check(content, image_format)


@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_changed_file_is_valid_or_invalid_without_another_error(name: str, data: Any) -> None:
    image_format, content = FILES[name]
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        check(bytes(changed), image_format)
    except InvalidRenditionError:
        return


def test_a_simple_webp_of_no_or_two_images_is_invalid() -> None:
    image = FILES["lossy WebP"][1][12:]
    for images in (b"", image * 2, image * 3):
        content = b"RIFF" + (len(images) + 4).to_bytes(4, "little") + b"WEBP" + images

        with pytest.raises(InvalidRenditionError, match="WebP"):
            check(content, "webp")


def test_a_frame_outside_the_canvas_of_a_png_is_invalid() -> None:
    content = encoded(noise(*EXTENT), "PNG", save_all=True, append_images=[quadrants(*EXTENT)])
    check(content, "png")
    at = content.rindex(b"fcTL") + 8
    wide = content[:at] + (EXTENT[0] + 1).to_bytes(4) + content[at + 4 :]

    with pytest.raises(InvalidRenditionError, match="extent of a PNG frame"):
        check(wide, "png")


def test_a_track_of_another_extent_is_invalid_in_an_avif() -> None:
    content = encoded(noise(*EXTENT), "AVIF", save_all=True, append_images=[quadrants(*EXTENT)])
    check(content, "avif")
    at = content.index(b"tkhd") - 4
    end = at + int.from_bytes(content[at : at + 4])
    other = content[: end - 8] + (EXTENT[0] + 1).to_bytes(2) + content[end - 6 :]

    with pytest.raises(InvalidRenditionError, match="different extents"):
        check(other, "avif")


def test_a_frame_outside_its_canvas_is_invalid() -> None:
    file = io.BytesIO(FILES["animated GIF"][1])
    with Image.open(file) as image:
        assert image.size == EXTENT
    changed = bytearray(file.getvalue())
    changed[6:10] = (20).to_bytes(2, "little") * 2

    with pytest.raises(InvalidRenditionError, match="extent of a GIF frame"):
        check(bytes(changed), "gif", (20, 20))


GIF_SCREEN = b"GIF89a\x28\0\x19\0\0\0\0"
PNG_HEADER = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x28\0\0\0\x19\x08\2\0\0\0" + bytes(4)
WEBP_HEADER = b"RIFF" + (8_000_022).to_bytes(4, "little") + b"WEBPVP8X\x0a\0\0\0" + bytes(10)
BOMBS = {
    "GIF of blocks of one byte": (
        "gif",
        GIF_SCREEN + b"\x2c\0\0\0\0\x28\0\x19\0\0\x08" + b"\1\0" * 5_000_000,
    ),
    "GIF of empty extensions": ("gif", GIF_SCREEN + b"\x21\xfe\0" * 5_000_000),
    "PNG of empty chunks": ("png", PNG_HEADER + (bytes(4) + b"IDAT" + bytes(4)) * 1_000_000),
    "JPEG of empty segments": ("jpeg", b"\xff\xd8" + b"\xff\xe1\0\2" * 3_000_000),
    "AVIF of empty boxes": ("avif", b"\0\0\0\x0cftypavif" + b"\0\0\0\x08free" * 1_000_000),
    "WebP of empty chunks": ("webp", WEBP_HEADER + b"EXIF\0\0\0\0" * 1_000_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_of_very_many_parts_is_rejected_quickly(name: str) -> None:
    image_format, content = BOMBS[name]

    started = time.process_time()
    with pytest.raises(InvalidRenditionError):
        check(content, image_format)

    assert time.process_time() - started < 0.5
