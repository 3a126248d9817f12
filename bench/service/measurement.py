"""One measurement of a peer: it processes a backlog, then uploads at a constant rate."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.common.peers import PeerFailedError, ServicePeer, log_tail, running
from bench.common.processes import CpuTime, cpu_time, find_child, resident_mib, tree_memory_mib
from bench.service.workload import Workload, workload

_POLL_INTERVAL_S: Final = 0.25
_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """
    The work of one measurement.

    Attributes:
        contents: Contents of the uploads, used in turn.
        warm_up: Images of the backlog that are processed before the measurement starts.
        images: Images of the backlog that are measured.
        paced: Images uploaded at a constant rate afterwards, for latency.
        per_s: Rate of those uploads.
        concurrency: Images in flight at most.
        processes: Decoder processes, for peers that can be configured so.
    """

    contents: Sequence[bytes]
    warm_up: int
    images: int
    paced: int
    per_s: float
    concurrency: int
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """
    Resources that a peer used.

    Attributes:
        cpu_ms: CPU time per image, of all processes.
        main_cpu_ms: CPU time per image of the main process.
        aws_cpu_ms: CPU time per image of the emulated AWS and of the TLS proxy in front of it.
        per_s: Images per second, with the AWS on the same machine.
        latencies_s: Time from upload to completion of each image that was uploaded at a constant rate.
        memory_mib: Highest memory of all processes, counting shared memory once.
        main_mib: Highest memory of the main process.
        main_growth_mib: Growth of the main process's memory during the backlog.
    """

    cpu_ms: float
    main_cpu_ms: float
    aws_cpu_ms: float
    per_s: float
    latencies_s: tuple[float, ...]
    memory_mib: float
    main_mib: float
    main_growth_mib: float


@dataclass(frozen=True, slots=True)
class _Reading:
    remaining: int
    cpu: CpuTime
    aws_cpu_s: float
    memory_mib: float
    main_mib: float


async def measure(peer: ServicePeer, load: Load, log: Path) -> Measurement:
    """
    Let a peer process the load, and measure what it uses.

    Raises:
        PeerFailedError: The peer ended, or did not finish in time.
        IncompleteRecordError: The peer has omitted part of the work.
    """
    async with workload(peer, concurrency=load.concurrency, processes=load.processes) as work:
        backlog = load.warm_up + load.images
        await work.upload_backlog(load.contents, backlog)
        async with running(peer, work.environment, log) as process:
            readings = [
                await _read_at(work, process, load.images, log),
                await _read_at(work, process, load.images // 2, log),
                await _read_at(work, process, 0, log),
            ]
            await work.upload_at_rate(load.contents, load.paced, per_s=load.per_s)
            readings.append(await _read_at(work, process, 0, log))
        times = await work.check_record()
    start, end = readings[0], readings[2]
    images = start.remaining - end.remaining
    if not images:
        message = f"{load.images} images were processed between two readings; measure more images"
        raise PeerFailedError(message)
    cpu = end.cpu.since(start.cpu)
    completed_s = sorted(image.completed_s for image in times[:backlog])[-images:]
    return Measurement(
        cpu_ms=1000 * cpu.total_s / images,
        main_cpu_ms=1000 * cpu.process_s / images,
        aws_cpu_ms=1000 * (end.aws_cpu_s - start.aws_cpu_s) / images,
        per_s=(images - 1) / (completed_s[-1] - completed_s[0]),
        latencies_s=tuple(image.completed_s - image.uploaded_s for image in times[backlog:]),
        memory_mib=max(reading.memory_mib for reading in readings),
        main_mib=max(reading.main_mib for reading in readings),
        main_growth_mib=end.main_mib - start.main_mib,
    )


async def _read_at(
    work: Workload, process: asyncio.subprocess.Process, remaining: int, log: Path
) -> _Reading:
    """Wait until at most `remaining` messages are left, then read the resources used so far."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while (left := await work.remaining()) > remaining:
        if process.returncode is not None:
            message = f"the peer ended with exit status {process.returncode}:\n{log_tail(log)}"
            raise PeerFailedError(message)
        if time.monotonic() > deadline_s:
            message = f"{left} messages are left after {_TIMEOUT_S:g} s:\n{log_tail(log)}"
            raise PeerFailedError(message)
        await asyncio.sleep(_POLL_INTERVAL_S)
    pid = process.pid
    aws_pids = [find_child(os.getpid(), "worker.local.aws_server")]
    if work.uses_tls:
        aws_pids.append(find_child(os.getpid(), "bench.common.tls_proxy"))
    aws_cpu_s = sum(cpu_time(aws_pid).total_s for aws_pid in aws_pids)
    return _Reading(left, cpu_time(pid), aws_cpu_s, tree_memory_mib(pid), resident_mib(pid))
