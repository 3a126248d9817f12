"""Arrange the memory of the zygote so that a fork copies and clears as few pages as possible."""

import ctypes
import gc
from typing import Final

_KEPT_FREE_BYTES: Final = 65_536
"""Left for the zygote itself: a page that it changes is copied for its forks."""
_LARGEST_BYTES, _SMALLEST_BYTES = 2**20, 16


_FIELDS: Final = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _Statistics(ctypes.Structure):
    """The result of mallinfo2(3): `keepcost` is the free memory at the end of the heap."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def prepare_for_forks() -> None:
    """
    Exclude all objects from garbage collection, and make the heap of each fork begin with fresh pages.

    A collection would write to the objects that it visits; `serve` enables it after the first image. Memory
    that is free in the zygote is allocated for good, up to the end of the heap: what a fork allocates lies
    behind it, in pages that it does not share, and that glibc asks the kernel to make huge
    (`glibc.malloc.hugetlb`). With pages of 4 KiB, the faults of a fork take longer than to decode a small
    image.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return  # not glibc 2.33 or later
    libc.mallinfo2.restype = _Statistics
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = (ctypes.c_size_t,), (ctypes.c_void_p,)
    libc.malloc_trim(ctypes.c_size_t(0))
    _fill_gaps(libc)
    if (free_bytes := libc.mallinfo2().keepcost - _KEPT_FREE_BYTES) > 0:
        libc.malloc(free_bytes)


def _fill_gaps(libc: ctypes.CDLL) -> None:
    """Allocate the free chunks between others, the largest first, until only the end of the heap is free."""
    size = _LARGEST_BYTES
    end: int = libc.sbrk(ctypes.c_ssize_t(0)) - libc.mallinfo2().keepcost
    while size >= _SMALLEST_BYTES:
        while (chunk := libc.malloc(size)) and chunk < end:
            pass
        libc.free(chunk)
        size = size * 3 // 4
