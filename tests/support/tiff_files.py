"""Write TIFF files in layouts that no library writes."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SHORT, _LONG = 3, 4
_DEFLATE: Final = 8
_SEPARATE_PLANES: Final = 2
_REVERSED_BITS: Final = 2
_FLOAT: Final = 3
_CODES: Final[Mapping[int, str]] = {1: "B", 2: "B", _SHORT: "H", _LONG: "I"}


def tiff_file(  # noqa: PLR0913 - one argument per property of the layout
    samples: NDArray[Any],
    *,
    bits: int,
    photometric: int,
    order: str = "<",
    planes: int = 1,
    extra: Sequence[int] | None = None,
    sample_format: int = 1,
    compression: int = 1,
    predictor: int = 1,
    fill_order: int = 1,
    palette: Sequence[int] = (),
    tile: int | None = None,
    tags: Mapping[int, tuple[int, Sequence[int]]] | None = None,
    sub_directory: bytes = b"",
) -> bytes:
    """
    Return a TIFF file with one page.

    Args:
        samples: Rows x columns x channels, as unsigned integers of `bits` bits, or floats.
        bits: Bits of each sample.
        photometric: Meaning of the channels: 0 and 1 grey, 2 RGB, 3 palette, 5 CMYK, ...
        order: `<` for little-endian, `>` for big-endian.
        planes: 1 for samples in pixel order, 2 for a plane for each channel.
        extra: Meaning of the channels after the colours: 0 unspecified, 1 associated alpha, 2 alpha.
        sample_format: 1 unsigned, 2 signed, 3 floating-point.
        compression: 1 for none, 8 for Deflate.
        predictor: 2 for horizontal differences.
        fill_order: 2 if the bits of each byte are reversed.
        palette: Red, green and blue levels of a palette image.
        tile: Width and height of square tiles; None for one strip.
        tags: Further tags: tag -> (type, values).
        sub_directory: Directory of a further image, as made by `directory`, for tag 330.
    """
    height, width, channels = samples.shape
    planes_of_samples = np.split(samples, channels, axis=2) if planes == _SEPARATE_PLANES else [samples]
    blocks = [block for plane in planes_of_samples for block in _blocks(plane, tile)]
    parts = [_encoded(block, bits, order, sample_format, predictor) for block in blocks]
    parts = [zlib.compress(part) if compression == _DEFLATE else part for part in parts]
    if fill_order == _REVERSED_BITS:
        parts = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in part) for part in parts]
    offsets = [8 + sum(len(part) + len(part) % 2 for part in parts[:number]) for number in range(len(parts))]
    body = b"".join(part + b"\0" * (len(part) % 2) for part in parts) + sub_directory
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [bits] * channels),
        259: (_SHORT, [compression]),
        262: (_SHORT, [photometric]),
        277: (_SHORT, [channels]),
        284: (_SHORT, [planes]),
        339: (_SHORT, [sample_format] * channels),
    }
    lengths = [len(part) for part in parts]
    if tile:
        entries |= {322: (_LONG, [tile]), 323: (_LONG, [tile]), 324: (_LONG, offsets), 325: (_LONG, lengths)}
    else:
        entries |= {273: (_LONG, offsets), 278: (_LONG, [height]), 279: (_LONG, lengths)}
    if predictor != 1:
        entries[317] = (_SHORT, [predictor])
    if fill_order != 1:
        entries[266] = (_SHORT, [fill_order])
    if extra is not None:
        entries[338] = (_SHORT, extra)
    if palette:
        entries[320] = (_SHORT, palette)
    if sub_directory:
        entries[330] = (_LONG, [8 + len(body) - len(sub_directory)])
    entries |= tags or {}
    start = 8 + len(body)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", start) + body + directory(entries, order=order, at=start)


def directory(
    entries: Mapping[int, tuple[int, Sequence[int]]], *, order: str = "<", at: int = 0, following: int = 0
) -> bytes:
    """Return a TIFF directory at an offset, with the values that do not fit into its entries after it."""
    table, values_after = b"", b""
    values_at = at + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
        if len(packed) > 4:
            offset = values_at + len(values_after)
            values_after += packed + b"\0" * (len(packed) % 2)
            packed = struct.pack(f"{order}I", offset)
        table += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = struct.pack(f"{order}H", len(entries))
    return head + table + struct.pack(f"{order}I", following) + values_after


def _blocks(plane: NDArray[Any], tile: int | None) -> list[NDArray[Any]]:
    if tile is None:
        return [plane]
    height, width, _ = plane.shape
    padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
    return [
        padded[top : top + tile, left : left + tile]
        for top in range(0, height, tile)
        for left in range(0, width, tile)
    ]


def _encoded(block: NDArray[Any], bits: int, order: str, sample_format: int, predictor: int) -> bytes:
    if sample_format == _FLOAT:
        return block.astype(f"{order}f{bits // 8}").tobytes()
    levels = block.astype(np.int64)
    if predictor != 1:
        levels[:, 1:] -= levels[:, :-1].copy()
    levels %= 1 << bits
    if bits in {8, 16, 32}:
        return levels.astype(f"{order}u{bits // 8}").tobytes()
    rows = ("".join(f"{level:0{bits}b}" for level in row.ravel()) for row in levels)
    return b"".join(
        int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in rows
    )
