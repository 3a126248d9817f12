"""Restrict a decoder process before it reads its first image."""

import ctypes
import resource
import signal
import sys
from typing import Final

from worker.imaging.seccomp import deny_system_calls

MAX_OPEN_FILES: Final = 16

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


def die_with_worker() -> None:
    """
    Ask the kernel to kill this process when the thread that started it ends.

    An idle decoder also sees that its connection is closed; a busy or stuck one depends on this.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def confine(*, memory_mb: int) -> bool:
    """
    Limit memory and open files, and forbid core dumps, file writes and the network, irrevocably.

    Args:
        memory_mb: Address space in mebibytes. Allocations beyond it fail, and Python raises MemoryError.

    Returns:
        Whether the network is blocked: not every system has a filter for that.
    """
    _limit(resource.RLIMIT_AS, memory_mb * 1024 * 1024)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    return deny_system_calls()


def limit_cpu_time(seconds: int) -> None:
    """
    Limit the CPU time that the process may use from now on; the kernel then ends it with SIGXCPU.

    The worker process's own timeout normally comes first; this limit holds when the worker process is stuck.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )


def _limit(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    try:
        resource.setrlimit(kind, (limit, limit))
    except ValueError:
        if sys.platform == "linux":
            raise  # other systems define limits that cannot be set


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
