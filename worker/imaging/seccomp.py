"""Deny network and other system calls with a seccomp filter; open connections keep working."""

import ctypes
import platform
import struct
import sys
from collections.abc import Mapping
from typing import Final

_PR_SET_SECCOMP: Final = 22
_FILTER_MODE: Final = 2

_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ALLOW, _DENY = 0x7FFF_0000, 0x0005_0000 | 1
"""SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO with EPERM."""
_X32_CALLS: Final = 0x4000_0000

_FORBIDDEN: Final[Mapping[str, tuple[int, tuple[int, ...]]]] = {
    "x86_64": (
        0xC000_003E,
        # socket connect accept bind listen socketpair accept4; execve ptrace execveat;
        # process_vm_readv, process_vm_writev; io_uring_setup, which can create sockets
        (41, 42, 43, 49, 50, 53, 288, 59, 101, 322, 310, 311, 425),
    ),
    "aarch64": (0xC000_00B7, (198, 203, 202, 200, 201, 199, 242, 221, 117, 281, 270, 271, 425)),
}
"""Machine -> (AUDIT_ARCH, numbers of the denied system calls), from the kernel's tables."""


def deny_system_calls() -> bool:
    """
    Deny this process new sockets, new programs and access to other processes, irrevocably.

    Requires no-new-privileges.

    Returns:
        False if the system or the machine's architecture has no such filter.
    """
    known = _FORBIDDEN.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return False
    program = _program(*known)
    count = len(program) // 8
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", count, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_FILTER_MODE), ctypes.c_char_p(head), 0, 0) == 0)


def _program(architecture: int, forbidden: tuple[int, ...]) -> bytes:
    """Return a BPF program that denies the forbidden calls, and all calls of x32 and other architectures."""
    last = len(forbidden)
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 0, last + 3, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_IF_AT_LEAST, last + 1, 0, _X32_CALLS),
        *((_JUMP_IF_EQUAL, last - at, 0, number) for at, number in enumerate(forbidden)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
