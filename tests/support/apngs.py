"""APNG files put together from their frames, for what Pillow does not write."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.pngs import Chunk, png_of

RGBA = 6
Colour = tuple[int, ...]


@dataclass(frozen=True)
class Frame:
    """A rectangle of one colour; the delay is a fraction of a second."""

    colour: Colour
    box: tuple[int, int, int, int] = (0, 0, 8, 6)
    delay: tuple[int, int] = (1, 10)
    disposal: int = 0
    blend: int = 0


def apng(
    *frames: Frame,
    kind: int = RGBA,
    size: tuple[int, int] = (8, 6),
    default: Colour | None = None,
    plays: int = 0,
    announced: int | None = None,
    chunks: Sequence[Chunk] = (),
) -> bytes:
    """
    Return an APNG.

    Args:
        frames: Its frames.
        kind: Colour type of its pixels.
        size: Width and height of the canvas.
        default: Colour of a default image that is not a frame.
        plays: Number of plays, 0 for forever.
        announced: Number of frames in the header, if it is not that of the frames.
        chunks: More chunks after the header.
    """
    head = struct.pack(">IIBBBBB", *size, 8, kind, 0, 0, 0)
    count = len(frames) if announced is None else announced
    parts: list[Chunk] = [(b"IHDR", head), *chunks, (b"acTL", struct.pack(">II", count, plays))]
    if default is not None:
        parts.append((b"IDAT", _pixels(default, *size)))
    sequence = 0
    for number, frame in enumerate(frames):
        left, top, right, bottom = frame.box
        place = (right - left, bottom - top, left, top)
        control = struct.pack(">IIIIIHHBB", sequence, *place, *frame.delay, frame.disposal, frame.blend)
        parts.append((b"fcTL", control))
        sequence += 1
        data = _pixels(frame.colour, right - left, bottom - top)
        if number == 0 and default is None:
            parts.append((b"IDAT", data))
        else:
            parts.append((b"fdAT", struct.pack(">I", sequence) + data))
            sequence += 1
    return png_of(*parts, (b"IEND", b""))


def _pixels(colour: Colour, width: int, height: int) -> bytes:
    return zlib.compress((b"\0" + bytes(colour) * width) * height)
