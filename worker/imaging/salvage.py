"""
Remove damage outside the pixels from image files, so that decoders read what viewers show.

Nothing is made up: a file whose pixels are incomplete is left as it is, or rejected as truncated.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from PIL import ImageFile

from worker.domain.errors import TruncatedError
from worker.imaging.heif import missing_bytes
from worker.imaging.jpeg import END_OF_IMAGE, FILLERS, ends_in_fill, read_structure
from worker.ipc.framing import Content

_PNG_SIGNATURE_BYTES: Final = 8
_PNG_CHUNK: Final = struct.Struct(">I4s")
_PNG_CHUNK_OVERHEAD: Final = 12
_PNG_END: Final = b"\0\0\0\0IEND\xae\x42\x60\x82"
_PNG_PIXELS: Final = frozenset({b"IDAT", b"fdAT"})
_PNG_USED: Final = frozenset({b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"eXIf"})
_PNG_ANIMATION: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})
_PNG_EXIF: Final = b"eXIf"
_PNG_XMP: Final = b"XML:com.adobe.xmp\0\0"
"""Keyword of an XMP packet, and the flag of uncompressed text."""

_MAX_XMP_BYTES: Final = 262_144
_WEBP_PIXELS: Final = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})
_WEBP_EXIF: Final = b"EXIF"
_WEBP_FLAGS, _WEBP_HAS_EXIF = 20, 8
"""Offset of the flags in an extended file, and that of EXIF."""

_EXIF_ENTRY_BYTES: Final = 12
_MAX_EXIF_BYTES: Final = 65_536
_MAX_FILLED_BYTES: Final = 16 * 2**20


def salvaged(content: Content, *, image_format: str) -> bytes:
    """
    Return the file without damage outside its pixels.

    Args:
        content: Uploaded file.
        image_format: Format of the file, as identified by its signature.

    Raises:
        TruncatedError: Pixels are missing at the end.
        TooManyScansError: A JPEG has too many scans.
        CorruptError: The file has too many segments.
    """
    salvage = _SALVAGED.get(image_format)
    return salvage(content) if salvage else bytes(content)


def other_ends(
    content: Content, file: bytes, image: ImageFile.ImageFile, *, image_format: str
) -> tuple[bytes, ...]:
    """
    Return the upload with other bytes after its image data, if its last pixels may be missing.

    If all pixels are in the upload, these decode to the same pixels.

    Args:
        content: Uploaded file.
        file: What `salvaged` returned for it.
        image: The decoded file.
        image_format: Format of the file.

    """
    if image_format != "jpeg":
        return ()
    if len(file) != len(content):
        return tuple(_with_end(content, filler) for filler in FILLERS[1:])
    if not ends_in_fill(image):
        return ()
    structure = read_structure(content)
    data = memoryview(content)[: structure.end]
    return tuple(_with_end(data, filler) for filler in FILLERS[1:])


def _png(content: Content) -> bytes:
    """Keep the chunks that decoding needs; drop the others, and ancillary ones with a wrong checksum."""
    view = memoryview(content)
    parts: list[memoryview | bytes] = [view[:_PNG_SIGNATURE_BYTES]]
    for kind, chunk in _png_chunks(view):
        if chunk is None:
            if kind in _PNG_PIXELS or kind == _PNG_EXIF:  # EXIF may have the orientation
                raise TruncatedError
            break
        if kind == b"IEND":
            break
        is_critical = not kind[0] & 0x20
        is_used = kind in _PNG_USED or kind in _PNG_ANIMATION or _is_xmp(kind, chunk)
        if is_critical or kind == b"fdAT" or (is_used and _has_right_checksum(chunk)):
            parts.append(chunk)
    return b"".join((*parts, _PNG_END))


def _png_chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview | None]]:
    """Yield each chunk's type and the whole chunk; None for the chunk in which the file ends."""
    at = _PNG_SIGNATURE_BYTES
    while at + _PNG_CHUNK.size <= len(view):
        length, kind = _PNG_CHUNK.unpack_from(view, at)
        end = at + _PNG_CHUNK_OVERHEAD + length
        yield kind, view[at:end] if end <= len(view) else None
        at = end


def _is_xmp(kind: bytes, chunk: memoryview) -> bool:
    return kind == b"iTXt" and bytes(chunk[8 : 8 + len(_PNG_XMP)]) == _PNG_XMP and len(chunk) < _MAX_XMP_BYTES


def _has_right_checksum(chunk: memoryview) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _webp(content: Content) -> bytes:
    """Fill up EXIF in which the file ends, drop any other such chunk, and correct the length of the file."""
    view = memoryview(content)
    at, exif, missing = 12, b"", 0
    while at + 8 <= len(view):
        kind = bytes(view[at : at + 4])
        end = at + 8 + int.from_bytes(view[at + 4 : at + 8], "little")
        if kind == _WEBP_EXIF:
            exif = bytes(view[at + 8 : end])
            missing = min(max(0, end - len(view)), _MAX_EXIF_BYTES)
        if end > len(view):
            if kind in _WEBP_PIXELS:
                raise TruncatedError
            break
        at = end + end % 2
    if 8 + int.from_bytes(view[4:8], "little") <= len(view):
        return bytes(content)
    has_exif = bytes(view[12:16]) == b"VP8X" and view[_WEBP_FLAGS] & _WEBP_HAS_EXIF
    if has_exif and not _has_first_directory(exif):  # the orientation may be missing
        raise TruncatedError
    body = bytes(view[8 : min(at, len(view))])
    if missing:
        body += _WEBP_EXIF + struct.pack("<I", len(exif) + missing) + exif + bytes(missing)
    body += bytes(len(body) % 2)
    return b"".join((b"RIFF", struct.pack("<I", len(body)), body))


def _has_first_directory(exif: bytes) -> bool:
    """Return whether the directory that has the orientation is in the first bytes of EXIF."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, start)
    except struct.error:
        return False
    return int(start + 2 + entries * _EXIF_ENTRY_BYTES) <= len(exif)


def _jpeg(content: Content) -> bytes:
    """Add the missing end marker of a JPEG that may be complete without it; see `other_ends`."""
    structure = read_structure(content)
    if structure.end is None and structure.may_be_complete:
        return _with_end(content, FILLERS[0])
    # Scans of a progressive JPEG refine pixels that are all there; other scans have components of their own.
    if structure.end is None or (not structure.is_progressive and any(structure.missing.values())):
        raise TruncatedError
    return bytes(content)


def _with_end(content: Content, filler: bytes) -> bytes:
    # A last 0xFF is half of a marker, or of a byte of which the other half is missing.
    return bytes(content).removesuffix(b"\xff") + filler + END_OF_IMAGE


def _heif(content: Content) -> bytes:
    """Fill up a file that ends in its metadata; libheif and libavif read no incomplete file."""
    missing = missing_bytes(content)
    return bytes(content) + bytes(missing) if 0 < missing <= _MAX_FILLED_BYTES else bytes(content)


_SALVAGED: Final[Mapping[str, Callable[[Content], bytes]]] = {
    "png": _png,
    "webp": _webp,
    "jpeg": _jpeg,
    "avif": _heif,
    "heic": _heif,
}
