"""How much memory a process holds."""

import os
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory, shared pages included; 0 when it has ended, or nobody tells."""
    try:
        file = os.open(
            f"/proc/{pid}/statm", os.O_RDONLY
        )  # asked after each picture: a quarter of Path's time
    except OSError:
        return 0
    try:
        return int(os.read(file, 128).split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
    finally:
        os.close(file)
