"""Memory, children and open files of processes, read from `/proc`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_CLOSE_WAIT: Final = "08"
_ESTABLISHED: Final = "01"


def processes_of_session(leader: int) -> list[int]:
    """Return the ids of the running processes of a session, without zombies."""
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdecimal() and (stat := _stat(int(folder.name))) is not None:
            state, _, _, session = stat
            if int(session) == leader and state != "Z":
                found.append(int(folder.name))
    return found


def children_of(pid: int) -> list[int]:
    """Return the ids of the children of a process, without zombies."""
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdecimal() and (stat := _stat(int(folder.name))) is not None:
            state, parent, _, _ = stat
            if int(parent) == pid and state != "Z":
                found.append(int(folder.name))
    return found


def _stat(pid: int) -> list[str] | None:
    """Return a process's state, parent, group and session; None if it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()[:4]  # a name may contain spaces and brackets


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one process in bytes: resident, proportional and unique set size."""

    rss: int
    pss: int
    uss: int


def memory_of(pid: int) -> Memory | None:
    """Return a process's memory; None if the process is gone."""
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    kilobytes = {
        name: int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in text.splitlines()[1:])
        if rest.strip().endswith("kB")
    }
    uss = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return Memory(rss=kilobytes["Rss"] * 1024, pss=kilobytes["Pss"] * 1024, uss=uss * 1024)


def memory_of_tree(pid: int) -> tuple[Memory, dict[int, Memory]]:
    """
    Return a process's memory, and that of its children by process id.

    Raises:
        ProcessLookupError: The process is gone.
    """
    own = memory_of(pid)
    if own is None:
        message = f"the process {pid} is gone"
        raise ProcessLookupError(message)
    return own, {child: memory for child in children_of(pid) if (memory := memory_of(child)) is not None}


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open files of a process: all, established TCP connections, and those that only the peer has closed."""

    count: int
    established: int
    half_closed: int


def descriptors_of(pid: int) -> Descriptors:
    """Count a process's open files."""
    count, inodes = 0, set()
    for link in (_PROC / str(pid) / "fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue  # closed in the meantime
        count += 1
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    states = [
        fields[3]
        for line in (_PROC / str(pid) / "net" / "tcp").read_text().splitlines()[1:]
        if (fields := line.split())[9] in inodes
    ]
    return Descriptors(count, states.count(_ESTABLISHED), states.count(_CLOSE_WAIT))
