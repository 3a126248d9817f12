"""Set attributes of this process with prctl(2): used by the worker process and by decoder processes."""

import ctypes
import os
import signal
import sys
from typing import Final

LIBC: Final = ctypes.CDLL(None, use_errno=True)
"""Loaded once: to load it makes classes, which a fork that does it would copy pages for."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38


def make_non_dumpable() -> bool:
    """
    Deny other processes of the same user access to the memory, environment and open files of this one.

    The kernel then requires CAP_SYS_PTRACE for ptrace(2), process_vm_readv(2), pidfd_getfd(2) and for
    `/proc/<pid>/mem`, `environ`, `fd` and `maps`, and writes no core dumps. The attribute is inherited by
    forks and lost when the process executes another program.

    Returns:
        False if the system does not have the attribute.
    """
    return _prctl(_PR_SET_DUMPABLE, 0)


def forbid_new_privileges() -> bool:
    """Make execve(2) ignore set-user-ID bits and file capabilities; a seccomp filter requires this."""
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int | None = None) -> bool:
    """
    Ask the kernel to kill this process when the thread that started it ends.

    An idle decoder also sees that its connection is closed; a busy or stuck one depends on this.

    Args:
        parent: Process id of the parent. If it has ended already, this process exits.

    Returns:
        False if the system has no such signal.
    """
    is_set = _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        sys.exit(f"the parent process {parent} has ended")
    return is_set


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    return bool(LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)
