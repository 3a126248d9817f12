"""Files with gain maps and content credentials, put together from parts, which encoders here do not write."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import pillow_heif
from PIL import Image

from tests.support.pictures import encoded, quadrants
from worker.imaging.headers import boxes

GAIN_MAP_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
    b' hdrgm:GainMapMax="2.3"/></rdf:RDF></x:xmpmeta>'
)
APPLE_GAIN_MAP_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/"'
    b' HDRGainMap:HDRGainMapVersion="65536"/></rdf:RDF></x:xmpmeta>'
)
ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4)
MANIFEST = (
    struct.pack(">I4sI4s", 2000, b"jumb", 38, b"jumd")
    + bytes.fromhex("6332706100110010800000aa00389b71")
    + b"\x03c2pa\0"
    + bytes(1950)
)
"""The beginning of a manifest store: a JUMBF box of the type of C2PA."""

C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + bytes(4) + b"manifest\0" + bytes(8) + MANIFEST


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with more segments before all others."""
    parts = [struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body for marker, body in segments]
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def multi_picture(first: bytes, *others: bytes) -> bytes:
    """Return a JPEG with more pictures after the first, and an index of them (CIPA DC-007)."""
    entries = b"".join(
        struct.pack("<IIIHH", 0x030000 if number == 0 else 0, len(each), 0, 0, 0)
        for number, each in enumerate((first, *others))
    )
    count = 1 + len(others)
    index = b"II*\0" + struct.pack("<IH", 8, 3)
    index += struct.pack("<HHI4s", 0xB000, 7, 4, b"0100") + struct.pack("<HHII", 0xB001, 4, 1, count)
    index += struct.pack("<HHII", 0xB002, 7, 16 * count, 50) + struct.pack("<I", 0) + entries
    return with_segments(first, (0xE2, b"MPF\0" + index)) + b"".join(others)


def a_photograph(**options: Any) -> bytes:
    """Return the first picture of a multi-picture file."""
    return encoded(quadrants(64, 48), **options)


def a_gain_map(**options: Any) -> bytes:
    """Return a small grey JPEG, the second picture of a multi-picture file."""
    return encoded(Image.new("L", (16, 12), 90), **options)


def jpeg_manifest(store: bytes = MANIFEST) -> tuple[int, bytes]:
    """Return the segment of a manifest store: the identifier and number of its box, and of the packet."""
    return 0xEB, b"JP" + struct.pack(">HI", 1, 1) + store


def heic(image: Image.Image) -> bytes:
    """Return a HEIC."""
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=90)
    return file.getvalue()


def box(kind: bytes, body: bytes) -> bytes:
    """Return a box of an AVIF or HEIC."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def auxiliary_type(name: bytes) -> bytes:
    """Return the property of an auxiliary picture that states its type."""
    return box(b"auxC", bytes(4) + name + b"\0")


def with_property(content: bytes, added: bytes) -> bytes:
    """Return an AVIF or HEIC with one more item property after the others."""
    return _with_box(content, (b"meta", b"iprp", b"ipco"), added)


def with_item_type(content: bytes, kind: bytes) -> bytes:
    """Return an AVIF or HEIC with one more item without data."""
    entry = box(b"infe", struct.pack(">IHH4s", 2 << 24, 99, 0, kind) + b"\0")
    content = _with_box(content, (b"meta", b"iinf"), entry)
    count = content.index(b"iinf") + 8
    return (
        content[:count]
        + struct.pack(">H", 1 + int.from_bytes(content[count : count + 2]))
        + content[count + 2 :]
    )


def _with_box(content: bytes, path: Sequence[bytes], added: bytes) -> bytes:
    """Append a box to the one at this path, and move the offsets of the data behind it."""
    file, start, stop = bytearray(content), 0, len(content)
    for kind in path:
        body = next(body for found, body in boxes(memoryview(content), start, stop) if found == kind)
        at = body[0] - 8
        struct.pack_into(">I", file, at, struct.unpack_from(">I", file, at)[0] + len(added))
        start, stop = body[0] + (4 if kind == b"meta" else 0), body[1]
    locations = content.index(b"iloc") + 4
    version, sizes = content[locations], content[locations + 4]
    assert sizes >> 4 == 4, "offsets of four bytes"
    (count,) = struct.unpack_from(">H", content, locations + 6)
    base_bytes, at = content[locations + 5] >> 4, locations + 8
    for _ in range(count):
        at += (6 if version else 4) + base_bytes
        (extents,) = struct.unpack_from(">H", content, at)
        at += 2
        for _ in range(extents):
            (offset,) = struct.unpack_from(">I", content, at)
            struct.pack_into(">I", file, at, offset + len(added))
            at += 8
    return bytes(file[:stop]) + added + bytes(file[stop:])
