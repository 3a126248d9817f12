"""Damage files at random: bytes, lengths, splices, and the parts that a format consists of."""

import random
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

Part: TypeAlias = tuple[int, int]
"""Where a chunk, segment, box or directory entry begins and ends in a file."""

Mutation: TypeAlias = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
"""Damages a file; the last argument has other files."""

_EXTREMES: Final = (0, 1, 0x7F, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
_PNG_OVERHEAD: Final = 12
_MAX_PARTS: Final = 200
_CONTAINERS: Final = frozenset({b"meta", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"})


def flipped(content: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    damaged = bytearray(content)
    for _number in range(dice.randint(1, 12)):
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def truncated(content: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    return content[: dice.randrange(len(content))]


def spliced(content: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """Return the head of one file and the rest of another."""
    other = dice.choice(others)
    return content[: dice.randint(4, 200)] + other[dice.randint(0, 100) :]


def with_wrong_numbers(content: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    """Return the file with extreme numbers in its header: dimensions, lengths, offsets."""
    damaged = bytearray(content)
    for _number in range(dice.randint(1, 3)):
        at = dice.randrange(2, min(len(damaged) - 4, 256))
        number = dice.choice((0, 1, 0x7F, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, dice.getrandbits(32)))
        damaged[at : at + 4] = number.to_bytes(4, dice.choice(("big", "little")))
    return bytes(damaged)


def repeated(content: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    start = dice.randrange(len(content))
    part = content[start : start + dice.randint(1, 400)]
    return content[:start] + part * dice.randint(2, 40) + content[start:]


def with_changed_part(content: bytes, dice: random.Random, _: Sequence[bytes]) -> bytes:
    """Return the file with one of its parts missing, twice, moved, resized or with other content."""
    parts = parts_of(content)
    if not parts:
        return flipped(content, dice, ())
    start, end = dice.choice(parts)
    part = bytearray(content[start:end])
    match dice.randrange(5):
        case 0:
            return content[:start] + content[end:]
        case 1:
            return content[:start] + bytes(part) * dice.randint(2, 30) + content[end:]
        case 2:
            at = dice.choice(parts)[0]
            return content[:at] + bytes(part) + content[at:]
        case 3:
            at = dice.randrange(max(1, len(part) - 4))
            number = dice.choice((*_EXTREMES, dice.getrandbits(32)))
            part[at : at + 4] = number.to_bytes(4, dice.choice(("big", "little")))
        case _:
            for _number in range(dice.randint(1, 6)):
                part[dice.randrange(len(part))] = dice.randrange(256)
    return with_right_checksums(content[:start] + bytes(part) + content[end:])


def parts_of(content: bytes) -> list[Part]:
    """Return the parts that a file consists of, as far as its lengths are right."""
    find = next((find for magic, find in _PARTS.items() if content.startswith(magic)), None)
    try:
        found = find(content) if find else _boxes(content, 0, len(content))
    except (struct.error, IndexError):
        return []
    return [(start, end) for start, end in found[:_MAX_PARTS] if start < end <= len(content)]


def with_right_checksums(content: bytes) -> bytes:
    """Return a PNG with right checksums, so that decoders read what was changed; other files as they are."""
    if not content.startswith(b"\x89PNG"):
        return content
    fixed = bytearray(content)
    for start, end in parts_of(content):
        fixed[end - 4 : end] = struct.pack(">I", zlib.crc32(content[start + 4 : end - 4]))
    return bytes(fixed)


def _png_chunks(content: bytes) -> list[Part]:
    parts, at = [], 8
    while at + _PNG_OVERHEAD <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        parts.append((at, at + _PNG_OVERHEAD + length))
        at += _PNG_OVERHEAD + length
    return parts


def _jpeg_segments(content: bytes) -> list[Part]:
    parts, at = [], 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        (length,) = struct.unpack_from(">H", content, at + 2)
        parts.append((at, at + 2 + length))
        at += 2 + length
        if content[parts[-1][0] + 1] == 0xDA:
            following = content.find(b"\xff\xc4", at)
            if following < 0:
                break
            parts.append((at, following))
            at = following
    return parts


def _riff_chunks(content: bytes) -> list[Part]:
    parts, at = [], 12
    while at + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, at + 4)
        end = at + 8 + length + length % 2
        parts.append((at, end))
        at = end
    return parts


def _tiff_entries(content: bytes) -> list[Part]:
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    return [(start + 2 + 12 * number, start + 14 + 12 * number) for number in range(min(count, _MAX_PARTS))]


def _gif_blocks(content: bytes) -> list[Part]:
    parts, at = [(0, 13)], 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    while at < len(content) and content[at] in {0x21, 0x2C}:
        start = at
        flags = content[at + 9] if content[at] == 0x2C else 0
        at += 2 if content[at] == 0x21 else 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        while content[at]:
            at += 1 + content[at]
        at += 1
        parts.append((start, at))
    return parts


def _bmp_headers(content: bytes) -> list[Part]:
    (start,) = struct.unpack_from("<I", content, 10)
    return [(0, 14), (14, 54), (14, start), (start, len(content))]


def _boxes(content: bytes, at: int, end: int) -> list[Part]:
    parts: list[Part] = []
    while at + 8 <= end and len(parts) < _MAX_PARTS:
        length, kind = struct.unpack_from(">I4s", content, at)
        if length < 8:
            break
        parts.append((at, at + length))
        if kind in _CONTAINERS:
            inner = at + (12 if kind == b"meta" else 8)
            parts += _boxes(content, inner, min(end, at + length))
        at += length
    return parts


_PARTS: Final[Mapping[bytes, Callable[[bytes], list[Part]]]] = {
    b"\x89PNG": _png_chunks,
    b"\xff\xd8": _jpeg_segments,
    b"RIFF": _riff_chunks,
    b"II": _tiff_entries,
    b"MM": _tiff_entries,
    b"GIF": _gif_blocks,
    b"BM": _bmp_headers,
}

MUTATIONS: Final[tuple[Mutation, ...]] = (
    flipped,
    truncated,
    spliced,
    with_wrong_numbers,
    repeated,
    with_changed_part,
)
