"""JPEG files of any dimensions that take little memory to make."""

from tests.support.pictures import encoded, quadrants

_FIRST, _FURTHER = "100101" + "1010" + 4 * "00", "00" + "1010" + 4 * "00"
"""
Huffman codes of a block of each channel: the first is five steps brighter than grey, all others are like it.

They are those of the standard tables: the category of the difference, its bits, and the end of the block.
"""

_DEFINITION, _SCAN, _BLOCK_PX = b"\xff\xc0", b"\xff\xda", 8


def flat_jpeg(width: int, height: int) -> bytes:
    """Return a baseline JPEG of one colour, without subsampling."""
    small = encoded(quadrants(8, 8), "JPEG", subsampling="4:4:4")
    frame, scan = small.index(_DEFINITION), small.index(_SCAN)
    data = scan + 2 + int.from_bytes(small[scan + 2 : scan + 4])
    dimensions = height.to_bytes(2) + width.to_bytes(2)
    head = small[: frame + 5] + dimensions + small[frame + 9 : data]
    blocks = -(-width // _BLOCK_PX) * -(-height // _BLOCK_PX)
    first, further = _FIRST + _FURTHER, 4 * _FURTHER  # whole bytes
    return b"".join((head, _bytes(first), _bytes(further) * -(-blocks // 4), b"\xff\xd9"))


def _bytes(bits: str) -> bytes:
    return int(bits, 2).to_bytes(len(bits) // 8)
