"""`image-worker console` as a process, with its address."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from tests.support.emulators import a_free_port, variables_of
from worker.local.embedded_aws import INHERITED, embedded_environment
from worker.settings import Settings

_LINK = re.compile(r"The web console is at (\S+)")
_START_S = 60.0
_STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class ConsoleProcess:
    """
    A running console.

    Attributes:
        link: The link that it printed, which signs in once.
        pid: Process id.
        log: File with its log.
    """

    link: URL
    pid: int
    log: Path

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return str(self.link.origin())


@asynccontextmanager
async def console_process(
    settings: Settings, folder: Path, *, endpoint_url: str, exit_status: int = 0, **more: str
) -> AsyncIterator[ConsoleProcess]:
    """
    Run a console on a test's resources, wait until it listens, and stop it with SIGTERM at the end.

    Args:
        settings: Settings with the names of the resources.
        folder: Folder for its log, which is its working directory.
        endpoint_url: Endpoint of the embedded AWS.
        exit_status: How it is expected to end; `-signal.SIGKILL` if the test kills it.
        more: Further environment variables.
    """
    log = folder / "console.log"
    environment = {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        **embedded_environment(endpoint_url),
        **variables_of(settings),
        "WORKER_CONSOLE_PORT": str(a_free_port()),
        "WORKER_PROCESSES": "1",
        **more,
    }
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker", "console"),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        )
    try:
        yield ConsoleProcess(await _link(process, log), process.pid, log)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
                raise
    assert process.returncode == exit_status, _text(log)


async def _link(process: asyncio.subprocess.Process, log: Path) -> URL:
    """Wait for the line with the link, which is printed when the console listens."""
    async with asyncio.timeout(_START_S):
        while (found := _LINK.search(_text(log))) is None:
            assert process.returncode is None, _text(log)
            await asyncio.sleep(0.05)
    return URL(found[1])


def _text(log: Path) -> str:
    return log.read_text(errors="replace")
