"""Worker processes by their places: killed, stopped, woken, replaced; one that dies by itself is noticed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.processes import of_session
from tests.support.emulators import variables_of
from worker.local.embedded_aws import INHERITED, embedded_environment
from worker.settings import Settings

STARTED = "service.started"
_DRAIN_S = 40.0


@dataclass(eq=False)
class Worker:
    """One process; leader of a session, by which its decoder children are found when it is dead."""

    place: int
    process: asyncio.subprocess.Process
    log: Path
    is_stopped: bool = False
    is_killed: bool = False
    _has_started: bool = False

    @property
    def has_started(self) -> bool:
        """Tell whether it has ever consumed the queue."""
        self._has_started = self._has_started or STARTED in self.log.read_text(errors="replace")
        return self._has_started

    @property
    def is_working(self) -> bool:
        """Tell whether it consumes the queue, as far as we know."""
        is_here = self.process.returncode is None and not self.is_stopped and not self.is_killed
        return is_here and self.has_started

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended meanwhile."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


@dataclass(eq=False)
class Workers:
    """
    Holds one worker in each place; whichever ends is replaced at once, as Kubernetes would.

    Attributes:
        folder: Where the workers run and log.
        environment: All that they see.
        failed_starts: How many ended by themselves before they consumed the queue.
        died: The logs of those that ended by themselves after that: there must be none.
    """

    folder: Path
    environment: Mapping[str, str]
    here: dict[int, Worker] = field(default_factory=dict)
    all: list[Worker] = field(default_factory=list)
    failed_starts: int = 0
    died: list[Path] = field(default_factory=list)
    _is_closing: bool = False
    _minders: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self, place: int) -> Worker:
        """Start a worker in a place that is free."""
        log = self.folder / f"worker-{place}-{len(self.all)}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "worker", "run"),
                cwd=self.folder,
                env=dict(self.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        worker = Worker(place, process, log)
        self.here[place] = worker
        self.all.append(worker)
        minder = asyncio.create_task(self._mind(worker), name=f"mind {log.name}")
        self._minders.add(minder)
        minder.add_done_callback(self._minders.discard)
        return worker

    def kill(self, place: int) -> None:
        """End a worker without a warning."""
        self.here[place].is_killed = True
        self.here[place].send(signal.SIGKILL)

    def stop(self, place: int) -> None:
        """Let a worker stand still."""
        self.here[place].is_stopped = True
        self.here[place].send(signal.SIGSTOP)

    def wake(self, place: int) -> None:
        """Let a worker that stands still go on."""
        self.here[place].is_stopped = False
        self.here[place].send(signal.SIGCONT)

    @property
    def working(self) -> list[int]:
        """The places whose workers consume the queue."""
        return sorted(place for place, worker in self.here.items() if worker.is_working)

    async def drain(self) -> list[int]:
        """Ask every worker to end, and return their exit statuses."""
        self._is_closing = True
        for worker in self.here.values():
            worker.send(signal.SIGTERM)
        async with asyncio.timeout(_DRAIN_S):
            return [await worker.process.wait() for worker in self.here.values()]

    def decoders_left(self) -> list[int]:
        """Return the processes that outlived workers that are gone."""
        gone = [worker for worker in self.all if worker.process.returncode is not None]
        return [pid for worker in gone for pid in of_session(worker.process.pid)]

    async def end(self) -> None:
        """Kill what is still here."""
        self._is_closing = True
        while minders := list(self._minders):  # one that was starting a worker brings another
            for worker in self.all:
                worker.send(signal.SIGKILL)
            await asyncio.gather(*minders)

    async def _mind(self, worker: Worker) -> None:
        await worker.process.wait()
        if self._is_closing:
            return
        if worker.has_started and not worker.is_killed:
            self.died.append(worker.log)
        elif not worker.is_killed:
            self.failed_starts += 1
        await self.start(worker.place)


@asynccontextmanager
async def workers_of(
    settings: Settings, folder: Path, *, endpoint_url: str, **more: str
) -> AsyncIterator[Workers]:
    """Hold workers on a test's resources, of one decoder each; all are gone at the end."""
    environment = {
        # Of this process's environment only what Python needs, so that a copy of the tree can be run.
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        **embedded_environment(endpoint_url),
        **variables_of(settings),
        "WORKER_VISIBILITY_TIMEOUT_S": str(settings.visibility_timeout_s),
        "WORKER_MAX_RECEIVES": str(settings.max_receives),
        "WORKER_WAIT_TIME_S": "1",
        "WORKER_PROCESSES": "1",
        "WORKER_HTTP_PORT": "0",
        "WORKER_LOG_FORMAT": "json",
        **more,
    }
    workers = Workers(folder, environment)
    try:
        yield workers
    finally:
        await workers.end()


async def until(condition: Callable[[], Any], *, within_s: float, what: str) -> None:
    """
    Look until a condition holds that announces itself to nobody.

    Raises:
        TimeoutError: It does not hold in time.
    """
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.05)
    except TimeoutError:
        message = f"not within {within_s:g} s: {what}"
        raise TimeoutError(message) from None
