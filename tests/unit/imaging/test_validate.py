import gzip
import io
import struct
import zlib
from dataclasses import replace

import pillow_heif
import pytest
from PIL import Image

from tests.support.jpegs import flat_jpeg
from tests.support.pictures import animation, encoded, noise, quadrants, stored_as
from worker.domain.errors import (
    CorruptError,
    FormatNotAllowedError,
    NotAnImageError,
    RejectedError,
    TooManyBytesError,
    TooManyFramesError,
    TooManyPixelsError,
    TooSmallError,
    TruncatedError,
)
from worker.domain.recipe import Animation, Limits, Size
from worker.imaging.picture import DecodedUpload, StepNote
from worker.imaging.validate import validate

MEDIUM = Size("medium", 800, 600)
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"]


def validated(
    content: bytes,
    *,
    limits: Limits | None = None,
    size: Size = MEDIUM,
    animation: Animation = Animation.FIRST,
) -> tuple[DecodedUpload, StepNote]:
    return validate(content, limits=limits or Limits(), sizes=(size,), animation=animation)


def png_announcing(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (("IHDR", header), ("IDAT", zlib.compress(b"")), ("IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind.encode(), body) for kind, body in parts)


@pytest.mark.parametrize("image_format", FORMATS)
def test_an_image_of_each_format_is_valid(image_format: str) -> None:
    decoded, note = validated(encoded(quadrants(), image_format))
    assert decoded.original == (640, 400)
    assert note.detail["result"] == "valid"
    assert note.detail["format"] == image_format.lower()
    assert note.detail["frames"] == 1


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_file_that_is_not_an_image_is_rejected(content: bytes) -> None:
    with pytest.raises(NotAnImageError):
        validated(content)


def test_an_empty_file_is_rejected_as_empty() -> None:
    with pytest.raises(NotAnImageError, match="the file is empty"):
        validated(b"")


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (gzip.compress(b"<svg/>", mtime=0), "Content-Encoding: gzip"),
        (b"IIRO\x08\0\0\0", "export it as JPEG or TIFF"),
    ],
)
def test_a_file_of_an_unsupported_kind_is_rejected_with_what_to_do(content: bytes, hint: str) -> None:
    with pytest.raises(FormatNotAllowedError, match=hint):
        validated(content)


def test_a_png_without_its_palette_is_corrupt() -> None:
    content = encoded(quadrants(64, 48).quantize(4), "PNG")
    start = content.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4])
    with pytest.raises(CorruptError, match="palette is missing"):
        validated(content[:start] + content[end:])


@pytest.mark.parametrize(("image_format", "name"), [("ICO", "icon"), ("PPM", "portable pixmap")])
def test_an_image_of_another_format_is_rejected_with_its_name(image_format: str, name: str) -> None:
    with pytest.raises(FormatNotAllowedError) as rejected:
        validated(encoded(quadrants(64, 64), image_format))
    assert rejected.value.found == name
    assert "jpeg" in str(rejected.value)


@pytest.mark.parametrize(
    "content", [encoded(quadrants(), "WEBP"), encoded(quadrants(), "JPEG"), png_announcing(640, 400)]
)
def test_too_many_pixels_in_the_header_are_rejected(content: bytes) -> None:
    with pytest.raises(TooManyPixelsError) as rejected:
        validated(content, limits=Limits(max_pixels=640 * 400 - 1))
    assert rejected.value.pixels == 640 * 400


PHONE_200_MP = 16_320, 12_240


def test_the_pixels_of_a_jpeg_are_counted_after_it_is_scaled_down_while_decoding() -> None:
    content = flat_jpeg(*PHONE_200_MP)
    decoded, _ = validate(content, limits=Limits(), sizes=(Size("medium", 800, 600),))
    assert (decoded.original, decoded.image.size) == (PHONE_200_MP, (2040, 1530))
    assert len(decoded.image.getcolors() or ()) == 1
    with pytest.raises(TooManyPixelsError) as rejected:
        validate(content, limits=Limits(), sizes=(Size("huge", 9000, 9000),))
    assert (rejected.value.pixels, rejected.value.limit) == (199_756_800, 100_000_000)


def test_the_pixels_in_the_header_of_a_jpeg_have_a_limit_of_their_own() -> None:
    content = flat_jpeg(800, 600)
    few = Limits(max_pixels=10_000, max_stored_pixels=800 * 600)
    validate(content, limits=few, sizes=(Size("small", 40, 40),))
    with pytest.raises(TooManyPixelsError) as rejected:
        validate(
            content, limits=replace(few, max_stored_pixels=800 * 600 - 1), sizes=(Size("small", 40, 40),)
        )
    assert (rejected.value.pixels, rejected.value.limit) == (800 * 600, 800 * 600 - 1)


def test_the_limit_of_stored_pixels_is_at_least_that_of_decoded_pixels() -> None:
    validated(encoded(quadrants(), "PNG"), limits=Limits(max_pixels=640 * 400, max_stored_pixels=1))


def test_a_turned_jpeg_is_scaled_down_as_far_as_an_upright_one() -> None:
    tall = stored_as(6, upright=quadrants(600, 1200))
    decoded, _ = validate(tall, limits=Limits(max_pixels=100_000), sizes=(Size("narrow", 100, 150),))
    assert decoded.original == (600, 1200)


def test_a_decompression_bomb_is_rejected_before_anything_is_decoded() -> None:
    with pytest.raises(TooManyPixelsError):
        validated(png_announcing(60_000, 60_000))


@pytest.mark.parametrize("image_format", ["GIF", "WEBP"])
def test_too_many_frames_are_rejected_where_all_are_decoded(image_format: str) -> None:
    content = animation(image_format, frames=5)
    with pytest.raises(TooManyFramesError) as rejected:
        validated(content, limits=Limits(max_frames=4), animation=Animation.KEEP)
    assert (rejected.value.frames, rejected.value.limit) == (5, 4)


@pytest.mark.parametrize(
    ("image_format", "mode"),
    [
        *((image_format, Animation.FIRST) for image_format in ("GIF", "WEBP", "TIFF", "PNG", "AVIF")),
        ("TIFF", Animation.KEEP),
    ],
)
def test_frames_that_are_not_decoded_are_not_limited(image_format: str, mode: Animation) -> None:
    content = animation(image_format, frames=5)
    _, note = validated(content, limits=Limits(max_frames=1, max_pixels=40 * 30), animation=mode)
    assert note.detail["frames"] == 5


def test_the_pixels_of_all_decoded_frames_are_limited_together() -> None:
    content = animation("GIF", frames=5, width=40, height=30)
    _, note = validated(content, limits=Limits(max_pixels=5 * 40 * 30), animation=Animation.KEEP)
    assert note.detail["frames"] == 5
    with pytest.raises(TooManyFramesError):
        validated(content, limits=Limits(max_pixels=5 * 40 * 30 - 1), animation=Animation.KEEP)


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_rejected(image_format: str, share: float) -> None:
    content = encoded(noise(120, 90), image_format)
    with pytest.raises(TruncatedError):
        validated(content[: int(len(content) * share)])


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
def test_a_truncated_compressed_tiff_is_rejected(compression: str) -> None:
    content = encoded(noise(120, 90), "TIFF", compression=compression)
    with pytest.raises(TruncatedError):
        validated(content[: len(content) // 2])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_data_after_the_end_of_the_image_is_ignored(image_format: str) -> None:
    _, note = validated(encoded(quadrants(), image_format) + b"\0\0\0\x02ABCDxx and more of it" * 3)
    assert note.detail["result"] == "valid"


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_file_cut_at_any_length_is_valid_or_rejected_with_a_code(image_format: str) -> None:
    content = encoded(noise(40, 30), image_format)
    found = set()
    for length in range(0, len(content), max(1, len(content) // 60)):
        try:
            validated(content[:length])
        except RejectedError as rejected:
            found.add(rejected.code)
    assert found <= {"not_an_image", "truncated", "corrupt"}


def test_a_damaged_png_is_rejected_as_corrupt() -> None:
    content = bytearray(encoded(noise(12, 9).resize((600, 450), Image.Resampling.BICUBIC), "PNG"))
    at = content.index(b"IDAT") + 2000
    content[at : at + 100] = b"\xff" * 100
    with pytest.raises(CorruptError) as rejected:
        validated(bytes(content))
    assert "0x" not in str(rejected.value)


@pytest.mark.parametrize(
    ("stored", "box", "expected"),
    [
        ((4000, 3000), Size("medium", 800, 600), (2000, 1500)),
        ((1920, 1080), Size("medium", 800, 600), (1920, 1080)),
        ((4000, 3000), Size("thumbnail", 150, 150), (500, 375)),
        ((4000, 3000), Size("large", 1920, 1920), (4000, 3000)),
    ],
)
def test_a_jpeg_is_decoded_at_no_less_than_twice_the_largest_size(
    stored: tuple[int, int], box: Size, expected: tuple[int, int]
) -> None:
    decoded, _ = validated(encoded(quadrants(*stored), "JPEG"), size=box)
    assert decoded.image.size == expected
    assert decoded.original == stored


def test_the_draft_size_takes_the_orientation_into_account() -> None:
    content = stored_as(6, upright=quadrants(2400, 900))
    decoded, _ = validate(content, limits=Limits(), sizes=(Size("wide", 1200, 10_000),))
    assert decoded.original == (2400, 900)
    assert decoded.image.size == (900, 2400)
    narrow, _ = validate(content, limits=Limits(), sizes=(Size("narrow", 600, 10_000),))
    assert narrow.image.size == (450, 1200)


def test_a_multi_picture_jpeg_is_a_jpeg_of_one_frame() -> None:
    _, note = validated(encoded(quadrants(), "MPO", save_all=True, append_images=[quadrants()]))
    assert (note.detail["format"], note.detail["frames"]) == ("jpeg", 1)


def test_a_heic_is_decoded_upright() -> None:
    file = io.BytesIO()
    pillow_heif.from_pillow(quadrants(64, 40)).save(file)
    decoded, note = validated(file.getvalue())
    assert (decoded.original, note.detail["format"], decoded.orientation) == ((64, 40), "heic", 1)


def test_a_side_below_the_minimum_is_rejected() -> None:
    with pytest.raises(TooSmallError) as rejected:
        validated(encoded(quadrants(200, 31), "PNG"), limits=Limits(min_side_px=32))
    assert (rejected.value.width, rejected.value.height) == (200, 31)


def test_too_many_bytes_are_rejected_before_the_file_is_parsed() -> None:
    with pytest.raises(TooManyBytesError):
        validated(b"x" * 101, limits=Limits(max_bytes=100))
