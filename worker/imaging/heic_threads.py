"""
Make libheif decode HEIC images in the calling thread.

libheif calls `de265_start_worker_threads` of libde265 for every tile, whatever number of threads it is given,
and a decoder process cannot start threads. Neither pillow-heif nor libheif has an option that prevents the
call, so it is replaced in libheif's table of imported functions, before the process is confined. libde265
without worker threads decodes in the thread that calls it, with the same pixels.
"""

import ctypes
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_START_THREADS: Final = b"de265_start_worker_threads"
_HARMLESS: Final = "de265_get_version_number"
"""A function of libde265 that ignores its arguments; libheif ignores the result of the call."""

_HEADERS_AT, _HEADERS_COUNT_AT, _HEADER_BYTES = 32, 56, 56
_DYNAMIC_SEGMENT: Final = 2
_PLT_SIZE, _STRINGS, _SYMBOLS, _PLT_RELOCATIONS = 2, 5, 6, 23
_SYMBOL_BYTES, _RELOCATION = 24, struct.Struct("=QQq")
"""Sizes and tags of the 64-bit ELF format."""


def decode_in_calling_thread() -> bool:
    """
    Replace the call that starts threads.

    Returns:
        False if the libraries of pillow-heif are linked in another way; True on systems
        without seccomp, which do not need it.
    """
    if sys.platform != "linux":
        return True
    libraries = {path.name.partition("-")[0].partition(".")[0]: (path, base) for path, base in _loaded()}
    if not {"libheif", "libde265"} <= libraries.keys():
        return False
    libde265 = ctypes.CDLL(str(libraries["libde265"][0]))
    harmless = ctypes.cast(getattr(libde265, _HARMLESS), ctypes.c_void_p).value
    slots = list(_slots(libraries["libheif"][1]))
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:  # also writes to pages that are read-only
        for slot in slots:
            memory.seek(slot)
            memory.write(struct.pack("=Q", harmless))
    return bool(slots)


def _loaded() -> Iterator[tuple[Path, int]]:
    """Yield the file and the base address of each loaded library."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, _, offset, _, _, *path = line.split(maxsplit=5)
        if path and ".so" in path[0] and int(offset, 16) == 0:
            yield Path(path[0]), int(addresses.partition("-")[0], 16)


def _slots(base: int) -> Iterator[int]:
    """Yield the addresses at which a library keeps the address of the function."""
    (headers_at,) = struct.unpack("=Q", ctypes.string_at(base + _HEADERS_AT, 8))
    (count,) = struct.unpack("=H", ctypes.string_at(base + _HEADERS_COUNT_AT, 2))
    headers = ctypes.string_at(base + headers_at, count * _HEADER_BYTES)
    (dynamic_at, size) = next(
        (address, in_memory)
        for kind, _, _, address, _, _, in_memory, _ in struct.iter_unpack("=IIQQQQQQ", headers)
        if kind == _DYNAMIC_SEGMENT
    )
    dynamic = dict(struct.iter_unpack("=qQ", ctypes.string_at(base + dynamic_at, size)))
    tables = {
        tag: value if value >= base else base + value for tag, value in dynamic.items()
    }  # musl: offsets
    relocations = ctypes.string_at(tables[_PLT_RELOCATIONS], dynamic[_PLT_SIZE])
    for offset, information, _ in _RELOCATION.iter_unpack(relocations):
        symbol = tables[_SYMBOLS] + (information >> 32) * _SYMBOL_BYTES
        (name_at,) = struct.unpack("=I", ctypes.string_at(symbol, 4))
        if ctypes.string_at(tables[_STRINGS] + name_at) == _START_THREADS:
            yield base + offset
