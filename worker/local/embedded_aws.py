"""
Embedded AWS: MiniStack in a child process, for `demo`, `local` and the tests.

It accepts any credentials and any region over HTTP, at the endpoint that `embedded_aws` yields.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import BinaryIO, Final

from worker.domain.errors import ConfigurationError

EMBEDDED_REGION: Final = "us-east-1"
EMBEDDED_CREDENTIALS: Final = MappingProxyType(
    {"aws_access_key_id": "embedded", "aws_secret_access_key": "embedded"}
)
"""Credentials for clients of the embedded AWS: `create_client(..., **EMBEDDED_CREDENTIALS)`."""

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0
"""Longer than the longest poll: since Python 3.12 a closing server waits for requests in flight."""

LOG_NAME: Final = "embedded-aws.log"
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
"""Environment variables passed to the child process: no credentials, and no settings of MiniStack."""


def embedded_environment(endpoint_url: str, *, region: str = EMBEDDED_REGION) -> dict[str, str]:
    """Return the environment variables that make any AWS client use the endpoint."""
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": EMBEDDED_CREDENTIALS["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": EMBEDDED_CREDENTIALS["aws_secret_access_key"],
        "AWS_SESSION_TOKEN": "",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@asynccontextmanager
async def embedded_aws(state_dir: Path | None = None, *, port: int = 0) -> AsyncIterator[str]:
    """
    Run an embedded AWS and yield its endpoint, such as `http://127.0.0.1:41234`.

    Args:
        state_dir: Folder that keeps all state for the next start; nothing is kept if None.
        port: Port of 127.0.0.1; 0 for any free port.

    Raises:
        ConfigurationError: MiniStack is not installed or does not start.
    """
    if find_spec("ministack") is None:
        message = "the embedded AWS is not installed; install it with: pip install 'image-worker[local]'"
        raise ConfigurationError(message)
    with ExitStack() as cleanup:
        directory, log = _prepare(state_dir, cleanup)
        process = await _start(directory, log, keep=state_dir is not None, port=port)
        try:
            yield await _endpoint_url(process, log)
        finally:
            await _stop(process)


def _prepare(state_dir: Path | None, cleanup: ExitStack) -> tuple[Path, BinaryIO]:
    if state_dir is None:
        temporary = TemporaryDirectory(prefix="image-worker-", ignore_cleanup_errors=True)
        directory = Path(cleanup.enter_context(temporary))
    else:
        directory = state_dir.resolve()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        log = cleanup.enter_context((directory / LOG_NAME).open("w+b"))
    except OSError as error:
        message = (
            f"the embedded AWS cannot keep its state in {state_dir}: {error.strerror}; choose another folder"
        )
        raise ConfigurationError(message) from error
    return directory, log


async def _start(directory: Path, log: BinaryIO, *, keep: bool, port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.local.aws_server", str(directory), "--port", str(port)),
        *(["--keep"] if keep else []),
        stdin=subprocess.PIPE,  # the child exits when this closes, even if this process is killed
        stdout=subprocess.PIPE,
        stderr=log,
        env={name: os.environ[name] for name in INHERITED if name in os.environ},
        start_new_session=True,  # Ctrl-C must not stop it: a worker that drains still needs it
    )


async def _endpoint_url(process: asyncio.subprocess.Process, log: BinaryIO) -> str:
    assert process.stdout is not None  # noqa: S101 - started with a pipe
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = (await process.stdout.readline()).decode().strip()
    except TimeoutError:
        line = f"failed it did not report a port within {START_TIMEOUT_S:g} s"
    verb, _, rest = line.partition(" ")
    if verb != "listening":
        message = f"the embedded AWS does not start: {rest or _last_line(log)}"
        raise ConfigurationError(message)
    return f"http://127.0.0.1:{rest}"


def _last_line(log: BinaryIO) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it exited without a message")


async def _stop(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None  # noqa: S101 - started with a pipe
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
