"""Start a Python interpreter that is confined: the zygote, or a decoder where there is no zygote."""

import asyncio
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.decoder_pool.child_process import ExecutedProcess
from worker.decoder_pool.frame_io import send_frame
from worker.decoder_pool.process import (
    EXIT_GRACE_S,
    DecoderDisconnectedError,
    connection_errors_mapped,
    describe_exit,
    receive_message,
)
from worker.domain.confinement import Guarantee
from worker.domain.errors import TransientError
from worker.ipc.messages import Setup, UnexpectedMessageError, expect_ready, setup_header

START_TIMEOUT_S: Final = 30.0

_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
MALLOC_ENVIRONMENT: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
"""Makes glibc keep freed memory for the next image: returning it took a third of the CPU time of a WebP."""
_HUGE_PAGES: Final = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Makes glibc ask for transparent huge pages: a fork gets memory for an image with a tenth of the faults."""

_ENVIRONMENT: Final = {
    "PYTHONPATH": str(_PACKAGE_ROOT),
    "PYTHONSAFEPATH": "1",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # numpy's BLAS is not used here; a process with threads cannot be forked
    **MALLOC_ENVIRONMENT,
    **_HUGE_PAGES,
}
_SOCKET_BUFFER_BYTES: Final = 1024 * 1024
"""Requested send buffer of the connection: the worker process wakes up less often than with the default."""
_STDERR_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Interpreter:
    """
    An interpreter that is ready.

    Attributes:
        process: Handle of the process.
        connection: Worker process's end of its connection, non-blocking.
        guarantees: What its confinement guarantees.
    """

    process: ExecutedProcess
    connection: socket.socket
    guarantees: frozenset[Guarantee]


async def start_interpreter(module: str, setup: Setup) -> Interpreter:
    """
    Run a module as a program, and wait until it is ready.

    Its environment contains only what Python needs to import this package. The last line that it writes to
    standard error before it is ready becomes part of the error message.

    Args:
        module: Module to run; its argument is the file descriptor of its connection.
        setup: Configuration that it gets as its first message.

    Raises:
        TransientError: The process could not be started, exited, or was not ready in time.
    """
    worker_end, process_end = open_connection()
    stderr, stderr_write = os.pipe()
    process: ExecutedProcess | None = None
    try:
        try:
            started = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", module, str(process_end.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr_write,
                pass_fds=(process_end.fileno(),),
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        finally:
            process_end.close()
            os.close(stderr_write)
        process = ExecutedProcess(started)
        async with asyncio.timeout(START_TIMEOUT_S):
            with connection_errors_mapped():
                await send_frame(worker_end, setup_header(setup))
            guarantees = expect_ready(await receive_message(worker_end))
    except BaseException as error:
        worker_end.close()
        status = "not started" if process is None else await _exit_of(process)
        if isinstance(error, OSError | TimeoutError | DecoderDisconnectedError | UnexpectedMessageError):
            message = f"a decoder process did not start ({status}): {_last_line(stderr) or error}"
            raise TransientError(message) from error
        raise
    else:
        return Interpreter(process, worker_end, guarantees)
    finally:
        os.close(stderr)


def open_connection() -> tuple[socket.socket, socket.socket]:
    """Return the worker process's end, non-blocking, and the other end of a new connection."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    ends[0].setblocking(False)
    return ends


async def _exit_of(process: ExecutedProcess) -> str:
    """Wait for the exit of a process whose connection is closed; kill it after `EXIT_GRACE_S`."""
    try:
        async with asyncio.timeout(EXIT_GRACE_S):
            return describe_exit(await process.wait())
    except TimeoutError:
        process.kill()
        return describe_exit(await process.wait())


def _last_line(stderr: int) -> str:
    os.set_blocking(stderr, False)
    try:
        written = os.read(stderr, 16 * _STDERR_BYTES)
    except BlockingIOError:
        return ""
    lines = written[-_STDERR_BYTES:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
