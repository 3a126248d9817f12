"""A real worker process whose metrics are read over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.chaos.workers import STARTED, Workers, wait_until, worker_processes
from tests.support.emulators import a_free_port
from tests.support.scrape import Scrape, scrape
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class WatchedWorker:
    """A worker that consumes the queue and serves its metrics."""

    pid: int
    port: int
    workers: Workers
    session: aiohttp.ClientSession

    async def scrape(self) -> Scrape:
        """Read its metrics."""
        return await scrape(self.session, self.port)

    async def drain(self) -> int:
        """Send SIGTERM and return the exit status."""
        (status,) = await self.workers.drain()
        return status


@asynccontextmanager
async def watched_worker(
    settings: Settings, folder: Path, *, endpoint_url: str, **more: str
) -> AsyncIterator[WatchedWorker]:
    """Run a worker on a test's resources, wait until it consumes the queue, and kill it at the end."""
    port = a_free_port()
    http = {"WORKER_HTTP_HOST": "127.0.0.1", "WORKER_HTTP_PORT": str(port)}
    async with (
        worker_processes(settings, folder, endpoint_url=endpoint_url, **http, **more) as workers,
        aiohttp.ClientSession() as session,
    ):
        workers.new_interpreters = True  # its memory is its own
        worker = await workers.start(0)
        await wait_until(lambda: worker.has_started, within_s=60, what=STARTED)
        yield WatchedWorker(worker.process.pid, port, workers, session)
