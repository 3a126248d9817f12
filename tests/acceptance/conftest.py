"""`image-worker` as a process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.emulators import variables_of
from tests.support.fork_server import CommandProcess, shared_fork_server
from worker.local.embedded_aws import embedded_environment
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit status and output of a command."""

    status: int
    stdout: str
    stderr: str


@dataclass
class Command:
    """Runs `image-worker` in an empty folder, without the environment of the tests."""

    folder: Path
    environment: Mapping[str, str]

    @asynccontextmanager
    async def started(self, *arguments: str, **settings: str) -> AsyncIterator[CommandProcess]:
        """Start the command; kill it at the end if it is still running."""
        process = await shared_fork_server().open(
            arguments, folder=self.folder, environment={**self.environment, **settings}
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def run(self, *arguments: str, **settings: str) -> CommandResult:
        """Run the command to completion."""
        ended = await asyncio.to_thread(
            shared_fork_server().run,
            arguments,
            folder=self.folder,
            environment={**self.environment, **settings},
        )
        return CommandResult(*ended)


SMALL_WORKER = {"WORKER_PROCESSES": "2", "WORKER_WAIT_TIME_S": "1", "WORKER_HTTP_PORT": "0"}
"""Settings of a worker that leaves resources to the other processes of a test."""


@pytest.fixture
def command(tmp_path: Path, ministack_endpoint: str) -> Command:
    """The command on the emulator of the session, without resources."""
    return Command(tmp_path, {"PATH": "", **embedded_environment(ministack_endpoint)})


@pytest.fixture
def with_resources(command: Command, provisioned: Settings) -> Command:
    """The command with existing resources."""
    return replace(command, environment={**command.environment, **variables_of(provisioned), **SMALL_WORKER})


async def until_logged(process: CommandProcess | asyncio.subprocess.Process, event: str) -> str:
    """Read the log of the process until a line contains the event, and return that line."""
    assert process.stderr
    async with asyncio.timeout(30):
        while line := (await process.stderr.readline()).decode():
            if event in line:
                return line
    message = f"the process ended without {event}"
    raise AssertionError(message)
