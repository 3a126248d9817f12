"""Worker processes that can be killed, suspended, resumed and drained; a process that ends is replaced."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.processes import processes_of_session
from tests.support import killed_worker
from tests.support.emulators import variables_of
from tests.support.fork_server import ForkedProcess, shared_fork_server
from worker.local.embedded_aws import INHERITED, embedded_environment
from worker.settings import Settings

STARTED = "service.started"
_DRAIN_S = 40.0


@dataclass(eq=False)
class Worker:
    """One worker process; it leads a session, by which its decoders are found when it is dead."""

    slot: int
    process: ForkedProcess | asyncio.subprocess.Process
    log: Path
    is_suspended: bool = False
    is_killed: bool = False
    _has_started: bool = False

    @property
    def has_started(self) -> bool:
        """Whether it has ever consumed the queue."""
        self._has_started = self._has_started or STARTED in self.log.read_text(errors="replace")
        return self._has_started

    @property
    def is_working(self) -> bool:
        """Whether it consumes the queue."""
        is_here = self.process.returncode is None and not self.is_suspended and not self.is_killed
        return is_here and self.has_started

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


@dataclass(eq=False)
class Workers:
    """
    One worker in each slot; a worker that ends is replaced at once, as Kubernetes does.

    Attributes:
        folder: Working directory and log folder of the workers.
        environment: Environment variables of the workers.
        new_interpreters: Whether each worker is a new interpreter, in place of a fork with shared memory.
        failed_starts: Number of workers that ended, without being killed, before they consumed the queue.
        died: Logs of workers that ended, without being killed, after that; there must be none.
        killed_by_images: Number of workers that were killed by an image.
    """

    folder: Path
    environment: Mapping[str, str]
    new_interpreters: bool = False
    current: dict[int, Worker] = field(default_factory=dict)
    all: list[Worker] = field(default_factory=list)
    failed_starts: int = 0
    died: list[Path] = field(default_factory=list)
    killed_by_images: int = 0
    _is_closing: bool = False
    _monitors: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self, slot: int) -> Worker:
        """Start a worker in a free slot."""
        log = self.folder / f"worker-{slot}-{len(self.all)}.log"
        process = await self._start_interpreter(log) if self.new_interpreters else self._fork(log)
        worker = Worker(slot, process, log)
        self.current[slot] = worker
        self.all.append(worker)
        monitor = asyncio.create_task(self._monitor(worker), name=f"monitor {log.name}")
        self._monitors.add(monitor)
        monitor.add_done_callback(self._monitors.discard)
        return worker

    def kill(self, slot: int) -> None:
        """Kill a worker."""
        self.current[slot].is_killed = True
        self.current[slot].send(signal.SIGKILL)

    def suspend(self, slot: int) -> None:
        """Suspend a worker."""
        self.current[slot].is_suspended = True
        self.current[slot].send(signal.SIGSTOP)

    def resume(self, slot: int) -> None:
        """Resume a suspended worker."""
        self.current[slot].is_suspended = False
        self.current[slot].send(signal.SIGCONT)

    @property
    def working(self) -> list[int]:
        """Slots of the workers that consume the queue."""
        return sorted(slot for slot, worker in self.current.items() if worker.is_working)

    async def drain(self) -> list[int]:
        """Send SIGTERM to every worker and return their exit statuses."""
        self._is_closing = True
        for worker in self.current.values():
            worker.send(signal.SIGTERM)
        async with asyncio.timeout(_DRAIN_S):
            return [await worker.process.wait() for worker in self.current.values()]

    def decoders_left(self) -> list[int]:
        """Return the ids of processes that outlived their worker."""
        gone = [worker for worker in self.all if worker.process.returncode is not None]
        return [pid for worker in gone for pid in processes_of_session(worker.process.pid)]

    async def end(self) -> None:
        """Kill all workers that are left."""
        self._is_closing = True
        while monitors := list(self._monitors):  # a monitor that was starting a worker adds another
            for worker in self.all:
                worker.send(signal.SIGKILL)
            await asyncio.wait(monitors)  # unlike gather, it lets their callbacks run if all are done
            for monitor in monitors:
                monitor.result()

    def _fork(self, log: Path) -> ForkedProcess:
        with log.open("wb") as stderr, Path(os.devnull).open("r+b", buffering=0) as nothing:
            pid = shared_fork_server().start(
                ["run"],
                folder=self.folder,
                environment=self.environment,
                files=(nothing.fileno(), nothing.fileno(), stderr.fileno()),
                program=Path(killed_worker.__file__),
                new_session=True,
            )
        return ForkedProcess(pid)

    async def _start_interpreter(self, log: Path) -> asyncio.subprocess.Process:
        with log.open("wb") as stderr:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, killed_worker.__file__, "run"),
                cwd=self.folder,
                env=dict(self.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    async def _monitor(self, worker: Worker) -> None:
        await worker.process.wait()
        if self._is_closing:
            return
        if worker.process.returncode == -signal.SIGKILL and not worker.is_killed:
            self.killed_by_images += 1
        elif worker.has_started and not worker.is_killed:
            self.died.append(worker.log)
        elif not worker.is_killed:
            self.failed_starts += 1
        await self.start(worker.slot)


@asynccontextmanager
async def worker_processes(
    settings: Settings, folder: Path, *, endpoint_url: str, **more: str
) -> AsyncIterator[Workers]:
    """Return workers with one decoder each on a test's resources; kill all of them at the end."""
    environment = {
        # From this process's environment only what Python needs, so that a copy of the tree can be run.
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        **embedded_environment(endpoint_url),
        **variables_of(settings),
        "WORKER_VISIBILITY_TIMEOUT_S": str(settings.visibility_timeout_s),
        "WORKER_MAX_RECEIVES": str(settings.max_receives),
        "WORKER_WAIT_TIME_S": "1",
        "WORKER_PROCESSES": "1",
        "WORKER_HTTP_PORT": "0",
        "WORKER_LOG_FORMAT": "json",
        "KILLED_AT": "decode",
        **more,
    }
    workers = Workers(folder, environment)
    try:
        yield workers
    finally:
        await workers.end()


async def wait_until(condition: Callable[[], Any], *, within_s: float, what: str) -> None:
    """
    Poll a condition until it holds.

    Raises:
        TimeoutError: The condition did not hold in time.
    """
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        message = f"timed out after {within_s:g} s: {what}"
        raise TimeoutError(message) from None
