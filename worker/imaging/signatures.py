"""Identify the format of a file by its first bytes, regardless of its name."""

import re
from collections.abc import Mapping
from typing import Final

from worker.ipc.framing import Content

ALLOWED_FORMATS: Final = ("jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic")
"""Formats that are decoded."""

_SIGNATURES: Final[tuple[tuple[str, bytes], ...]] = (
    ("JPEG-LS", rb"\xff\xd8\xff\xf7"),
    ("jpeg", rb"\xff\xd8\xff"),
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("gif", rb"GIF8[79]a"),
    ("webp", rb"RIFF....WEBP"),
    ("Canon camera raw", rb"II\*\0....CR\x02|II\x1a\0\0\0HEAPCCDR"),
    ("Phase One camera raw", rb"II\*\0....IIII|MM\0\*....MMMM"),
    ("tiff", rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    ("Olympus camera raw", rb"IIR[OS]|MMOR"),
    ("Panasonic camera raw", rb"IIU\0"),
    ("Fujifilm camera raw", rb"FUJIFILMCCD-RAW"),
    ("Minolta camera raw", rb"\0MRM"),
    ("Sigma camera raw", rb"FOVb"),
    ("bmp", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ("Photoshop document", rb"8BPS"),
    ("icon", rb"\0\0\x01\0[^\0]\0"),
    ("cursor", rb"\0\0\x02\0[^\0]\0"),
    ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("JPEG XL", rb"\0\0\0\x0cJXL |\xff\x0a"),
    ("JPEG XR", rb"II\xbc\x01"),
    ("MNG", rb"\x8aMNG\r\n\x1a\n"),
    ("JNG", rb"\x8bJNG\r\n\x1a\n"),
    ("QOI", rb"qoif"),
    ("BPG", rb"BPG\xfb"),
    ("FLIF", rb"FLIF"),
    ("DDS", rb"DDS "),
    ("KTX", rb"\xabKTX "),
    ("OpenEXR", rb"\x76\x2f\x31\x01"),
    ("Radiance HDR", rb"#\?RADIANCE|#\?RGBE"),
    ("GIMP document", rb"gimp xcf"),
    ("Apple icon", rb"icns"),
    ("portable pixmap", rb"P[1-7fF]\s"),
    ("PCX", rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]"),
    ("SGI image", rb"\x01\xda[\0\x01][\x01\x02]"),
    ("Sun raster", rb"\x59\xa6\x6a\x95"),
    ("Windows metafile", rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF"),
    ("FITS", rb"SIMPLE  ="),
    ("DICOM", rb".{128}DICM"),
    ("DjVu", rb"AT&TFORM"),
    ("PDF", rb"%PDF-|.{1,1000}%PDF-\d"),
    ("PostScript", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("AVI video", rb"RIFF....AVI "),
    ("WAV audio", rb"RIFF....WAVE"),
    ("Matroska or WebM video", rb"\x1a\x45\xdf\xa3"),
    ("QuickTime video", rb"\0...(?:moov|mdat|wide|free|skip|pnot)"),
    ("Flash video", rb"FLV\x01"),
    ("MPEG video", rb"\0\0\x01[\xba\xb3]|(?:\x47.{187}){3}"),
    ("Windows Media video", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("Ogg audio or video", rb"OggS"),
    ("MP3 audio", rb"ID3"),
    ("gzip", rb"\x1f\x8b\x08"),
    ("zip archive", rb"PK(?:\x03\x04|\x05\x06)"),
    ("bzip2", rb"BZh[1-9]1AY&SY"),
    ("xz", rb"\xfd7zXZ\0"),
    ("Zstandard", rb"\x28\xb5\x2f\xfd"),
    ("7z archive", rb"7z\xbc\xaf\x27\x1c"),
    ("RAR archive", rb"Rar!\x1a\x07"),
)
"""Name and regular expression; the first match decides."""

_HINTS: Final[Mapping[str, str]] = {
    "gzip": "store the object uncompressed and without `Content-Encoding: gzip`",
    "zip archive": "upload the images that it contains",
}
_RAW_HINT: Final = "export it as JPEG or TIFF"

_BRANDS: Final[Mapping[bytes, str]] = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "heic"),
    **dict.fromkeys((b"avci", b"avcs"), "HEIF with H.264"),
    **dict.fromkeys((b"vvic", b"vvis"), "HEIF with H.266"),
    **dict.fromkeys((b"evbi", b"evbs"), "HEIF with EVC"),
    **dict.fromkeys((b"jpeg", b"jpgs"), "HEIF with JPEG"),
    **dict.fromkeys((b"j2ki", b"j2is"), "HEIF with JPEG 2000"),
    b"crx ": "Canon camera raw",
    b"qt  ": "QuickTime video",
    **dict.fromkeys((b"M4A ", b"M4B "), "MP4 audio"),
}
"""Brand of an ISO media file -> format. All other brands are MP4 videos."""

_ANY_CODEC: Final = frozenset({b"mif1", b"msf1", b"miaf"})
"""Brands of an image in any format: the compatible brands that follow decide the format."""

_PATTERNS: Final = tuple((name, re.compile(pattern, re.DOTALL)) for name, pattern in _SIGNATURES)
_HEAD_BYTES: Final = 1024
_MARKUP_BYTES: Final = 65_536
_MARKUP: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("HTML page", re.compile(r"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)),
    ("SVG", re.compile(r"<(?:[\w.-]+:)?svg[\s>/]|<!DOCTYPE\s+svg[\s>]")),
    ("XML document", re.compile(r"<\?xml\s|<!DOCTYPE\s")),
)
"""Kind of a markup file and what it contains, in order of precedence."""

_JPEG_MARKER, _JPEG_SCAN = 0xFF, 0xDA
_JPEG_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_FRAMES: Final[Mapping[int, str]] = {
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    **dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC9, 0xCA), ""),
    0xF7: "JPEG-LS",
}
"""Marker at the start of a frame -> kind of JPEG; empty for the kinds that are decoded."""

_JPEG_BITS: Final = 8
_JPEG_CHANNELS: Final = frozenset({1, 3, 4})


def identify(content: Content) -> str | None:
    """Return the name of the file's format, one of `ALLOWED_FORMATS` or another; None if unknown."""
    head = bytes(memoryview(content)[:_HEAD_BYTES])
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    found = next((name for name, pattern in _PATTERNS if pattern.match(head)), None)
    if found == "jpeg":
        return _unsupported_jpeg(memoryview(content)) or found
    return found or _markup(memoryview(content))


def hint_for(found: str) -> str:
    """Return what to do with a file of a format that is not decoded; may be empty."""
    return _RAW_HINT if found.endswith("camera raw") else _HINTS.get(found, "")


def _by_brand(head: bytes) -> str:
    major = head[8:12]
    if major not in _ANY_CODEC:
        return _BRANDS.get(major, "MP4 video")
    end = min(int.from_bytes(head[:4]), len(head))
    compatible = (head[at : at + 4] for at in range(16, end - 3, 4))
    return next((_BRANDS[brand] for brand in compatible if brand in _BRANDS), "heic")


def _markup(view: memoryview) -> str | None:
    """Return the kind of an XML or HTML file; None if it is neither."""
    head = bytes(view[:_MARKUP_BYTES])
    is_wide = head[:2] in {b"\xff\xfe", b"\xfe\xff"}
    text = head.decode("utf-16" if is_wide else "utf-8-sig", "ignore").lstrip()
    if not text.startswith("<"):
        return None
    return next((kind for kind, pattern in _MARKUP if pattern.search(text)), None)


def _unsupported_jpeg(view: memoryview) -> str | None:
    """Return the kind of a JPEG that libjpeg cannot decode to 8 bits; None if it can, or is damaged."""
    at = 2
    while at + 10 <= len(view):
        if view[at] != _JPEG_MARKER:
            return None
        marker = view[at + 1]
        if marker == _JPEG_MARKER:  # padding
            at += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            at += 2
        elif marker in _JPEG_FRAMES:
            bits, channels = view[at + 4], view[at + 9]
            if kind := _JPEG_FRAMES[marker]:
                return kind
            if bits != _JPEG_BITS:
                return f"{bits}-bit JPEG"
            return None if channels in _JPEG_CHANNELS else f"JPEG with {channels} channels"
        elif marker == _JPEG_SCAN:
            return None
        else:
            at += 2 + int.from_bytes(view[at + 2 : at + 4])
    return None
