"""
Detect what a file has besides its base image: a gain map, content credentials.

Only the base image is processed, and renditions have neither. Structures are read in a bounded number of
steps; what is damaged counts as absent.
"""

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, cast

from PIL import Image, JpegImagePlugin

from worker.imaging import icc
from worker.imaging.boxes import has_gain_map, has_manifest
from worker.imaging.colour_description import is_high_dynamic_range
from worker.imaging.headers import has_png_chunk, has_webp_chunk
from worker.imaging.tiff import TiffFile
from worker.ipc.framing import Content

if TYPE_CHECKING:
    from worker.domain.step import Json

_GAIN_MAP_NAMESPACES: Final = (
    b"http://ns.adobe.com/hdr-gain-map/1.0/",
    b"http://ns.apple.com/HDRGainMap/1.0/",
    b"urn:com:apple:photo:2020:aux:hdrgainmap",
)
"""What the XMP of a gain map contains (Ultra HDR, Adobe, Apple)."""

_ISO_GAIN_MAP: Final = b"urn:iso:std:iso:ts:21496:-1\0"
"""Name of the segment of a gain map (ISO 21496-1)."""

_JPEG_START: Final = b"\xff\xd8\xff"
_JPEG_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_JPEG_SCAN: Final = 0xDA
_JPEG_APPLICATION: Final = frozenset({0xE1, 0xE2})
_MAX_PICTURES: Final = 16
_MAX_SEGMENTS: Final = 1000
"""Bounds of the pictures in a JPEG after the first that are looked at, and of the segments in each."""

_MANIFEST_TAG: Final = 52545
"""The tag of content credentials in a TIFF."""

_HEAD_BYTES: Final = 128
"""Length within which the first box of a manifest in a JPEG (ISO 19566-5) has its type."""


def read_extras(
    content: Content, image: Image.Image, *, image_format: str, xmp: bytes, profile: bytes | None
) -> "dict[str, Json]":
    """
    Return `hdr` and `contentCredentials` for the record, as far as they are true.

    Args:
        content: Uploaded file.
        image: The decoded file.
        image_format: Format of the file.
        xmp: XMP packet of the file.
        profile: ICC profile of the pixels, which precedes other descriptions of the colours in an AVIF.
    """
    found = {
        "hdr": _is_hdr(content, image, image_format=image_format, xmp=xmp, profile=profile),
        "contentCredentials": _has_manifest(content, image, image_format=image_format),
    }
    return {name: True for name, is_true in found.items() if is_true}


def _is_hdr(
    content: Content, image: Image.Image, *, image_format: str, xmp: bytes, profile: bytes | None
) -> bool:
    """Return whether a file is of high dynamic range: in its own pixels, or by a gain map besides them."""
    if profile and _states_hdr(profile):
        return True
    match image_format:
        case "jpeg":
            return _has_later_gain_map(content, image, xmp)
        case "avif" | "heic":
            is_coded = not image.info.get("icc_profile") and is_high_dynamic_range(content, image_format)
            return is_coded or has_gain_map(content)
        case "png":
            return is_high_dynamic_range(content, image_format)
    return False


def _has_manifest(content: Content, image: Image.Image, *, image_format: str) -> bool:
    """Return whether a file contains a C2PA manifest; it is not verified."""
    match image_format:
        case "jpeg":
            return any(
                name == "APP11" and body[:2] == b"JP" and b"c2pa" in body[:_HEAD_BYTES]
                for name, body in _jpeg_applications(image)
            )
        case "png":
            return has_png_chunk(content, b"caBX")
        case "webp":
            return has_webp_chunk(content, b"C2PA")
        case "avif" | "heic":
            return has_manifest(content)
        case "gif":
            return bool(image.info.get("c2pa"))
        case "tiff":
            return isinstance(image, TiffFile) and _MANIFEST_TAG in image.tag_v2
    return False


def _states_hdr(profile: bytes) -> bool:
    """Return whether the `cicp` tag of an ICC profile has the transfer PQ or HLG."""
    code_points = icc.read_tags(profile).get(b"cicp", b"")
    return code_points[9:10] in {b"\x10", b"\x12"}


def _jpeg_applications(image: Image.Image) -> list[tuple[str, bytes]]:
    """Return the name and the content of the application segments of a JPEG's first picture."""
    return cast("JpegImagePlugin.JpegImageFile", image).applist


def _has_later_gain_map(content: Content, image: Image.Image, xmp: bytes) -> bool:
    """
    Return whether a picture after the first one of a JPEG is a gain map.

    An editor may have removed it and kept what the first picture states about it.
    """
    is_announced = any(name in xmp for name in _GAIN_MAP_NAMESPACES) or any(
        name == "APP2" and body.startswith(_ISO_GAIN_MAP) for name, body in _jpeg_applications(image)
    )
    if not is_announced and "mp" not in image.info:
        return False
    file = content if isinstance(content, bytes) else bytes(content)
    at = _end_of_header(file)
    for _ in range(_MAX_PICTURES):
        at = file.find(_JPEG_START, at)
        if at < 0:
            return False
        segments = list(_segments(file, at + 2))
        is_picture = any(marker in _JPEG_FRAMES for marker, _ in segments)
        if is_picture and (is_announced or any(_is_of_gain_map(*segment) for segment in segments)):
            return True
        at += len(_JPEG_START)
    return False


def _is_of_gain_map(marker: int, body: bytes) -> bool:
    if marker not in _JPEG_APPLICATION:
        return False
    return body.startswith(_ISO_GAIN_MAP) or any(name in body for name in _GAIN_MAP_NAMESPACES)


def _end_of_header(file: bytes) -> int:
    """Return where the first scan of a JPEG begins: thumbnails are before it."""
    at = 2
    for _, body in _segments(file, 2, most=len(file)):
        at += 4 + len(body)
    return at


def _segments(file: bytes, at: int, *, most: int = _MAX_SEGMENTS) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the body of each complete segment before the first scan."""
    for _ in range(most):
        head = file[at : at + 4]
        if len(head) < 4 or head[0] != 0xFF or head[1] in {_JPEG_SCAN, 0}:  # noqa: PLR2004 - a marker and a length
            return
        (length,) = struct.unpack_from(">H", head, 2)
        if length < 2 or at + 2 + length > len(file):  # noqa: PLR2004 - the length includes itself
            return
        yield head[1], file[at + 4 : at + 2 + length]
        at += 2 + length
