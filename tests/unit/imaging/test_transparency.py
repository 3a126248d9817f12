"""Transparent pixels stay transparent, and opaque ones opaque, however a file stores its alpha."""

import struct
import zlib

import pytest
from PIL import Image

from tests.support.pictures import encoded, pixel
from tests.support.pngs import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, halves, plain, png
from worker.domain.recipe import Limits, Size
from worker.imaging.resampling import Resample
from worker.imaging.resize import resize
from worker.imaging.validate import validate

SMALL = Size("small", 400, 400)


def converted(resample: Resample, content: bytes) -> Image.Image:
    decoded, _ = validate(content, limits=Limits(), sizes=(SMALL,))
    (picture,), _ = resize(decoded, sizes=(SMALL,), resample=resample)
    return picture.image.convert("RGBA")


def left_and_right(resample: Resample, content: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    image = converted(resample, content)
    return pixel(image, (3, image.height // 2)), pixel(image, (image.width - 4, image.height // 2))


def key(*samples: int) -> tuple[bytes, bytes]:
    return b"tRNS", struct.pack(f">{len(samples)}H", *samples)


def tiff(bands: tuple[int, ...], *, extra: tuple[int, ...] | None, depth: int = 8) -> bytes:
    """Return an uncompressed little-endian TIFF of 40 x 30 pixels of one colour."""
    code = "H" if depth == 16 else "B"
    samples = struct.pack(f"<{len(bands)}{code}", *bands) * 40 * 30
    tags = [(256, 3, 1, 40), (257, 3, 1, 30), (258, 3, len(bands), None), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, None), (277, 3, 1, len(bands)), (278, 3, 1, 30), (279, 4, 1, len(samples))]
    if extra is not None:
        tags.append(
            (338, 3, len(extra), struct.unpack("<I", struct.pack("<HH", *extra, *(0,) * (2 - len(extra))))[0])
        )
    start = 8 + 2 + 12 * len(tags) + 4
    bits = struct.pack(f"<{len(bands)}H", *[depth] * len(bands))
    places = {258: start, 273: start + len(bits)}
    directory = b"".join(struct.pack("<HHII", *tag[:3], places.get(tag[0], tag[3])) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + bits + samples


def bmp(bgra: tuple[int, int, int, int], *, header_bytes: int, masks: bool) -> bytes:
    """Return a BMP with 32 bits a pixel and 40 x 30 pixels of one colour."""
    pixels = bytes(bgra) * 40 * 30
    header = struct.pack(
        "<IiiHHIIiiII", header_bytes, 40, 30, 1, 32, 3 if masks else 0, len(pixels), 0, 0, 0, 0
    )
    bits = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if masks else bytes(16)
    header = (header + bits + b"BGRs").ljust(header_bytes, b"\0")[:header_bytes]
    return (
        struct.pack("<2sIHHI", b"BM", 14 + len(header) + len(pixels), 0, 0, 14 + len(header))
        + header
        + pixels
    )


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_transparent_grey_of_any_depth_is_transparent(resample: Resample, depth: int, place: str) -> None:
    highest = (1 << depth) - 1
    transparent, opaque = (0, highest) if place == "first" else (highest, 0)
    content = halves((transparent,), (opaque,), key(transparent), kind=GREY, depth=depth)

    left, right = left_and_right(resample, content)

    grey = 255 if opaque else 0
    assert (left[3], right) == (0, (grey, grey, grey, 255))


@pytest.mark.parametrize(
    ("depth", "keyed", "other", "expected"), [(2, 1, 2, 170), (4, 3, 8, 136), (8, 51, 52, 52)]
)
def test_a_transparent_grey_in_the_middle_is_transparent(
    resample: Resample, depth: int, keyed: int, other: int, expected: int
) -> None:
    left, right = left_and_right(resample, halves((keyed,), (other,), key(keyed), kind=GREY, depth=depth))
    assert (left[3], right) == (0, (expected, expected, expected, 255))


@pytest.mark.parametrize(
    ("kind", "keyed"), [(GREY, (0x4000,)), (RGB, (0x4000, 0x8000, 0xC000))], ids=["grey", "RGB"]
)
def test_a_transparent_colour_of_16_bits_differs_from_its_neighbour_in_the_low_byte(
    resample: Resample, kind: int, keyed: tuple[int, ...]
) -> None:
    neighbour = (*keyed[:-1], keyed[-1] + 1)
    left, right = left_and_right(resample, halves(keyed, neighbour, key(*keyed), kind=kind, depth=16))
    high_bytes = tuple(sample >> 8 for sample in keyed)
    assert (left[3], right) == (0, ((*high_bytes * (3 // len(keyed)), 255)))


def test_a_transparent_rgb_colour_is_transparent(resample: Resample) -> None:
    left, right = left_and_right(resample, halves((9, 8, 7), (9, 8, 6), key(9, 8, 7), kind=RGB, depth=8))
    assert (left[3], right) == (0, (9, 8, 6, 255))


@pytest.mark.parametrize(
    ("kind", "depth", "pixels"),
    [
        (GREY, 1, ((1,), (0,))),
        (GREY, 4, ((5,), (6,))),
        (GREY, 8, ((5,), (6,))),
        (RGB, 8, ((5, 5, 5), (5, 5, 6))),
    ],
)
def test_only_the_used_bits_of_a_transparent_colour_count(
    resample: Resample, kind: int, depth: int, pixels: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    left, right = left_and_right(
        resample, halves(*pixels, key(*(sample | 0xAA00 for sample in pixels[0])), kind=kind, depth=depth)
    )
    assert (left[3], right[3]) == (0, 255)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", [bytes((0,)), bytes((77,)), bytes((0, 128))])
def test_the_alpha_of_a_palette_is_kept(resample: Resample, depth: int, alphas: bytes) -> None:
    colours = (b"PLTE", bytes((200, 60, 20, 10, 20, 30)))
    left, right = left_and_right(
        resample, halves((0,), (1,), colours, (b"tRNS", alphas), kind=PALETTE, depth=depth)
    )

    second = alphas[1] if len(alphas) > 1 else 255
    assert (left[3], right[3]) == (alphas[0], second)
    assert right[:3] == (10, 20, 30)


@pytest.mark.parametrize("alpha", [0, 0x4040, 0x8080, 0xFFFF])
@pytest.mark.parametrize("kind", [GREY_ALPHA, RGBA])
def test_alpha_of_16_bits_is_kept(resample: Resample, kind: int, alpha: int) -> None:
    samples = (0x8080,) if kind == GREY_ALPHA else (0x8080,) * 3
    found = pixel(converted(resample, plain((*samples, alpha), kind=kind, depth=16)), (5, 5))
    assert found[3] == alpha >> 8
    assert alpha == 0 or found[:3] == pytest.approx((128, 128, 128), abs=1)


@pytest.mark.parametrize("alpha", [0, 0x8000])
def test_alpha_of_16_bits_in_a_tiff_is_kept_if_it_is_declared(resample: Resample, alpha: int) -> None:
    content = tiff((0xC800, 0x3C00, 0x1400, alpha), extra=(2,), depth=16)
    assert pixel(converted(resample, content), (5, 5))[3] == alpha >> 8


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("extra", [None, (0,)], ids=["not declared", "unspecified"])
def test_an_undeclared_alpha_of_a_tiff_that_is_zero_everywhere_is_not_used(
    resample: Resample, extra: tuple[int, ...] | None, depth: int
) -> None:
    scale = 257 if depth == 16 else 1
    content = tiff((200 * scale, 60 * scale, 20 * scale, 0), extra=extra, depth=depth)
    assert pixel(converted(resample, content), (5, 5)) == (200, 60, 20, 255)


def test_a_declared_alpha_of_a_tiff_that_is_zero_everywhere_is_transparent(resample: Resample) -> None:
    assert pixel(converted(resample, tiff((200, 60, 20, 0), extra=(2,))), (5, 5))[3] == 0


def test_colours_that_a_tiff_has_multiplied_by_alpha_are_divided_by_it(resample: Resample) -> None:
    found = pixel(converted(resample, tiff((100, 30, 10, 128), extra=(1,))), (5, 5))
    assert found == pytest.approx((199, 60, 20, 128), abs=1)


@pytest.mark.parametrize("header_bytes", [56, 108, 124])
def test_an_alpha_of_a_bmp_that_is_zero_everywhere_is_not_used(resample: Resample, header_bytes: int) -> None:
    content = bmp((30, 60, 200, 0), header_bytes=header_bytes, masks=True)
    assert pixel(converted(resample, content), (5, 5)) == (200, 60, 30, 255)


@pytest.mark.parametrize("header_bytes", [40, 108, 124])
def test_the_fourth_byte_of_a_bmp_without_masks_is_not_used(resample: Resample, header_bytes: int) -> None:
    content = bmp((30, 60, 200, 7), header_bytes=header_bytes, masks=False)
    assert pixel(converted(resample, content), (5, 5)) == (200, 60, 30, 255)


def test_an_alpha_of_a_bmp_that_is_used_is_kept(resample: Resample) -> None:
    assert pixel(converted(resample, bmp((30, 60, 200, 7), header_bytes=124, masks=True)), (5, 5))[3] == 7


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "AVIF"])
def test_an_image_that_is_transparent_everywhere_stays_transparent(
    resample: Resample, image_format: str
) -> None:
    content = encoded(Image.new("RGBA", (40, 30), (200, 60, 20, 0)), image_format)
    assert pixel(converted(resample, content), (5, 5))[3] == 0


def test_an_interlaced_image_with_a_transparent_colour_of_16_bits_is_read(resample: Resample) -> None:
    content = png([[(0x4000, 0, 0)] * 8] * 8, key(0x4000, 0, 0), depth=16)
    header = bytearray(content[16:29])
    header[12] = 1
    rows = b"".join(
        b"\0" + bytes((0x40, 0, 0, 0, 0, 0)) * columns for columns, rows in _PASSES for _ in range(rows)
    )
    body = b"IHDR" + bytes(header)
    parts = [body, b"tRNS" + key(0x4000, 0, 0)[1], b"IDAT" + zlib.compress(rows), b"IEND"]
    interlaced = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )
    assert pixel(converted(resample, interlaced), (5, 5))[3] == 0


_PASSES = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
"""Columns and rows of the seven passes of 8 x 8 pixels."""
