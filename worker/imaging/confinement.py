"""What a decoder child gives up before it reads its first picture."""

import ctypes
import resource
import signal
import sys
from typing import Final

from worker.imaging.seccomp import forbid_network

MAX_FILES: Final = 16

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


def die_with_parent() -> None:
    """
    Ask the kernel to kill this process when the thread that started it ends.

    The end of the connection says the same to a child that listens; one that is busy or
    stuck hears only this.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def confine(*, memory_mb: int) -> bool:
    """
    Bound the process for good: memory, no core dumps, no written files, few open ones, no network.

    Args:
        memory_mb: Address space, in mebibytes. Allocations beyond it fail, and Python raises MemoryError.

    Returns:
        Whether the network is forbidden: not every system has a filter for that.
    """
    _limit(resource.RLIMIT_AS, memory_mb * 1024 * 1024)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, MAX_FILES)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return forbid_network()


def limit_cpu_time(seconds: int) -> None:
    """
    Let the process compute for so long from now on; after that the kernel ends it with SIGXCPU.

    The parent's deadline comes first for a child that computes; this one holds when the parent is stuck.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
    )


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    try:
        resource.setrlimit(kind, (most, most))
    except ValueError:
        if sys.platform == "linux":
            raise  # elsewhere a system may know the limit and not let it be set


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")
