"""CPU time and memory of processes and their descendants, read from `/proc`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.chaos.processes import children_of, memory_of

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class CpuTime:
    """
    User and system CPU time, in seconds.

    Attributes:
        process_s: CPU time of the process itself.
        descendants_s: CPU time of its descendants, including those that have ended and been reaped.
    """

    process_s: float
    descendants_s: float

    @property
    def total_s(self) -> float:
        """CPU time of the process and its descendants."""
        return self.process_s + self.descendants_s

    def since(self, earlier: Self) -> "CpuTime":
        """Return the CPU time used since an earlier reading."""
        return CpuTime(self.process_s - earlier.process_s, self.descendants_s - earlier.descendants_s)


def cpu_time(pid: int) -> CpuTime:
    """Return the CPU time of a process and its descendants; zero for a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it ended after it was listed, and its parent counts its CPU time
        return CpuTime(0.0, 0.0)
    fields = text.rpartition(")")[2].split()  # the process name before may contain spaces and parentheses
    user_s, system_s, reaped_user_s, reaped_system_s = (int(ticks) / _TICKS_PER_S for ticks in fields[11:15])
    running_s = sum(cpu_time(child).total_s for child in children_of(pid))
    return CpuTime(user_s + system_s, reaped_user_s + reaped_system_s + running_s)


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process, in MiB; 0 for a process that has ended."""
    memory = memory_of(pid)
    return memory.rss / _MIB if memory else 0.0


def tree_memory_mib(pid: int) -> float:
    """Return the memory of a process and its descendants, in MiB, counting shared memory once."""
    memory = memory_of(pid)
    own_mib = memory.pss / _MIB if memory else 0.0
    return own_mib + sum(tree_memory_mib(child) for child in children_of(pid))


def find_child(pid: int, word: str) -> int:
    """
    Return the child of a process whose command line contains a word.

    Raises:
        StopIteration: No child of the process does.
    """
    return next(child for child in children_of(pid) if word in _command_line(child))


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
