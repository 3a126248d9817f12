"""Who is measured: the service of this working copy or another, and the rivals; each started the same way."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.common.install import command
from bench.common.paths import ROOT
from bench.service import peer_setup as peers

_STOP_S: Final = 30.0
_LAST_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Subject:
    """
    Something that does the work.

    Attributes:
        name: For people.
        command: What starts it.
        folder: Where it is started.
        reads_tasks: Whether its queue holds Celery's tasks in place of the bucket's notifications.
        environment: What it needs beyond the address of its AWS and the names of the resources.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    reads_tasks: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def service(name: str, tree: Path = ROOT) -> Subject:
    """Return the service as a working copy of the project has it; the packages are this one's."""
    return Subject(name, (sys.executable, "-m", "worker", "run"), tree)


def named_tree(text: str) -> tuple[str, Path]:
    """Read NAME=FOLDER: another working copy of this project, to compare a change before and after."""
    name, _, folder = text.partition("=")
    return name, Path(folder).resolve()


def node() -> Subject:
    """Return the worker on sqs-consumer, AWS SDK for JavaScript 3 and sharp."""
    environment = {"NODE_ENV": "production"}
    return Subject("Node", (command("node"), "worker.mjs"), peers.NODE, environment=environment)


def celery(concurrency: int) -> Subject:
    """Return the worker on Celery with SQS, boto3 and Pillow: one process for each picture in hand."""
    options = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
    return Subject(
        "Celery",
        (
            *(str(peers.PYTHON), "-m", "celery", "-A", "celery_worker", "worker"),
            *("--concurrency", str(concurrency), "-O", "fair"),
            *options,
        ),
        peers.PYTHON_SOURCES,
        reads_tasks=True,
    )


def threads() -> Subject:
    """Return the worker on a pool of threads, boto3 and Pillow."""
    return Subject("Threads", (str(peers.PYTHON), "threads_worker.py"), peers.PYTHON_SOURCES)


@asynccontextmanager
async def running(
    subject: Subject, environment: Mapping[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a subject while the body runs; what it says goes to the log."""
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *subject.command,
            cwd=subject.folder,
            env={**environment, **subject.environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
        try:
            yield process
        finally:
            await _stop(process)


@asynccontextmanager
async def publisher(environment: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run what publishes a task for each line that it is sent, and answers each with a line."""
    process = await asyncio.create_subprocess_exec(
        str(peers.PYTHON),
        "publish.py",
        cwd=peers.PYTHON_SOURCES,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        await _stop(process)


def last_lines(log: Path) -> str:
    """Return the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def inherited() -> dict[str, str]:
    """Return what every subject sees of our environment."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
