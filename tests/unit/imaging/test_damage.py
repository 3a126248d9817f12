"""Nothing visible is missing from a completed image; damage outside the pixels rejects none."""

import struct
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import Any, Final

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from tests.support.pictures import animation, encoded, noise, quadrants
from tests.support.profiles import DISPLAY_P3, rgb_profile
from tests.support.tiff_files import tiff_file
from worker.domain.errors import TooManyScansError, TruncatedError
from worker.domain.recipe import Limits, Size
from worker.imaging.heif import missing_bytes
from worker.imaging.jpeg import MAX_SCANS
from worker.imaging.resize import resize
from worker.imaging.validate import validate

SIZES = (Size("large", 4000, 4000),)


def pixels_of(content: bytes) -> bytes:
    decoded, _ = validate(content, limits=Limits(min_side_px=1), sizes=SIZES)
    (picture,), _ = resize(decoded, sizes=SIZES)
    return picture.image.convert("RGBA").tobytes()


def photograph() -> Image.Image:
    grain = noise(30, 20).resize((120, 80), Image.Resampling.BICUBIC)
    return Image.blend(grain, Image.new("RGB", grain.size, (200, 90, 30)), 0.5)


def transparent() -> Image.Image:
    image = photograph()
    image.putalpha(noise(*image.size, mode="L"))
    return image


def margin() -> Image.Image:
    image = Image.new("RGB", (120, 80), "white")
    image.paste((200, 30, 30), (0, 0, 120, 60))
    return image


VARIANTS: Final[Mapping[str, Callable[[], bytes]]] = {
    "JPEG": lambda: encoded(photograph(), quality=90),
    "JPEG 4:4:4": lambda: encoded(photograph(), quality=95, subsampling=0),
    "JPEG grey": lambda: encoded(photograph().convert("L"), optimize=True),
    "JPEG CMYK": lambda: encoded(photograph().convert("CMYK")),
    "JPEG progressive": lambda: encoded(photograph(), progressive=True),
    "JPEG grey progressive": lambda: encoded(photograph().convert("L"), progressive=True),
    "JPEG with restarts": lambda: encoded(photograph(), restart_marker_rows=1),
    "JPEG with a white margin": lambda: encoded(margin()),
    "PNG": lambda: encoded(photograph(), "PNG"),
    "PNG with alpha": lambda: encoded(transparent(), "PNG"),
    "PNG palette": lambda: encoded(photograph().quantize(64), "PNG"),
    "PNG 16 bits": lambda: encoded(photograph().convert("L").convert("I").convert("I;16"), "PNG"),
    "WebP": lambda: encoded(photograph(), "WEBP"),
    "WebP lossless": lambda: encoded(photograph(), "WEBP", lossless=True),
    "WebP with alpha": lambda: encoded(transparent(), "WEBP"),
    "WebP animation": lambda: animation("WEBP", frames=3),
    "GIF": lambda: encoded(photograph().quantize(64), "GIF"),
    "GIF interlaced": lambda: encoded(photograph().quantize(64), "GIF", interlace=True),
    "GIF animation": lambda: animation("GIF", frames=3),
    "TIFF": lambda: encoded(photograph(), "TIFF"),
    **{
        f"TIFF {compression}": partial(encoded, photograph(), "TIFF", compression=compression)
        for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "zstd", "lzma")
    },
    "TIFF fax": lambda: encoded(photograph().convert("1"), "TIFF", compression="group4"),
    "BMP": lambda: encoded(photograph(), "BMP"),
    "BMP palette": lambda: encoded(photograph().quantize(64), "BMP"),
    "AVIF": lambda: encoded(photograph(), "AVIF"),
    "AVIF with alpha": lambda: encoded(transparent(), "AVIF"),
    "HEIC": lambda: heic(photograph()),
    "HEIC with alpha": lambda: heic(transparent()),
}


def heic(image: Image.Image, **options: Any) -> bytes:
    pillow_heif.register_heif_opener()
    return encoded(image, "HEIF", **options)


@cache
def file_of(variant: str) -> bytes:
    return VARIANTS[variant]()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_cut_at_any_point_is_truncated_or_loses_nothing(variant: str) -> None:
    content = file_of(variant)
    whole = pixels_of(content)
    length = len(content)
    cuts = {length * percent // 100 for percent in range(3, 100, 4)} | {
        length - left for left in range(1, 24)
    }
    completed = 0
    for cut in sorted(cuts):
        try:
            pixels = pixels_of(content[:cut])
        except TruncatedError:
            continue
        completed += 1
        assert pixels == whole, f"{length - cut} of {length} bytes are missing"
    assert completed < len(cuts) or variant == "GIF animation"


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def heif_of_items(items: Mapping[bytes, tuple[int, int]]) -> bytes:
    """Return the boxes of a file before its data, with the offset and length of each item by its type."""
    entries = [box(b"infe", struct.pack(">IHH4s", 2 << 24, n, 0, kind)) for n, kind in enumerate(items)]
    extents = [struct.pack(">HHHHII", n, 0, 0, 1, *extent) for n, extent in enumerate(items.values())]
    return box(b"ftyp", b"heic\0\0\0\0") + box(
        b"meta",
        bytes(4)
        + box(b"iinf", bytes(4) + struct.pack(">H", len(items)) + b"".join(entries))
        + box(b"iloc", struct.pack(">IHH", 1 << 24, 0x4400, len(items)) + b"".join(extents)),
    )


@pytest.mark.parametrize(
    ("items", "missing"),
    [
        ({b"hvc1": (300, 100), b"Exif": (400, 600)}, 500),
        ({b"hvc1": (300, 200), b"Exif": (500, 500)}, 500),
        ({b"hvc1": (300, 201)}, None),
        ({b"hvc1": (300, 100), b"av01": (900, 100)}, None),
        ({b"Exif": (300, 100), b"mime": (900, 100)}, None),
        ({}, None),
    ],
)
def test_only_metadata_may_be_missing_at_the_end_of_a_heif(
    items: dict[bytes, tuple[int, int]], missing: int | None
) -> None:
    head = heif_of_items(items)
    content = (head + struct.pack(">I4s", 1000 - len(head), b"mdat")).ljust(500, b"\0")
    if missing is None:
        with pytest.raises(TruncatedError):
            missing_bytes(content)
    else:
        assert missing_bytes(content) == missing


@given(content=st.binary(max_size=200))
def test_any_boxes_can_be_read(content: bytes) -> None:
    for start in (b"", box(b"ftyp", b"heic"), heif_of_items({b"hvc1": (300, 100)})[:-20]):
        with suppress(TruncatedError):
            assert missing_bytes(start + content) >= 0


def png_chunk(kind: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    actual = zlib.crc32(kind + body)
    return (
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", actual if checksum is None else checksum)
    )


ANCILLARY: Final[Mapping[str, bytes]] = {
    "text with a wrong checksum": png_chunk(b"tEXt", b"Comment\0hello", checksum=1),
    "physical size that is too short": png_chunk(b"pHYs", b"\0"),
    "time that is too short": png_chunk(b"tIME", b"\0"),
    "text that is 20 MB long": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000))),
    "text that cannot be decompressed": png_chunk(b"zTXt", b"Comment\0\0not compressed"),
    "international text that is too short": png_chunk(b"iTXt", b"Comment"),
    "colour profile with a wrong checksum": png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"x"), checksum=1),
    "unknown chunk with a wrong checksum": png_chunk(b"prVt", b"anything", checksum=1),
    "significant bits that are too short": png_chunk(b"sBIT", b""),
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("damage", ANCILLARY)
def test_damage_in_ancillary_chunks_of_a_png_does_not_matter(damage: str, place: str) -> None:
    content = file_of("PNG")
    at = content.index(b"IDAT" if place == "before" else b"IEND") - 4
    assert pixels_of(content[:at] + ANCILLARY[damage] + content[at:]) == pixels_of(content)


def test_a_png_whose_pixels_have_a_wrong_checksum_is_rejected() -> None:
    content = bytearray(file_of("PNG"))
    at = content.index(b"IDAT")
    length = int.from_bytes(content[at - 4 : at])
    content[at + 4 + length] ^= 1
    with pytest.raises(Exception, match="checksum of a IDAT"):
        pixels_of(bytes(content))


def test_the_xmp_of_a_png_is_kept_and_other_text_is_not_read() -> None:
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    text.add_text("Comment", "hello")
    decoded, _ = validate(encoded(quadrants(), "PNG", pnginfo=text), limits=Limits(), sizes=SIZES)
    assert "Comment" not in decoded.image.info


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    exif[ExifTags.Base.Orientation] = 6
    return exif


def test_a_webp_that_ends_after_its_orientation_loses_nothing() -> None:
    content = encoded(photograph(), "WEBP", exif=turned_exif())
    for missing in (1, 2, 4):
        decoded, _ = validate(content[:-missing], limits=Limits(), sizes=SIZES)
        assert decoded.orientation == 6


def test_a_webp_that_ends_before_its_orientation_is_truncated() -> None:
    content = encoded(photograph(), "WEBP", exif=turned_exif())
    at = content.index(b"EXIF")
    for cut in (at, at + 4, at + 10, at + 40):
        with pytest.raises(TruncatedError):
            pixels_of(content[:cut])


def test_a_webp_that_ends_within_other_metadata_loses_nothing() -> None:
    content = encoded(photograph(), "WEBP", xmp=b"<x/>" * 20)
    at = content.index(b"XMP ")
    for cut in (at, at + 4, at + 10, len(content) - 1):
        assert pixels_of(content[:cut]) == pixels_of(content)


def test_a_png_that_ends_within_exif_after_its_pixels_is_truncated() -> None:
    content = encoded(photograph(), "PNG")
    exif = turned_exif().tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    with pytest.raises(TruncatedError):
        pixels_of(content[:-12] + chunk[:-6])


@pytest.mark.parametrize("image_format", ["TIFF", "BMP"])
def test_a_file_that_ends_before_its_colour_profile_is_truncated(image_format: str) -> None:
    profile = rgb_profile(DISPLAY_P3)
    if image_format == "TIFF":
        tags = {34675: (1, list(profile)), 65000: (1, bytes(40))}
        content = tiff_file(np.zeros((20, 20, 3), np.int64), bits=8, photometric=2, tags=tags)
        pixels_of(content[:-30])  # within a private tag
    else:
        content = bmp_with_profile(profile)
    for missing in (41, 100, len(profile)):
        with pytest.raises(TruncatedError):
            pixels_of(content[:-missing])


def bmp_with_profile(profile: bytes) -> bytes:
    rows = encoded(photograph(), "BMP")[54:]
    start = 14 + 124
    fields = (124, *photograph().size, 1, 24, 0, len(rows), 0, 0, 0, 0, b"DEBM", 4, 124 + len(rows))
    header = struct.pack("<IiiHHIIiiII16x4s48xIIII", *fields, len(profile), 0)
    return (
        struct.pack("<2sIHHI", b"BM", start + len(rows) + len(profile), 0, 0, start) + header + rows + profile
    )


@pytest.mark.parametrize("image_format", ["AVIF", "HEIF"])
def test_a_file_that_ends_within_metadata_after_its_pixels_loses_nothing(image_format: str) -> None:
    content = heic(photograph()) if image_format == "HEIF" else file_of("AVIF")
    whole = pixels_of(content)
    longer = content + struct.pack(">I4s", 1000, b"free") + bytes(100)  # ends within a box
    assert pixels_of(longer) == whole


@pytest.mark.parametrize("damage", [b"\xff", b"\xff\xd9\xff\xd9", b"\0" * 50])
def test_bytes_in_place_of_the_end_marker_of_a_jpeg_do_not_matter(damage: bytes) -> None:
    content = file_of("JPEG")
    assert pixels_of(content[:-2] + damage) == pixels_of(content)


@pytest.mark.parametrize(
    "variant", [name for name in VARIANTS if "JPEG" in name and "progressive" not in name]
)
@pytest.mark.parametrize("longest_side", [4000, 16])
def test_a_jpeg_that_was_cut_and_given_an_end_marker_is_truncated(variant: str, longest_side: int) -> None:
    content, sizes = file_of(variant), (Size("only", longest_side, longest_side),)
    start = content.index(b"\xff\xda") + 14
    for end in range(start, len(content) - 250, 97):
        with pytest.raises(TruncatedError):
            validate(
                content[:end].removesuffix(b"\xff") + b"\xff\xd9", limits=Limits(min_side_px=1), sizes=sizes
            )


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
def test_a_jpeg_that_ends_in_grey_is_complete(mode: str, options: dict[str, Any]) -> None:
    grey = (128, 128, 128) if mode == "RGB" else 128 if mode == "L" else (127, 127, 127, 127)
    image = Image.new(mode, (120, 80), grey)
    image.paste(photograph().convert(mode).crop((0, 0, 64, 64)), (0, 0))
    content = encoded(image, **options)
    assert pixels_of(content)
    assert pixels_of(content + b"trailing bytes")


def test_a_jpeg_without_one_of_its_scans_is_truncated() -> None:
    content = file_of("JPEG progressive")
    starts = [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]
    assert len(starts) > 3
    for start in starts[1:]:
        with pytest.raises(TruncatedError):
            pixels_of(content[:start])


def test_a_progressive_jpeg_with_too_many_scans_is_rejected_before_it_is_decoded() -> None:
    content = file_of("JPEG grey progressive")
    start = content.rindex(b"\xff\xda")
    last_scan = content[start:-2]
    for scans, is_rejected in ((MAX_SCANS // 2, False), (MAX_SCANS, True), (5000, True)):
        repeated = content[:start] + scans * last_scan + b"\xff\xd9"
        if is_rejected:
            with pytest.raises(TooManyScansError):
                pixels_of(repeated)
        else:
            pixels_of(repeated)


def test_a_multi_picture_jpeg_is_judged_by_its_first_picture() -> None:
    content = file_of("JPEG")
    second = encoded(noise(64, 64))
    assert pixels_of(content + second[: len(second) // 2]) == pixels_of(content)
