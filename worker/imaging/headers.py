"""
Read the structure of image files without a decoder: frames, truncation, checksums.

Counting frames this way takes microseconds and stops at the limit; a decoder would compose every frame of a
GIF, or allocate the canvas of a WebP.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from worker.imaging.picture import Extent
from worker.ipc.framing import Content

MAX_PROFILE_BYTES: Final = 16 * 1024 * 1024

_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C
_ANIMATION_FRAME_BYTES: Final = 16
_MAX_BOXES: Final = 100_000
_PNG_CHUNK_HEAD: Final = struct.Struct(">I4s")
TIFF_ENTRY_BYTES: Final = {False: 12, True: 20}


def webp_canvas(content: Content) -> Extent | None:
    """Return the canvas of a WebP file; None if its header is invalid."""
    head = bytes(content[:30]).ljust(30, b"\0")
    match head[12:16]:
        case b"VP8X":
            return Extent(
                1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
            )
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return Extent(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", head, 26)
            return Extent(width & 0x3FFF, height & 0x3FFF)
    return None


def is_lossless_webp(content: Content) -> bool:
    """Return whether the first picture of a WebP file is compressed without loss."""
    view = memoryview(content)
    at, end = 12, len(view)
    while at + 8 <= end:
        kind = bytes(view[at : at + 4])
        if kind in {b"VP8 ", b"VP8L"}:
            return kind == b"VP8L"
        (length,) = struct.unpack_from("<I", view, at + 4)
        at += 8 + (_ANIMATION_FRAME_BYTES if kind == b"ANMF" else length + (length & 1))
    return False


def count_frames(content: Content, *, image_format: str, stop_after: int) -> int:
    """
    Count the frames of a file; stop one above `stop_after`.

    In a truncated file, only the frames that it contains are counted. Formats without animation have one
    frame, and so has a multi-picture JPEG, whose other pictures are never decoded.
    """
    view = memoryview(content)
    count = {"gif": _gif_frames, "webp": _webp_frames, "tiff": _tiff_frames, "png": _png_frames}.get(
        image_format
    )
    try:
        return max(1, count(view, stop_after)) if count else 1
    except (IndexError, struct.error):
        return 1


def is_truncated(content: Content, *, image_format: str) -> bool:
    """Return whether the end of the file is missing, according to its own markers and lengths."""
    whole = bytes(content) if isinstance(content, memoryview) else content
    match image_format:
        case "jpeg":
            return whole.rfind(b"\xff\xd9") < whole.rfind(b"\xff\xda")
        case "png":
            return all(kind != b"IEND" for kind, _ in png_chunks(memoryview(whole)))
        case "webp":
            return int.from_bytes(whole[4:8], "little") + 8 > len(whole)
        case "gif":
            return not whole.endswith(b"\x3b")
        case "tiff":
            return tiff_start(memoryview(whole))[2] >= len(whole)
        case "avif" | "heic":
            ends = (end for _, (_, end) in boxes(memoryview(whole), 0, len(whole)))
            return max(ends, default=0) > len(whole)
    return False


def find_damaged_png_chunk(content: Content, *, except_pixels: bool = False) -> str | None:
    """
    Return the name of the first critical chunk whose checksum is wrong; None if all are right.

    Args:
        content: PNG file.
        except_pixels: Whether to skip the chunks with pixels, which are most of the file.
    """
    view = memoryview(content)
    for kind, body in png_chunks(view):
        if except_pixels and kind == b"IDAT":
            continue
        (stored,) = struct.unpack_from(">I", view, body.stop)
        if kind[:1].isupper() and zlib.crc32(view[body.start - 4 : body.stop]) != stored:
            return kind.decode("ascii", "replace")
    return None


def png_chunk(content: Content, wanted: bytes) -> bytes | None:
    """Return the body of the first chunk of this type before the pixels; None if there is none."""
    view = memoryview(content)
    for kind, body in png_chunks(view):
        if kind == wanted:
            return bytes(view[body])
        if kind == b"IDAT":
            break
    return None


def has_png_chunk(content: Content, wanted: bytes) -> bool:
    """Return whether a PNG has a chunk of this type, before or after the pixels."""
    return any(kind == wanted for kind, _ in png_chunks(memoryview(content)))


def has_webp_chunk(content: Content, wanted: bytes) -> bool:
    """Return whether a WebP has a chunk of this type that is not within a frame."""
    return any(kind == wanted for kind in _webp_chunks(memoryview(content)))


def has_oversized_profile(content: Content) -> bool:
    """Return whether a PNG's colour profile decompresses to more than `MAX_PROFILE_BYTES`."""
    view = memoryview(content)
    for kind, body in png_chunks(view):
        if kind == b"IDAT":
            break
        if kind == b"iCCP":
            compressed = bytes(view[body]).partition(b"\0")[2][1:]
            decompressor = zlib.decompressobj()
            try:
                decompressor.decompress(compressed, MAX_PROFILE_BYTES)
            except zlib.error:
                return False
            return bool(decompressor.unconsumed_tail)
    return False


def boxes(view: memoryview, start: int, stop: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the type of each box, and where its body begins and ends, even if that is after the file."""
    for _ in range(_MAX_BOXES):
        if start + 8 > stop:
            return
        length, kind = struct.unpack_from(">I4s", view, start)
        head = 8
        if length == 1 and start + 16 <= stop:
            (length,) = struct.unpack_from(">Q", view, start + 8)
            head = 16
        if length == 0:  # to the end of the file
            length = stop - start
        if length < head:
            return
        yield kind, (start + head, start + length)
        start += length


def _gif_frames(view: memoryview, stop_after: int) -> int:
    at = 13 + _gif_palette_bytes(view[10])
    frames = 0
    while frames <= stop_after and at < len(view):
        if view[at] == _GIF_IMAGE:
            frames += 1
            at += 11 + _gif_palette_bytes(view[at + 9])
        elif view[at] == _GIF_EXTENSION:
            at += 2
        else:
            break
        while at < len(view) and view[at]:
            at += 1 + view[at]
        at += 1
    return frames


def _gif_palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp_frames(view: memoryview, stop_after: int) -> int:
    frames = 0
    for kind in _webp_chunks(view):
        frames += kind == b"ANMF"
        if frames > stop_after:
            break
    return frames


def _webp_chunks(view: memoryview) -> Iterator[bytes]:
    """Yield the type of each chunk, also of one in which the file ends."""
    at = 12
    while at + 8 <= len(view):
        yield bytes(view[at : at + 4])
        (length,) = struct.unpack_from("<I", view, at + 4)
        at += 8 + length + (length & 1)


def _png_frames(view: memoryview, stop_after: int) -> int:
    for kind, body in png_chunks(view):
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", view, body.start)
            return min(int(frames), stop_after + 1)
        if kind == b"IDAT":
            break
    return 1


def png_chunks(view: memoryview) -> Iterator[tuple[bytes, slice]]:
    """Yield the type and the position of the body of each complete chunk, up to IEND."""
    at, kind = 8, b""
    while at + 12 <= len(view) and kind != b"IEND":
        length, kind = _PNG_CHUNK_HEAD.unpack_from(view, at)
        if at + 12 + length > len(view):
            return
        yield kind, slice(at + 8, at + 8 + length)
        at += 12 + length


def has_repeated_png_pixels(content: Content) -> bool:
    """Return whether two chunks with pixels of a PNG file have the same length and checksum."""
    view, seen = memoryview(content), set[bytes]()
    for kind, body in png_chunks(view):
        if kind == b"IDAT":
            chunk = bytes((body.stop - body.start).to_bytes(4, "big") + view[body.stop : body.stop + 4])
            if chunk in seen:
                return True
            seen.add(chunk)
    return False


def _tiff_frames(view: memoryview, stop_after: int) -> int:
    order, is_big, at = tiff_start(view)
    seen: set[int] = set()
    while at and at not in seen and at < len(view) and len(seen) <= stop_after:
        seen.add(at)
        (entries,) = struct.unpack_from(order + ("Q" if is_big else "H"), view, at)
        at += (8 if is_big else 2) + entries * TIFF_ENTRY_BYTES[is_big]
        (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), view, at)
    return len(seen)


def tiff_start(view: memoryview) -> tuple[str, bool, int]:
    """Return the byte order, whether it is a BigTIFF, and the offset of the first directory."""
    order = "<" if bytes(view[:2]) == b"II" else ">"
    is_big = bytes(view[2:4]) in {b"+\0", b"\0+"}
    try:
        (first,) = struct.unpack_from(order + ("Q" if is_big else "I"), view, 8 if is_big else 4)
    except struct.error:
        return order, is_big, len(view)
    return order, is_big, int(first)
