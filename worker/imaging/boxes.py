"""Read the properties of the main picture of an AVIF or HEIC file, and its extras (ISO/IEC 23008-12)."""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Final

from worker.imaging.headers import boxes
from worker.ipc.framing import Content

_MAX_BOXES: Final = 10_000
_FULL_BOX_BYTES: Final = 4
_MAX_TYPE_BYTES: Final = 100
_GAIN_MAP_TYPES: Final = (b"urn:com:apple:photo:2020:aux:hdrgainmap", b"urn:iso:std:iso:ts:21496:-1")
"""Types of auxiliary pictures that are gain maps."""

_TONE_MAP: Final = b"tmap"
"""Type of the item that combines the main picture with a gain map (ISO 21496-1)."""

_MANIFEST: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""Extended type of the box with content credentials (C2PA)."""


def coded_colours(content: Content) -> tuple[int, int] | None:
    """
    Return the code points of primaries and transfer of the main picture, from its nclx colour information.

    Returns:
        None if there is none, or the file's structure is damaged.
    """
    try:
        return _coded_colours(memoryview(content))
    except (struct.error, IndexError):
        return None


def has_gain_map(content: Content) -> bool:
    """Return whether a file has a gain map besides its main picture; False if its structure is damaged."""
    try:
        return _has_gain_map(memoryview(content))
    except (struct.error, IndexError):
        return False


def has_manifest(content: Content) -> bool:
    """Return whether a file has a box with content credentials."""
    return any(
        kind == b"uuid" and bytes(body[: len(_MANIFEST)]) == _MANIFEST
        for kind, body in _bodies(memoryview(content))
    )


def _has_gain_map(view: memoryview) -> bool:
    meta = _find(view, b"meta")
    if meta is None:
        return False
    meta = meta[_FULL_BOX_BYTES:]
    container = _find(_find(meta, b"iprp") or meta[:0], b"ipco") or meta[:0]
    return _TONE_MAP in _item_types(meta) or any(
        kind == b"auxC" and _text(body[_FULL_BOX_BYTES:]) in _GAIN_MAP_TYPES
        for kind, body in _bodies(container)
    )


def _item_types(meta: memoryview) -> Iterator[bytes]:
    """Yield the type of each item, from the body of a `meta` box."""
    items = _find(meta, b"iinf")
    if items is None:
        return
    for kind, body in _bodies(items[8 if items[0] else 6 :]):
        if kind == b"infe" and body[0] >= 2:  # noqa: PLR2004 - types came with this version
            at = 8 if body[0] == 2 else 10  # noqa: PLR2004 - wide ids came with version 3
            yield bytes(body[at : at + 4])


def _text(view: memoryview) -> bytes:
    """Return the text at the start of a box, without the zero that ends it."""
    return bytes(view[:_MAX_TYPE_BYTES]).partition(b"\0")[0]


def _coded_colours(view: memoryview) -> tuple[int, int] | None:
    meta = _find(view, b"meta")
    if meta is None:
        return None
    meta = meta[_FULL_BOX_BYTES:]
    properties = _find(meta, b"iprp") or meta[:0]
    container = _find(properties, b"ipco") or meta[:0]
    colours = {
        number: struct.unpack_from(">HH", body, 4)
        for number, (kind, body) in enumerate(_bodies(container), 1)
        if kind == b"colr" and bytes(body[:4]) == b"nclx"
    }
    if not colours:
        return None
    main = _main_item(meta)
    of_main = [number for number in _associations(properties, main) if number in colours]
    primaries, transfer = colours[of_main[0] if of_main else min(colours)]
    return primaries, transfer


def _main_item(meta: memoryview) -> int | None:
    box = _find(meta, b"pitm")
    if box is None:
        return None
    return int(struct.unpack_from(">I" if box[0] else ">H", box, _FULL_BOX_BYTES)[0])


def _associations(properties: memoryview, item: int | None) -> list[int]:
    """Return the numbers of the properties of an item, from 1."""
    box = _find(properties, b"ipma")
    if box is None or item is None:
        return []
    is_long_id, is_long_number = box[0] > 0, box[3] & 1
    (count,) = struct.unpack_from(">I", box, 4)
    at = 8
    for _ in range(min(count, _MAX_BOXES)):
        (found,) = struct.unpack_from(">I" if is_long_id else ">H", box, at)
        at += 4 if is_long_id else 2
        number_of, at = box[at], at + 1
        if found == item:
            layout = f">{number_of}{'H' if is_long_number else 'B'}"
            return [
                number & (0x7FFF if is_long_number else 0x7F)
                for number in struct.unpack_from(layout, box, at)
            ]
        at += number_of * (2 if is_long_number else 1)
    return []


def _find(view: memoryview, kind: bytes) -> memoryview | None:
    return next((body for found, body in _bodies(view) if found == kind), None)


def _bodies(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the type and the body of each box."""
    for kind, (start, stop) in islice(boxes(view, 0, len(view)), _MAX_BOXES):
        yield kind, view[start:stop]
