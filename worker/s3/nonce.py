"""
Marks: a few bytes that make a stored picture unlike any other, with no pixel changed.

S3 compares nothing but eTags before it lets a write through, and equal bytes have equal eTags. A result with
a mark of its own can be told from every other, even from one of the same picture.

Each format has a place for what decoders pass over: JPEG a comment segment (ITU-T T.81, B.2.4.5), PNG a text
chunk (PNG, 11.3.3), WebP chunks that nobody knows, in extended files only (RFC 9649, 2.7), GIF a comment
extension (GIF89a, 24), AVIF a free box (ISO/IEC 14496-12, 8.1.2).
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from zlib import crc32

from worker.domain.step import EncodedRendition

Parts: TypeAlias = tuple[bytes | memoryview, ...]


def new_nonce() -> bytes:
    """Draw sixteen hexadecimal digits: at random, because a public picture must not tell who made it."""
    return secrets.token_hex(8).encode()


def marked(rendition: EncodedRendition, mark: bytes) -> bytes:
    """
    Return the rendition's file with the mark in it.

    Args:
        rendition: As it was encoded.
        mark: As `new_nonce` draws it.

    Raises:
        ValueError: The file is not of the rendition's format, as far as that has to be known here.
    """
    return b"".join(_MARKED[rendition.format](memoryview(rendition.content), mark, rendition))


def _jpeg(file: memoryview, mark: bytes, rendition: EncodedRendition) -> Parts:
    _require(_has(file, b"\xff\xd8", at=0), rendition)
    at = 2
    while int.from_bytes(file[at : at + 2], "big") in _APPLICATION:
        at += 2 + int.from_bytes(file[at + 2 : at + 4], "big")
    _require(_has(file, b"\xff", at=at), rendition)
    return file[:at], b"\xff\xfe", (2 + len(mark)).to_bytes(2, "big"), mark, file[at:]


def _png(file: memoryview, mark: bytes, rendition: EncodedRendition) -> Parts:
    _require(_has(file, b"IHDR", at=12) and len(file) > _AFTER_IHDR, rendition)
    chunk = b"tEXtComment\0" + mark
    length, checksum = (len(chunk) - 4).to_bytes(4, "big"), crc32(chunk).to_bytes(4, "big")
    return file[:_AFTER_IHDR], length, chunk, checksum, file[_AFTER_IHDR:]


def _webp(file: memoryview, mark: bytes, rendition: EncodedRendition) -> Parts:
    """Put the mark at the end; a simple file becomes an extended one first, where such a chunk may be."""
    _require(_has(file, b"RIFF", at=0) and _has(file, b"WEBP", at=8), rendition)
    _require(int.from_bytes(file[4:8], "little") == len(file) - 8, rendition)
    chunk = b"MARK" + len(mark).to_bytes(4, "little") + mark
    extension = b""
    if not _has(file, b"VP8X", at=12):
        # Of simple files, only a lossless one can be transparent: it says so in the bit after its two sides.
        is_transparent = _has(file, b"VP8L", at=12) and int.from_bytes(file[21:25], "little") >> 28 & 1
        sides = ((side - 1).to_bytes(3, "little") for side in (rendition.width, rendition.height))
        extension = b"".join((b"VP8X\x0a\0\0\0", b"\x10\0\0\0" if is_transparent else b"\0\0\0\0", *sides))
    length = len(file) - 8 + len(extension) + len(chunk)
    return b"RIFF", length.to_bytes(4, "little"), b"WEBP", extension, file[12:], chunk


def _gif(file: memoryview, mark: bytes, rendition: EncodedRendition) -> Parts:
    _require(_has(file, b"GIF", at=0) and _has(file, b";", at=len(file) - 1), rendition)
    return b"GIF89a", file[6:-1], b"\x21\xfe", bytes([len(mark)]), mark, b"\0", b";"


def _avif(file: memoryview, mark: bytes, rendition: EncodedRendition) -> Parts:
    """Put the mark at the end, where it moves nothing that the file points to."""
    _require(_has(file, b"ftyp", at=4), rendition)
    at = 0
    while at < len(file):
        length = int.from_bytes(file[at : at + 4], "big")
        _require(length >= _BOX_HEADER, rendition)  # a shorter one means: to the end, or a length elsewhere
        at += length
    _require(at == len(file), rendition)
    return file, (_BOX_HEADER + len(mark)).to_bytes(4, "big"), b"free", mark


def _has(file: memoryview, expected: bytes, *, at: int) -> bool:
    return bytes(file[at : at + len(expected)]) == expected


def _require(is_so: bool, rendition: EncodedRendition) -> None:  # noqa: FBT001
    if not is_so:
        message = f"the rendition {rendition.size!r} is no whole {rendition.format}"
        raise ValueError(message)


_APPLICATION: Final = range(0xFFE0, 0xFFF0)
"""Application segments, among them JFIF's and Exif's, which have to come first."""
_AFTER_IHDR: Final = 33
_BOX_HEADER: Final = 8

_MARKED: Final[Mapping[str, Callable[[memoryview, bytes, EncodedRendition], Parts]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "avif": _avif,
}
