"""One measurement: a backlog worked off, then pictures at an even pace."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.common.peers import Subject, last_lines, running
from bench.common.processes import CpuTime, children, cpu_time, is_running, proportional_mb, resident_mb
from bench.service.workload import Arena, arena

_LOOK_EVERY_S: Final = 0.25
_GIVE_UP_S: Final = 600.0


class StandstillError(Exception):
    """A subject has ended, or not finished in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """
    How much work there is.

    Attributes:
        contents: Of the files, taken in turn.
        warm_up: Pictures of the backlog before anything is counted.
        pictures: Pictures of the backlog that are counted.
        paced: Further pictures, at an even pace, whose time to completion is counted.
        per_s: Their pace.
        concurrency: Pictures in hand at once.
        processes: Processes that compute, where a subject can be told.
    """

    contents: Sequence[bytes]
    warm_up: int
    pictures: int
    paced: int
    per_s: float
    concurrency: int
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """
    What a subject cost.

    Attributes:
        cpu_ms: CPU of one picture, all processes.
        parent_cpu_ms: The part of the first process.
        aws_cpu_ms: CPU of the emulated AWS for one picture.
        per_s: Pictures a second, beside an AWS on the same machine.
        done_s: From upload to completion at an even pace, one for each picture.
        memory_mb: Most memory of all processes; what they share counts once.
        parent_mb: Most memory of the first process.
        parent_growth_mb: What the first process took on while the backlog was worked off.
    """

    cpu_ms: float
    parent_cpu_ms: float
    aws_cpu_ms: float
    per_s: float
    done_s: tuple[float, ...]
    memory_mb: float
    parent_mb: float
    parent_growth_mb: float


@dataclass(frozen=True, slots=True)
class _Reading:
    remaining: int
    cpu: CpuTime
    aws: CpuTime
    memory_mb: float
    parent_mb: float


async def measure(subject: Subject, load: Load, log: Path) -> Measurement:
    """
    Let a subject work off its load.

    Raises:
        StandstillError: It ended, or does not finish.
        WorkNotDoneError: It says that it has, and has not.
    """
    async with arena(subject, concurrency=load.concurrency, processes=load.processes) as place:
        backlog = load.warm_up + load.pictures
        await place.upload_all(load.contents, backlog)
        async with running(subject, place.environment, log) as process:
            readings = [
                await _read_at(place, process, load.pictures, log),
                await _read_at(place, process, load.pictures // 2, log),
                await _read_at(place, process, 0, log),
            ]
            await place.upload_paced(load.contents, load.paced, per_s=load.per_s)
            readings.append(await _read_at(place, process, 0, log))
        record = await place.record()
    warm, end = readings[0], readings[2]
    pictures = warm.remaining - end.remaining
    cpu, aws = end.cpu.since(warm.cpu), end.aws.since(warm.aws)
    done = sorted(one.processed_s for one in record[:backlog])[-pictures:]
    return Measurement(
        cpu_ms=1000 * cpu.total / pictures,
        parent_cpu_ms=1000 * cpu.parent / pictures,
        aws_cpu_ms=1000 * aws.total / pictures,
        per_s=(pictures - 1) / (done[-1] - done[0]),
        done_s=tuple(one.processed_s - one.created_s for one in record[backlog:]),
        memory_mb=max(one.memory_mb for one in readings),
        parent_mb=max(one.parent_mb for one in readings),
        parent_growth_mb=end.parent_mb - warm.parent_mb,
    )


async def _read_at(place: Arena, process: asyncio.subprocess.Process, remaining: int, log: Path) -> _Reading:
    """Wait until no more than so many messages remain, and read what has been used until then."""
    give_up_s = time.monotonic() + _GIVE_UP_S
    while (left := await place.remaining()) > remaining:
        if process.returncode is not None:
            message = f"it ended with {process.returncode}:\n{last_lines(log)}"
            raise StandstillError(message)
        if time.monotonic() > give_up_s:
            message = f"{left} messages still there after {_GIVE_UP_S:g} s:\n{last_lines(log)}"
            raise StandstillError(message)
        await asyncio.sleep(_LOOK_EVERY_S)
    pid = process.pid
    return _Reading(left, cpu_time(pid), cpu_time(_aws()), proportional_mb(pid), resident_mb(pid))


def _aws() -> int:
    """Return the process of the embedded AWS, which we have started."""
    return next(pid for pid in children(os.getpid()) if is_running(pid, "worker.local.aws_server"))
