"""The PNG decoder gives exactly the results of Pillow, for whole and for damaged files."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.pictures import animation, encoded, noise, quadrants
from worker.domain.errors import RejectedError
from worker.domain.recipe import Limits, Size
from worker.imaging import png
from worker.imaging.headers import find_damaged_png_chunk, is_truncated, png_chunks
from worker.imaging.png import PngFile
from worker.imaging.validate import validate

NO_IMAGE = Image.new("1", (1, 1))
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Left and top offset, horizontal and vertical step of the seven passes of an interlaced image."""

EXIF = b"MM\0*\0\0\0\x08" + struct.pack(">HHHII", 1, 0x0112, 3, 1, 6 << 16) + bytes(4)
PROFILE = b"sRGB\0\0" + zlib.compress(bytes(128))
EXTRAS = (
    (b"eXIf", EXIF),
    (b"eXIf", b"MM\0*not EXIF"),
    (b"gAMA", struct.pack(">I", 45455)),
    (b"sRGB", b"\0"),
    (b"cHRM", bytes(32)),
    (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    (b"sBIT", b"\x05\x06\x05\x08"),
    (b"bKGD", bytes(6)),
    (b"iCCP", PROFILE),
    (b"iCCP", b"broken\0\0not zlib"),
    (b"tRNS", bytes(6)),
    (b"tRNS", b"\0\x07"),
    (b"PLTE", bytes(range(48))),
    (b"tEXt", b"Comment\0words"),
    (b"zTXt", b"Comment\0\0" + zlib.compress(b"words")),
    (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='3'/>"),
    (b"tIME", b"\x07\xe9\x01\x01\0\0\0"),
    (b"prVt", b"private"),
    (b"CrIt", b"critical, and unknown"),
    (b"acTL", struct.pack(">II", 1, 0)),
    (b"fcTL", struct.pack(">IIIIIHHBB", 0, 3, 2, 0, 0, 1, 1, 0, 0)),
    (b"IEND", b""),
)

Chunk = tuple[bytes, bytes]


@dataclass(frozen=True)
class Png:
    """The parts of a file; every row of `raw` begins with its filter type."""

    width: int
    height: int
    kind: int
    depth: int
    is_interlaced: bool
    raw: bytes
    before: tuple[Chunk, ...] = ()
    after: tuple[Chunk, ...] = ()
    idat_bytes: int = 100
    level: int = 6

    @property
    def content(self) -> bytes:
        header = struct.pack(
            ">IIBBBBB", self.width, self.height, self.depth, self.kind, 0, 0, self.is_interlaced
        )
        packed = zlib.compress(self.raw, self.level)
        pixels = [
            (b"IDAT", packed[at : at + self.idat_bytes]) for at in range(0, len(packed), self.idat_bytes)
        ]
        return png_of((b"IHDR", header), *self.before, *pixels, *self.after, (b"IEND", b""))


def png_of(*chunks: Chunk) -> bytes:
    return SIGNATURE + b"".join(chunk(kind, body) for kind, body in chunks)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def row_lengths(width: int, height: int, kind: int, depth: int, *, is_interlaced: bool) -> list[int]:
    """Return the number of bytes in each row of each pass, without the filter type."""
    lengths = []
    for left, top, across, down in PASSES if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            lengths += [(columns * CHANNELS[kind] * depth + 7) // 8] * max(0, rows)
    return lengths


@st.composite
def pngs(draw: st.DrawFn) -> Png:
    kind = draw(st.sampled_from([RGB, RGBA, GREY, RGB, RGBA, GREY, PALETTE, GREY_ALPHA]))
    depth = draw(st.sampled_from((8, 8, 8, *DEPTHS[kind])))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 24))
    is_interlaced = draw(st.booleans())
    dice = draw(st.randoms(use_true_random=False))
    levels = draw(st.sampled_from([256, 4, 1]))  # compressible data takes other paths through a decoder
    filters = draw(st.sampled_from([range(5), (0,), (1,), (2,), (3,), (4,)]))
    raw = b"".join(
        bytes([dice.choice(filters), *(dice.randrange(levels) for _ in range(length))])
        for length in row_lengths(width, height, kind, depth, is_interlaced=is_interlaced)
    )
    extras = st.lists(st.sampled_from(EXTRAS), max_size=2).map(tuple)
    palette = ((b"PLTE", bytes(dice.randrange(256) for _ in range(768))),) if kind == PALETTE else ()
    return Png(
        width,
        height,
        kind,
        depth,
        is_interlaced,
        raw,
        before=palette + draw(extras),
        after=draw(extras),
        idat_bytes=draw(st.sampled_from([1, 7, 100, 8192])),
        level=draw(st.integers(0, 9)),
    )


def validation_of(content: bytes) -> tuple[object, ...]:
    """Return everything that validation finds out about a file, or the code and message of its rejection."""
    try:
        decoded, note = validate(content, limits=Limits(), sizes=(Size("medium", 800, 600),))
    except RejectedError as error:
        return error.code, str(error)
    image = decoded.image
    return note, replace(decoded, image=NO_IMAGE), image.mode, image.size, image.info, image.tobytes()


def fail(*_: object) -> None:
    raise ValueError


def assert_same_as_pillow(content: bytes) -> None:
    found = validation_of(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "decode_image_png_u8", fail)
        expected = validation_of(content)
    assert expected == found


def loaded(content: bytes) -> PngFile:
    image = PngFile(io.BytesIO(content))
    image.load()
    return image


@settings(deadline=None)
@given(pngs())
def test_a_whole_file_has_the_pixels_and_metadata_that_pillow_reads(file: Png) -> None:
    assert_same_as_pillow(file.content)


@settings(deadline=None)
@given(pngs(), st.randoms(use_true_random=False))
def test_a_file_with_flipped_bits_has_the_same_result_as_with_pillow(file: Png, dice: random.Random) -> None:
    content = bytearray(file.content)
    for _ in range(dice.choice([1, 1, 3])):
        content[dice.randrange(len(SIGNATURE), len(content))] ^= 1 << dice.randrange(8)
    assert_same_as_pillow(bytes(content))


@settings(deadline=None)
@given(pngs(), st.randoms(use_true_random=False))
def test_a_file_with_a_missing_or_repeated_part_has_the_same_result_as_with_pillow(
    file: Png, dice: random.Random
) -> None:
    content = file.content
    start, end = sorted(dice.randrange(len(SIGNATURE), len(content) + 1) for _ in range(2))
    for changed in (content[:start], content[:start] + content[end:], content[:end] + content[start:]):
        if not lacks_whole_pixel_chunks(changed, content):
            assert_same_as_pillow(changed)


def lacks_whole_pixel_chunks(changed: bytes, content: bytes) -> bool:
    """
    Return whether whole chunks of pixels are missing, and all checksums are right.

    If enough data is left for all pixels, only their own checksum shows that, which only Pillow compares.
    """
    if is_truncated(changed, image_format="png") or find_damaged_png_chunk(changed):
        return False
    before, after = (
        [body for kind, body in chunks_of(file) if kind == b"IDAT"] for file in (content, changed)
    )
    return len(after) < len(before)


def chunks_of(file: bytes) -> list[Chunk]:
    return [(kind, file[body.start : body.stop]) for kind, body in png_chunks(memoryview(file))]


@pytest.mark.parametrize("change", [lambda byte: byte ^ 1, lambda byte: 255 - byte])
def test_a_change_of_any_byte_has_the_same_result_as_with_pillow(change: Callable[[int], int]) -> None:
    content = Png(5, 3, RGB, 8, is_interlaced=False, raw=b"\4abcdefghijklmno" * 3, idat_bytes=9).content
    for at in range(len(SIGNATURE), len(content)):
        assert_same_as_pillow(content[:at] + bytes([change(content[at])]) + content[at + 1 :])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 3), (640, 400)])
def test_grey_rgb_and_rgba_are_decompressed_without_pillow(mode: str, size: tuple[int, int]) -> None:
    picture = noise(*size, mode=mode)
    image = loaded(encoded(picture, "PNG"))
    assert image.is_verified
    assert (image.mode, image.size, image.tobytes()) == (mode, size, picture.tobytes())


@pytest.mark.parametrize(
    "content",
    [
        encoded(noise(30, 20).quantize(16), "PNG"),
        encoded(noise(30, 20).quantize(256), "PNG"),
        encoded(noise(30, 20, mode="LA"), "PNG"),
        encoded(noise(30, 20, mode="L").convert("1"), "PNG"),
        encoded(noise(30, 20, mode="L").convert("I;16"), "PNG"),
        animation("PNG", frames=3),
        encoded(quadrants(30, 20), "PNG", save_all=True, append_images=[]),
    ],
    ids=["small palette", "palette", "grey with alpha", "bits", "sixteen bits", "animation", "still"],
)
def test_other_pixel_formats_and_animations_are_left_to_pillow(
    content: bytes, request: pytest.FixtureRequest
) -> None:
    image = loaded(content)
    assert image.is_verified == ("still" in request.node.name)
    assert image.tobytes() == Image.open(io.BytesIO(content)).tobytes()


@pytest.mark.parametrize("idat_bytes", [7, 100, 8192])
def test_a_wrong_checksum_of_any_idat_chunk_is_found(idat_bytes: int) -> None:
    raw = b"".join(
        b"\0" + row for row in (noise(40, 1, mode="RGBA", seed=seed).tobytes() for seed in range(8))
    )
    content = Png(40, 8, RGBA, 8, is_interlaced=False, raw=raw, idat_bytes=idat_bytes).content
    assert loaded(content).is_verified
    places = [at for at in range(len(content)) if content[at : at + 4] == b"IDAT"]
    for at in places:
        checksum = at + 4 + int.from_bytes(content[at - 4 : at])
        damaged = content[:checksum] + bytes([content[checksum] ^ 1]) + content[checksum + 1 :]
        assert validation_of(damaged) == (
            "corrupt",
            (
                "the image data is corrupt: the checksum of a IDAT chunk is wrong; "
                "save the image again with another program and upload that file"
            ),
        )


class RustPanicError(BaseException):
    """Like a panic of Rust code, which is not an Exception."""


@pytest.mark.parametrize("error", [RustPanicError, MemoryError, ValueError])
def test_a_failure_of_the_rust_decoder_leaves_the_file_to_pillow(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_with(*_: object) -> None:
        raise error

    monkeypatch.setattr(png, "decode_image_png_u8", fail_with)
    image = loaded(encoded(quadrants(30, 20), "PNG"))
    assert not image.is_verified
    assert image.tobytes() == quadrants(30, 20).tobytes()


def test_an_image_with_too_many_pixels_is_not_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(png, "decode_image_png_u8", lambda *arguments: calls.append(arguments))
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, RGB, 0, 0, 0)
    bomb = png_of((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    assert validation_of(bomb)[0] == "too_many_pixels"
    assert not calls
