"""Start and stop the programs that are compared: image-worker from any working copy, and its peers."""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bench.common.paths import ROOT

IMAGE_WORKER: Final = "image-worker"
"""Name of the service of this working copy in reports; every ratio refers to it."""

_STOP_TIMEOUT_S: Final = 30.0
_LOG_LINES: Final = 20


class PeerFailedError(Exception):
    """Raised when a program ends during a measurement, or does not finish in time."""


@dataclass(frozen=True, slots=True)
class ServicePeer:
    """
    A program that processes the uploads.

    Attributes:
        name: Name in reports.
        command: Command line that starts it.
        folder: Working directory.
        receives_tasks: Whether its queue contains Celery tasks instead of S3 notifications.
        uses_tls: Whether its AWS calls are made by HTTPS.
        environment: Environment variables in addition to those of every peer.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    receives_tasks: bool = False
    uses_tls: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def image_worker(
    name: str = IMAGE_WORKER, tree: Path = ROOT, environment: Mapping[str, str] = MappingProxyType({})
) -> ServicePeer:
    """Return image-worker as a working copy has it, with the installed packages of this working copy."""
    return ServicePeer(name, (sys.executable, "-m", "worker", "run"), tree, environment=environment)


def named_tree(text: str) -> tuple[str, Path]:
    """
    Parse `NAME=FOLDER`, the name and the folder of another working copy of this project.

    Raises:
        argparse.ArgumentTypeError: The text has another form, or the folder is not a working copy.
    """
    name, _, folder = text.partition("=")
    if not name or not (Path(folder) / "worker" / "__main__.py").is_file():
        message = f"{text!r} is not NAME=FOLDER with the folder of a working copy of image-worker"
        raise argparse.ArgumentTypeError(message)
    return name, Path(folder).resolve()


@asynccontextmanager
async def running(
    peer: ServicePeer, environment: Mapping[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a peer during the body; its output is written to the log."""
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *peer.command,
            cwd=peer.folder,
            env={**environment, **peer.environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
        try:
            yield process
        finally:
            await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Terminate a process, and kill it if it has not ended after 30 seconds."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def log_tail(log: Path) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def inherited_environment() -> dict[str, str]:
    """Return the environment variables that every peer inherits from this process."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
