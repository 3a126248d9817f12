"""Identify the format of a file by its first bytes, regardless of its name."""

import re
from collections.abc import Mapping
from typing import Final

from worker.ipc.framing import Content

ALLOWED_FORMATS: Final = ("jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic")
"""Formats that are decoded."""

_SIGNATURES: Final[tuple[tuple[str, bytes], ...]] = (
    ("jpeg", rb"\xff\xd8\xff"),
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("gif", rb"GIF8[79]a"),
    ("webp", rb"RIFF....WEBP"),
    ("Canon raw", rb"II\*\0....CR\x02"),
    ("tiff", rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    ("bmp", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ("Photoshop", rb"8BPS"),
    ("icon", rb"\0\0\x01\0[^\0]\0"),
    ("cursor", rb"\0\0\x02\0[^\0]\0"),
    ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("JPEG XL", rb"\0\0\0\x0cJXL |\xff\x0a"),
    ("JPEG XR", rb"II\xbc\x01"),
    ("MNG", rb"\x8aMNG\r\n\x1a\n"),
    ("QOI", rb"qoif"),
    ("DDS", rb"DDS "),
    ("OpenEXR", rb"\x76\x2f\x31\x01"),
    ("Radiance HDR", rb"#\?RADIANCE"),
    ("GIMP", rb"gimp xcf"),
    ("Apple icon", rb"icns"),
    ("portable pixmap", rb"P[1-7fF]\s"),
    ("FITS", rb"SIMPLE  ="),
    ("DICOM", rb".{128}DICM"),
    ("PostScript", rb"%!PS"),
    ("SVG", rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!DOCTYPE[^>]*>\s*)*<svg[\s>]"),
)
"""Name and regular expression; the first match decides."""

_BRANDS: Final[Mapping[bytes, str]] = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "heic"),
    b"crx ": "Canon raw",
}
"""Brand of an ISO media file -> image format. All other brands are videos."""

_ANY_CODEC: Final = frozenset({b"mif1", b"msf1", b"miaf"})
"""Brands of an image in any format: the compatible brands that follow decide the format."""

_PATTERNS: Final = tuple((name, re.compile(pattern, re.DOTALL)) for name, pattern in _SIGNATURES)
_HEAD_BYTES: Final = 1024


def identify(content: Content) -> str | None:
    """Return the name of the image format, one of `ALLOWED_FORMATS` or another; None if unknown."""
    head = bytes(memoryview(content)[:_HEAD_BYTES])
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    return next((name for name, pattern in _PATTERNS if pattern.match(head)), None)


def _by_brand(head: bytes) -> str | None:
    major = head[8:12]
    if major not in _ANY_CODEC:
        return _BRANDS.get(major)
    end = min(int.from_bytes(head[:4]), len(head))
    compatible = (head[at : at + 4] for at in range(16, end - 3, 4))
    return next((_BRANDS[brand] for brand in compatible if brand in _BRANDS), "heic")
