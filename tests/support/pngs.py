"""PNG files put together from their chunks, for what Pillow does not write."""

import struct
import zlib
from collections.abc import Sequence

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6

Chunk = tuple[bytes, bytes]
Pixel = tuple[int, ...]

_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}


def png(rows: Sequence[Sequence[Pixel]], *chunks: Chunk, kind: int = RGB, depth: int = 8) -> bytes:
    """Return a PNG of these pixels, given as tuples of samples, with more chunks before the pixels."""
    raw = b"".join(b"\0" + _packed([sample for pixel in row for sample in pixel], depth) for row in rows)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), depth, kind, 0, 0, 0)
    return png_of((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b""))


def plain(pixel: Pixel, *chunks: Chunk, kind: int = RGB, depth: int = 8) -> bytes:
    """Return a PNG of 40 x 30 pixels of one colour."""
    return png([[pixel] * 40] * 30, *chunks, kind=kind, depth=depth)


def halves(left: Pixel, right: Pixel, *chunks: Chunk, kind: int, depth: int) -> bytes:
    """Return a PNG of 40 x 30 pixels, half of one colour and half of another."""
    return png([[left] * 20 + [right] * 20] * 30, *chunks, kind=kind, depth=depth)


def png_of(*chunks: Chunk) -> bytes:
    """Return a PNG of these chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def iccp(profile: bytes) -> Chunk:
    """Return a chunk with a profile."""
    return b"iCCP", b"profile\0\0" + zlib.compress(profile)


def gama(gamma: float) -> Chunk:
    """Return a chunk with a gamma, 1 / 2.2 for example."""
    return b"gAMA", struct.pack(">I", round(gamma * 100_000))


def chrm(
    white: tuple[float, float],
    red: tuple[float, float],
    green: tuple[float, float],
    blue: tuple[float, float],
) -> Chunk:
    """Return a chunk with chromaticities."""
    return b"cHRM", struct.pack(
        ">8I", *(round(part * 100_000) for pair in (white, red, green, blue) for part in pair)
    )


def cicp(primaries: int, transfer: int, *, matrix: int = 0, full_range: int = 1) -> Chunk:
    """Return a chunk with coding-independent code points."""
    return b"cICP", bytes((primaries, transfer, matrix, full_range))


def _packed(samples: list[int], depth: int) -> bytes:
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)
