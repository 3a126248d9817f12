"""
Animated AVIF files: how often they are played, which Pillow neither reads nor writes.

An edit list that repeats is played until the duration of its track ends (ISO/IEC 23000-22, as libavif does).
"""

import io
import struct
from collections.abc import Iterator
from typing import Final

from PIL import AvifImagePlugin

from worker.imaging.headers import boxes
from worker.ipc.framing import Content

_CONTAINERS: Final = frozenset({b"moov", b"trak", b"edts"})
_FOREVER: Final = {4: 0xFFFFFFFF, 8: 0xFFFFFFFFFFFFFFFF}
"""The duration without an end, by the bytes of a number."""
_REPEATS: Final = 1
_DURATION: Final = {b"mvhd": (16, 24), b"tkhd": (20, 28)}
"""Offset of the duration in the headers of the file and of a track, in version 0 and 1."""
_MAX_BOXES: Final = 1000


class AvifFile(AvifImagePlugin.AvifImageFile):
    """Pillow's AVIF decoder; `info["loop"]` is the number of plays of an animation, 0 for forever."""

    def _open(self) -> None:
        content = self.fp.getvalue() if isinstance(self.fp, io.BytesIO) else b""
        super()._open()
        if self.n_frames > 1:
            self.info["loop"] = plays(content)


def plays(content: Content) -> int:
    """Return how often an animation is played; 0 for forever, and where the file does not state it."""
    view, whole = memoryview(content), 0
    try:
        for kind, start in _headers(view):
            if kind == b"tkhd":
                whole = _number(view, start, _DURATION[kind])
            elif kind == b"elst":
                if not view[start + 3] & _REPEATS:
                    return 1
                once = _number(view, start, (8, 8))
                is_endless = whole == _FOREVER[8 if view[start] else 4]
                return 0 if is_endless or not once else -(-whole // once)
    except (IndexError, struct.error):
        pass
    return 0


def with_plays(file: bytes, number: int) -> bytes:
    """
    Return an animation that is played so often.

    Args:
        file: As Pillow writes it: played forever, with numbers of eight bytes.
        number: Number of plays, from 1.
    """
    view, changed = memoryview(file), bytearray(file)
    headers = list(_headers(view))
    once = max(_number(view, start, (8, 8)) for kind, start in headers if kind == b"elst")
    for kind, start in headers:
        if kind in _DURATION:
            struct.pack_into(">Q", changed, start + _DURATION[kind][1], once * number)
        elif number == 1:
            changed[start + 3] &= ~_REPEATS
    return bytes(changed)


def _headers(view: memoryview) -> Iterator[tuple[bytes, int]]:
    """Yield the headers of the file and of its tracks, and the edit lists: their type and start."""
    ranges = [(0, len(view))]
    for _ in range(_MAX_BOXES):
        if not ranges:
            return
        for kind, (start, stop) in boxes(view, *ranges.pop(0)):
            if kind in _CONTAINERS:
                ranges.append((start, min(stop, len(view))))
            elif kind in {b"mvhd", b"tkhd", b"elst"}:
                yield kind, start


def _number(view: memoryview, start: int, offsets: tuple[int, int]) -> int:
    """Return the number at an offset that depends on the version of the box."""
    version = min(1, view[start])
    layout = ">Q" if version else ">I"
    return int(struct.unpack_from(layout, view, start + offsets[version])[0])
