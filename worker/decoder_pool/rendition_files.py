"""
Check the structure of encoded renditions without decoding their pixels.

A decoder may have been taken over by an image: what it sends is stored only if it is a single, complete file
of the format and dimensions that it states, with nothing before or after it. The parsers read headers and
skip data by its length, in a bounded number of steps.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

Content: TypeAlias = bytes | bytearray | memoryview
Extent: TypeAlias = tuple[int, int]
Box: TypeAlias = tuple[bytes, int, int]
"""Type, start and end of the content of a box or chunk."""

_MAX_PARTS: Final = 10_000
"""Segments, chunks, boxes and frames that a file may have: many times what an encoder writes."""


class InvalidRenditionError(ValueError):
    """Raised when a file is not what its decoder states; the message names the part that is wrong."""


def check_rendition_file(content: Content, *, image_format: str, extent: Extent) -> None:
    """
    Check that a file is complete, of this format and of these dimensions, and nothing else.

    Args:
        content: Content of the file.
        image_format: A key of `EXTENSIONS` in `domain.step`.
        extent: Width and height in pixels.

    Raises:
        InvalidRenditionError: It is not.
    """
    with memoryview(content) as view:
        try:
            found = _PARSERS[image_format](view)
        except (IndexError, KeyError) as error:
            message = f"the {image_format} file ends too early"
            raise InvalidRenditionError(message) from error
    if found != extent:
        stated = f"{extent[0]}x{extent[1]}"
        message = f"the {image_format} file has {found[0]}x{found[1]} pixels in place of {stated}"
        raise InvalidRenditionError(message)


def _require(condition: object, what: str) -> None:
    if not condition:
        message = f"invalid {what}"
        raise InvalidRenditionError(message)


def _number(file: memoryview, at: int, length: int, *, order: str = "big") -> int:
    _require(at >= 0 and at + length <= len(file), "length")
    return int.from_bytes(file[at : at + length], "little" if order == "little" else "big")


def _tag(file: memoryview, at: int, length: int = 4) -> bytes:
    return bytes(file[at : at + length])


def _little(file: memoryview, at: int, length: int) -> int:
    return _number(file, at, length, order="little")


_JPEG_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_JPEG_TABLES: Final = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"


def _jpeg(file: memoryview) -> Extent:
    """Read the segments up to the first scan (ITU-T T.81, B.2); the rest ends with the only end marker."""
    _require(_tag(file, 0, 2) == b"\xff\xd8", "start of JPEG")
    extent, marker, at = (0, 0), 0, 2
    for _ in range(_MAX_PARTS):
        _require(file[at] == 0xFF, "JPEG marker")  # noqa: PLR2004 - the first byte of every marker
        marker, length = file[at + 1], _number(file, at + 2, 2)
        _require(length >= 2, "length of a JPEG segment")  # noqa: PLR2004 - it includes itself
        if marker in _JPEG_FRAMES:
            _require(extent == (0, 0), "second JPEG frame")
            _require(file[at + 4] == 8, "JPEG precision")  # noqa: PLR2004 - bits
            extent = _number(file, at + 7, 2), _number(file, at + 5, 2)
        elif marker == _JPEG_SCAN:
            break
        else:
            _require(marker in _JPEG_TABLES, "JPEG segment")
        at += 2 + length
    _require(0 not in extent and marker == _JPEG_SCAN, "JPEG without a frame or a scan")
    # In the data of a scan 0xFF is followed by 0, and no table of an encoder contains the end marker.
    _require(bytes(file[at:]).find(_JPEG_END) == len(file) - at - 2, "end of JPEG")
    return extent


_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS: Final = frozenset(
    [
        b"PLTE",
        b"tRNS",
        b"IDAT",
        b"eXIf",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"iCCP",
        b"cICP",
        b"sBIT",
        b"pHYs",
        b"bKGD",
        b"acTL",
        b"fcTL",
        b"fdAT",
    ]
)


def _png(file: memoryview) -> Extent:
    """Read the chunks (PNG, 5.3): IHDR first, IEND last, between them those of an image, and its frames."""
    _require(_tag(file, 0, 8) == _PNG_SIGNATURE, "start of PNG")
    _require(_number(file, 8, 4) == 13 and _tag(file, 12) == b"IHDR", "PNG header")  # noqa: PLR2004 - its length
    at, has_data = 33, False
    for _ in range(_MAX_PARTS + len(file) // 4096):
        length, kind = _number(file, at, 4), _tag(file, at + 4)
        if kind == b"IEND":
            _require(length == 0 and at + 12 == len(file) and has_data, "end of PNG")
            return _number(file, 16, 4), _number(file, 20, 4)
        _require(kind in _PNG_CHUNKS, "PNG chunk")
        if kind == b"fcTL":
            width, height, left, top = (_number(file, at + 12 + offset, 4) for offset in (0, 4, 8, 12))
            _require(left + width <= _number(file, 16, 4), "extent of a PNG frame")
            _require(top + height <= _number(file, 20, 4), "extent of a PNG frame")
        has_data = has_data or kind == b"IDAT"
        at += 12 + length
    raise _too_many("PNG chunks")


_MAX_FRAME_PARTS: Final = 4
_WEBP_CHUNKS: Final = frozenset([b"ALPH", b"VP8 ", b"VP8L", b"ICCP", b"ANIM", b"ANMF", b"EXIF", b"XMP "])


def _webp(file: memoryview) -> Extent:
    """Read the chunks of the container (RFC 9649, 2.7) and the extent of each frame in it."""
    _require(_tag(file, 0) == b"RIFF" and _tag(file, 8) == b"WEBP", "start of WebP")
    _require(_little(file, 4, 4) == len(file) - 8, "length of WebP")
    if _tag(file, 12) != b"VP8X":
        chunks = list(_chunks(file, 12, len(file), most=1))
        _require(len(chunks) == 1, "WebP without one image")
        kind, start, _ = chunks[0]
        return _bitstream_extent(file, kind, start)
    canvas = 1 + _little(file, 24, 3), 1 + _little(file, 27, 3)
    _require(_little(file, 16, 4) == 10, "WebP header")  # noqa: PLR2004 - its length
    images = 0
    for kind, start, end in _chunks(file, 30, len(file)):
        _require(kind in _WEBP_CHUNKS, "WebP chunk")
        if kind in {b"VP8 ", b"VP8L"}:
            _require(_bitstream_extent(file, kind, start) == canvas, "extent of a WebP image")
            images += 1
        elif kind == b"ANMF":
            left, top = 2 * _little(file, start, 3), 2 * _little(file, start + 3, 3)
            frame = 1 + _little(file, start + 6, 3), 1 + _little(file, start + 9, 3)
            _require(left + frame[0] <= canvas[0] and top + frame[1] <= canvas[1], "extent of a WebP frame")
            inner = _chunks(file, start + 16, end, most=_MAX_FRAME_PARTS)
            parts = [(name, at) for name, at, _ in inner if name in {b"VP8 ", b"VP8L"}]
            _require(len(parts) == 1 and _bitstream_extent(file, *parts[0]) == frame, "WebP frame")
            images += 1
    _require(images, "WebP without an image")
    return canvas


def _chunks(file: memoryview, at: int, end: int, *, most: int = _MAX_PARTS) -> Iterator[Box]:
    """Yield the type, start and end of each chunk; the last one ends exactly at the end."""
    for _ in range(most + 1):
        if at == end:
            return
        length = _little(file, at + 4, 4)
        yield _tag(file, at), at + 8, at + 8 + length
        at += 8 + length + length % 2
        _require(at <= end, "length of a WebP chunk")
    raise _too_many("WebP chunks")


def _bitstream_extent(file: memoryview, kind: bytes, at: int) -> Extent:
    if kind == b"VP8L":
        _require(file[at] == 0x2F, "start of lossless WebP")  # noqa: PLR2004 - its signature
        bits = _little(file, at + 1, 4)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    _require(kind == b"VP8 " and _tag(file, at + 3, 3) == b"\x9d\x01\x2a", "start of lossy WebP")
    return _little(file, at + 6, 2) & 0x3FFF, _little(file, at + 8, 2) & 0x3FFF


_GIF_TABLE, _GIF_TABLE_SIZE = 0x80, 0x07
_GIF_IMAGE, _GIF_EXTENSION, _GIF_END = 0x2C, 0x21, 0x3B


def _gif(file: memoryview) -> Extent:
    """Read the blocks (GIF89a, 15 to 27): frames within the screen, and the trailer as the last byte."""
    _require(_tag(file, 0, 6) in {b"GIF87a", b"GIF89a"}, "start of GIF")
    screen = _little(file, 6, 2), _little(file, 8, 2)
    at, frames, blocks = 13 + _colour_table_bytes(file[10]), 0, 0
    most_blocks = _MAX_PARTS + len(file) // 64
    while file[at] != _GIF_END:
        if file[at] == _GIF_IMAGE:
            left, top, width, height = (_little(file, at + offset, 2) for offset in (1, 3, 5, 7))
            _require(left + width <= screen[0] and top + height <= screen[1], "extent of a GIF frame")
            at += 11 + _colour_table_bytes(file[at + 9])
            frames += 1
        else:
            _require(file[at] == _GIF_EXTENSION, "GIF block")
            at += 2
        blocks += 1
        while (length := file[at]) and blocks <= most_blocks:
            at += 1 + length
            blocks += 1
        if blocks > most_blocks:
            raise _too_many("GIF blocks")
        at += 1
    _require(at + 1 == len(file) and frames, "end of GIF")
    return screen


def _colour_table_bytes(flags: int) -> int:
    return 3 << ((flags & _GIF_TABLE_SIZE) + 1) if flags & _GIF_TABLE else 0


_AVIF_BRANDS: Final = frozenset([b"avif", b"avis"])
_AVIF_BOXES: Final = frozenset([b"ftyp", b"meta", b"mdat", b"moov", b"free"])
_AVIF_TRANSFORMS: Final = frozenset([b"irot", b"imir", b"clap"])


def _avif(file: memoryview) -> Extent:
    """Read the boxes (ISO/IEC 14496-12, 4.2) and the extents of the image items (ISO/IEC 23008-12, 6.5.3)."""
    boxes = list(_boxes(file, 0, len(file)))
    kinds = [kind for kind, _, _ in boxes]
    _require(kinds[:1] == [b"ftyp"] and _tag(file, 8) in _AVIF_BRANDS, "start of AVIF")
    _require(_AVIF_BOXES.issuperset(kinds), "AVIF box")
    _require(b"mdat" in kinds, "AVIF without data")
    extents = set()
    for kind, start, _ in _properties(file, boxes):
        _require(kind not in _AVIF_TRANSFORMS, "AVIF transformation")
        if kind == b"ispe":
            extents.add((_number(file, start + 4, 4), _number(file, start + 8, 4)))
    extents.update(_track_extents(file, boxes))
    _require(len(extents) == 1, "AVIF with different extents")
    return extents.pop()


def _properties(file: memoryview, boxes: list[Box]) -> list[Box]:
    """Return the item properties: the boxes in `ipco`, in `iprp`, in `meta` after its version and flags."""
    for name, skipped in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):
        found = [(start, end) for kind, start, end in boxes if kind == name]
        _require(len(found) == 1, "AVIF properties")
        boxes = list(_boxes(file, found[0][0] + skipped, found[0][1]))
    return boxes


def _track_extents(file: memoryview, boxes: list[Box]) -> Iterator[Extent]:
    """Yield the extents of the tracks of an animation (ISO/IEC 14496-12, 8.3.2), in whole pixels."""
    for _, start, end in (box for box in boxes if box[0] == b"moov"):
        for kind, track_start, track_end in _boxes(file, start, end):
            headers = _boxes(file, track_start, track_end) if kind == b"trak" else ()
            for name, _, header_end in headers:
                if name == b"tkhd":
                    yield _number(file, header_end - 8, 2), _number(file, header_end - 4, 2)


def _boxes(file: memoryview, at: int, end: int) -> Iterator[Box]:
    """Yield the type, start and end of each box; the last one ends exactly at the end."""
    for _ in range(_MAX_PARTS):
        if at == end:
            return
        length = _number(file, at, 4)
        # Lengths 0 and 1 are special: to the end of the file, and a 64-bit length.
        _require(length >= 8 and at + length <= end, "length of an AVIF box")  # noqa: PLR2004 - of its header
        yield _tag(file, at + 4), at + 8, at + length
        at += length
    raise _too_many("AVIF boxes")


def _too_many(what: str) -> InvalidRenditionError:
    return InvalidRenditionError(f"too many {what}")


_PARSERS: Final[Mapping[str, Callable[[memoryview], Extent]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "avif": _avif,
}
