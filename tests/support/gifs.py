"""GIF files put together from frames anywhere on the canvas, which Pillow does not write."""

import struct
from dataclasses import dataclass

PALETTE = ((10, 20, 30), (200, 60, 30), (30, 180, 60), (40, 60, 200), (250, 250, 250))
"""Colours of the indices; all other indices are black."""


@dataclass(frozen=True)
class Frame:
    """A rectangle of one index, or of the indices in `pixels`, row by row."""

    left: int
    top: int
    width: int
    height: int
    index: int = 1
    transparent: int | None = None
    disposal: int = 0
    duration: int = 5
    pixels: bytes | None = None

    @property
    def indices(self) -> bytes:
        """The indices, row by row."""
        return self.pixels or bytes([self.index]) * (self.width * self.height)


def gif(
    width: int, height: int, *frames: Frame, loop: int | None = None, loop_name: bytes = b"NETSCAPE2.0"
) -> bytes:
    """Return a GIF of these frames; `loop` is the number of repeats, 0 for forever."""
    palette = b"".join(map(bytes, PALETTE)).ljust(3 * 128, b"\0")
    parts = [struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x86 | 0x80, 0, 0), palette]
    if loop is not None:
        parts.append(b"\x21\xff\x0b" + loop_name + struct.pack("<BBHB", 3, 1, loop, 0))
    for frame in frames:
        flags = frame.disposal << 2 | (frame.transparent is not None)
        parts.append(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, flags, frame.duration, frame.transparent or 0, 0))
        parts.append(struct.pack("<BHHHHB", 0x2C, frame.left, frame.top, frame.width, frame.height, 0))
        parts.append(b"\x07" + _blocks(_codes(frame.indices)))
    return b"".join(parts) + b"\x3b"


def _codes(indices: bytes) -> bytes:
    """Return LZW codes of 8 bits: the table is cleared before they grow to 9."""
    return b"".join(b"\x80" + indices[at : at + 100] for at in range(0, len(indices), 100)) + b"\x81"


def _blocks(data: bytes) -> bytes:
    blocks = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
