"""Fork a process with a single thread, as a child of its own parent."""

import ctypes
import os
import platform
import signal
from typing import Final

_CLONE: Final = {"x86_64": 56, "aarch64": 220}
"""Machine -> number of the system call clone(2)."""
_CLONE_PARENT: Final = 0x8000

_LIBC: Final = ctypes.PyDLL(None, use_errno=True)
"""Keeps the interpreter's lock during a call; it then belongs to the same thread in the new process."""


def fork_as_sibling() -> int:
    """
    Fork this process; the parent of the new process is the parent of this one, which reaps it.

    Python's and the C library's preparations for a fork repair locks that other threads hold, and cost a
    third of the fork: this process must have a single thread. The new process must end with `os._exit`.

    Returns:
        The process id of the new process; 0 in the new process.

    Raises:
        OSError: The system does not allow another process.
    """
    flags = ctypes.c_ulong(_CLONE_PARENT | signal.SIGCHLD)
    unused = ctypes.c_ulong(0)
    _LIBC.syscall.restype = ctypes.c_long
    pid: int = _LIBC.syscall(ctypes.c_long(_CLONE[platform.machine()]), flags, unused, unused, unused, unused)
    if pid < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"clone(2) failed: {os.strerror(code)}")
    return pid
