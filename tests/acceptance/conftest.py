"""The real command, as a process of its own."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.settings import Settings
from worker.local.aws import embedded_environment


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    stdout: str
    stderr: str


@dataclass
class Command:
    """Runs `image-worker` in an empty folder, with nothing of our environment but the paths."""

    folder: Path
    environment: Mapping[str, str]

    @asynccontextmanager
    async def started(self, *arguments: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start the command; kill it at the end if it still runs."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker",
            *arguments,
            cwd=self.folder,
            env={**self.environment, **settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def run(self, *arguments: str, **settings: str) -> Ended:
        """Run the command to its end."""
        async with self.started(*arguments, **settings) as process, asyncio.timeout(90):
            stdout, stderr = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, stdout.decode(), stderr.decode())


def variables_of(settings: Settings) -> dict[str, str]:
    """Return the environment that makes a process use a test's resources."""
    names = ("bucket", "queue_name", "dead_letter_queue_name", "table_name")
    ours = {f"WORKER_{name.upper()}": str(getattr(settings, name)) for name in names}
    return ours | {"WORKER_PROCESSES": "2", "WORKER_WAIT_TIME_S": "1", "WORKER_HTTP_PORT": "0"}


@pytest.fixture
def command(tmp_path: Path, ministack_endpoint: str) -> Command:
    """The command on the session's AWS, before any of its own settings."""
    return Command(tmp_path, {"PATH": "", **embedded_environment(ministack_endpoint)})


@pytest.fixture
def with_resources(command: Command, provisioned: Settings) -> Command:
    """The command on resources that exist."""
    return Command(command.folder, {**command.environment, **variables_of(provisioned)})


async def until_logged(process: asyncio.subprocess.Process, event: str) -> str:
    """Read the process's log until a line names the event, and return that line."""
    assert process.stderr
    async with asyncio.timeout(30):
        while line := (await process.stderr.readline()).decode():
            if event in line:
                return line
    message = f"the process ended without {event}"
    raise AssertionError(message)
