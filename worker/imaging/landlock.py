"""Deny all access to files, TCP ports and other processes with a Landlock ruleset that has no rules."""

import ctypes
import os
import struct
import sys
from typing import Final

from worker.ipc.process_attributes import LIBC

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
"""Numbers of the system calls, the same on every architecture."""
_CREATE_RULESET_VERSION: Final = 1

_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI -> number of rights to files and folders from this version on: the lowest bits of the mask."""
_NETWORK_ABI, _NETWORK_RIGHTS = 4, 0b11
"""Binding and connecting TCP sockets."""
_SCOPE_ABI, _SCOPES = 6, 0b11
"""Abstract UNIX sockets, and signals to processes outside the domain."""


def deny_files() -> bool:
    """
    Deny this process every file, TCP port, abstract UNIX socket and signal to others, irrevocably.

    What is denied depends on the kernel: files since Linux 5.13, truncation since 6.2, TCP since 6.7, device
    ioctls since 6.10, abstract sockets and signals since 6.12. Open files and connections keep working.
    Requires no-new-privileges.

    Returns:
        False if the kernel does not have Landlock, or it is turned off.
    """
    if sys.platform != "linux":
        return False
    abi = LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    if abi < 1:
        return False
    attributes = ruleset_attributes(abi)
    ruleset = LIBC.syscall(
        _CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        return False
    try:
        return bool(LIBC.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0)
    finally:
        os.close(ruleset)


def ruleset_attributes(abi: int) -> bytes:
    """Return the `landlock_ruleset_attr` that handles, and so denies, every right of an ABI version."""
    fields = [(1 << max(bits for since, bits in _FILE_RIGHTS.items() if since <= abi)) - 1]
    if abi >= _NETWORK_ABI:
        fields.append(_NETWORK_RIGHTS)
    if abi >= _SCOPE_ABI:
        fields.append(_SCOPES)
    return struct.pack(f"={len(fields)}Q", *fields)
