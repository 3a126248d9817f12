"""What processes cost, as the operating system counts it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class CpuTime:
    """
    CPU seconds, of user and system, until now.

    Attributes:
        parent: Of the process itself.
        children: Of all that descend from it, those that have ended and been reaped included.
    """

    parent: float
    children: float

    @property
    def total(self) -> float:
        """Of all together."""
        return self.parent + self.children

    def since(self, earlier: Self) -> "CpuTime":
        """Return the difference to an earlier reading."""
        return CpuTime(self.parent - earlier.parent, self.children - earlier.children)


def cpu_time(pid: int) -> CpuTime:
    """Read what a process and its descendants have used."""
    _, own, reaped = _stat(pid)
    return CpuTime(own, reaped + sum(cpu_time(child).total for child in children(pid)))


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    return [other for other, parent in _parents() if parent == pid]


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    return [pid, *(one for child in children(pid) for one in family(child))]


def resident_mb(pid: int) -> float:
    """Return the memory of one process, in mebibytes."""
    return _kilobytes(_PROC / str(pid) / "status", "VmRSS:") / 1024


def proportional_mb(pid: int) -> float:
    """Return the memory of a process and its descendants, in mebibytes; what they share counts once."""
    return sum(_kilobytes(_PROC / str(one) / "smaps_rollup", "Pss:") for one in family(pid)) / 1024


def is_running(pid: int, *words: str) -> bool:
    """Tell whether the command line of a process holds all these words."""
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return all(word in command for word in words)


def _stat(pid: int) -> tuple[int, float, float]:
    """Return the parent's id, the CPU time of the process, and that of its reaped descendants."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:  # it ended between being listed and being read; its parent has reaped it
        return 0, 0.0, 0.0
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    user, system, reaped_user, reaped_system = (int(field) / _TICKS_A_SECOND for field in fields[11:15])
    return int(fields[1]), user + system, reaped_user + reaped_system


def _parents() -> Iterator[tuple[int, int]]:
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            pid = int(entry.name)
            yield pid, _stat(pid)[0]


def _kilobytes(file: Path, field: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
