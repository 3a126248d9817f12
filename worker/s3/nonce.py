"""
A nonce in each stored file, which makes its ETag unique without changing a pixel.

S3 compares ETags in conditional writes, and equal files have equal ETags. With a nonce, a result differs from
every other, even from one with the same pixels.

Each format has a place that decoders skip: in JPEG a comment segment (ITU-T T.81, B.2.4.5), in PNG a text
chunk (PNG, 11.3.3), in WebP an unknown chunk, in extended files only (RFC 9649, 2.7), in GIF a comment
extension (GIF89a, 24), in AVIF a free box (ISO/IEC 14496-12, 8.1.2).
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias
from zlib import crc32

from worker.domain.step import EncodedRendition

Parts: TypeAlias = tuple[bytes | memoryview, ...]


def new_nonce() -> bytes:
    """Return sixteen random hexadecimal digits; they reveal nothing about the worker in a public file."""
    return secrets.token_hex(8).encode()


def with_nonce(rendition: EncodedRendition, nonce: bytes) -> bytes:
    """
    Return the rendition's file with the nonce in it.

    Args:
        rendition: The encoded rendition.
        nonce: As `new_nonce` returns it.

    Raises:
        ValueError: The content is not a complete file of the rendition's format.
    """
    return b"".join(_INSERT[rendition.format](memoryview(rendition.content), nonce, rendition))


def _jpeg(file: memoryview, nonce: bytes, rendition: EncodedRendition) -> Parts:
    _require(_has(file, b"\xff\xd8", at=0), rendition)
    at = 2
    while int.from_bytes(file[at : at + 2], "big") in _APPLICATION_MARKERS:
        at += 2 + int.from_bytes(file[at + 2 : at + 4], "big")
    _require(_has(file, b"\xff", at=at), rendition)
    return file[:at], b"\xff\xfe", (2 + len(nonce)).to_bytes(2, "big"), nonce, file[at:]


def _png(file: memoryview, nonce: bytes, rendition: EncodedRendition) -> Parts:
    _require(_has(file, b"IHDR", at=12) and len(file) > _AFTER_IHDR, rendition)
    chunk = b"tEXtComment\0" + nonce
    length, checksum = (len(chunk) - 4).to_bytes(4, "big"), crc32(chunk).to_bytes(4, "big")
    return file[:_AFTER_IHDR], length, chunk, checksum, file[_AFTER_IHDR:]


def _webp(file: memoryview, nonce: bytes, rendition: EncodedRendition) -> Parts:
    """Append the nonce; a simple file first becomes an extended one, where unknown chunks are allowed."""
    _require(_has(file, b"RIFF", at=0) and _has(file, b"WEBP", at=8), rendition)
    _require(int.from_bytes(file[4:8], "little") == len(file) - 8, rendition)
    chunk = b"MARK" + len(nonce).to_bytes(4, "little") + nonce
    extension = b""
    if not _has(file, b"VP8X", at=12):
        # Among simple files, only lossless ones can be transparent: the bit after width and height.
        is_transparent = _has(file, b"VP8L", at=12) and int.from_bytes(file[21:25], "little") >> 28 & 1
        sides = ((side - 1).to_bytes(3, "little") for side in (rendition.width, rendition.height))
        extension = b"".join((b"VP8X\x0a\0\0\0", b"\x10\0\0\0" if is_transparent else b"\0\0\0\0", *sides))
    length = len(file) - 8 + len(extension) + len(chunk)
    return b"RIFF", length.to_bytes(4, "little"), b"WEBP", extension, file[12:], chunk


def _gif(file: memoryview, nonce: bytes, rendition: EncodedRendition) -> Parts:
    _require(_has(file, b"GIF", at=0) and _has(file, b";", at=len(file) - 1), rendition)
    return b"GIF89a", file[6:-1], b"\x21\xfe", bytes([len(nonce)]), nonce, b"\0", b";"


def _avif(file: memoryview, nonce: bytes, rendition: EncodedRendition) -> Parts:
    """Append the nonce, so that the offsets in the file stay valid."""
    _require(_has(file, b"ftyp", at=4), rendition)
    at = 0
    while at < len(file):
        length = int.from_bytes(file[at : at + 4], "big")
        _require(length >= _BOX_HEADER, rendition)  # 0 and 1 are special: to the end, and a 64-bit length
        at += length
    _require(at == len(file), rendition)
    return file, (_BOX_HEADER + len(nonce)).to_bytes(4, "big"), b"free", nonce


def _has(file: memoryview, expected: bytes, *, at: int) -> bool:
    return bytes(file[at : at + len(expected)]) == expected


def _require(is_valid: bool, rendition: EncodedRendition) -> None:
    if not is_valid:
        message = f"the rendition {rendition.size!r} is not a complete {rendition.format} file"
        raise ValueError(message)


_APPLICATION_MARKERS: Final = range(0xFFE0, 0xFFF0)
"""Markers of the segments that have to come first, such as JFIF's and Exif's."""
_AFTER_IHDR: Final = 33
_BOX_HEADER: Final = 8

_INSERT: Final[Mapping[str, Callable[[memoryview, bytes, EncodedRendition], Parts]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "avif": _avif,
}
