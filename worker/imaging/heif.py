"""Read the boxes of AVIF and HEIC files: whether the data of the image is there."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.domain.errors import TruncatedError
from worker.imaging.headers import boxes
from worker.ipc.framing import Content

_METADATA_ITEMS: Final = frozenset({b"Exif", b"mime", b"uri "})
_IN_FILE: Final = 0
"""Construction method of an item whose extents are offsets in the file."""


@dataclass(slots=True)
class _Reader:
    """Reads big-endian numbers of variable width."""

    view: memoryview
    at: int

    def number(self, size: int) -> int:
        if self.at + size > len(self.view):
            message = "a box ends in a number"
            raise struct.error(message)
        value = int.from_bytes(self.view[self.at : self.at + size])
        self.at += size
        return value


def missing_bytes(content: Content) -> int:
    """
    Return how many bytes are missing at the end of a file, all of them metadata.

    Raises:
        TruncatedError: A part of the data of the image is missing, or the index of the parts.
    """
    view = memoryview(content)
    found = dict(boxes(view, 0, len(view)))
    end = max((end for _, end in found.values()), default=0)
    if end <= len(view):
        return 0
    start, stop = found.get(b"meta", (0, len(view) + 1))
    if stop > len(view) or b"moov" in found:  # the frames of a sequence have no index here
        raise TruncatedError
    try:
        extents = _image_extents(view, start + 4, stop)
    except struct.error as error:
        raise TruncatedError from error
    if not extents or max(extents) > len(view):
        raise TruncatedError
    return end - len(view)


def _image_extents(view: memoryview, start: int, stop: int) -> list[int]:
    """Return the ends of all extents in the file that contain image data, from the body of a `meta` box."""
    found = dict(boxes(view, start, stop))
    types = _item_types(view, *found.get(b"iinf", (0, 0)))
    return [
        end
        for item, ends in _item_locations(view, *found.get(b"iloc", (0, 0))).items()
        if types.get(item) not in _METADATA_ITEMS
        for end in ends
    ]


def _item_types(view: memoryview, start: int, stop: int) -> Mapping[int, bytes]:
    """Return the type of each item of an `iinf` box."""
    if stop <= start:
        return {}
    reader = _Reader(view[:stop], start)
    version = reader.number(4) >> 24
    reader.number(4 if version else 2)
    types = {}
    for kind, (at, _) in boxes(view, reader.at, stop):
        if kind == b"infe":
            entry = _Reader(view[:stop], at)
            entry_version = entry.number(4) >> 24
            item = entry.number(2 if entry_version <= 2 else 4)  # noqa: PLR2004 - wide ids came with version 3
            entry.number(2)
            types[item] = bytes(view[entry.at : entry.at + 4])
    return types


def _item_locations(view: memoryview, start: int, stop: int) -> Mapping[int, list[int]]:
    """Return the ends of each item's extents in the file, from an `iloc` box."""
    if stop <= start:
        return {}
    reader = _Reader(view[:stop], start)
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version >= 2 else 2  # noqa: PLR2004 - as in the specification
    locations: dict[int, list[int]] = {}
    for _ in range(reader.number(wide)):
        item = reader.number(wide)
        method = reader.number(2) & 15 if version else _IN_FILE
        reader.number(2)
        base = reader.number(base_size)
        ends = []
        for _ in range(reader.number(2)):
            reader.number(index_size)
            offset = base + reader.number(offset_size)
            ends.append(offset + reader.number(length_size))
        if method == _IN_FILE:
            locations[item] = ends
    return locations
