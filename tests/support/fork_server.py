"""
A fork server for the command line: a process with every command imported, which forks for each command.

A command runs in its own process with its own environment, working directory, signals and exit status, but
without a second of imports. Tests of the startup itself run `python -m worker`.
"""

import asyncio
import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NoReturn

from tests.support.service_models import preload_service_models
from worker.cli.app import COMMANDS, run
from worker.imaging.fork import fork_as_sibling

_MAX_PACKET_BYTES = 2**16
"""Maximum size of a request, which is sent as one packet."""


class ForkServer:
    """Starts the fork server, which starts commands as children of this process."""

    def __init__(self) -> None:
        self._socket, server_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with server_socket:
            line = [sys.executable, "-m", "tests.support.fork_server"]
            # The threads of a library would not survive a fork.
            environment = {"PATH": "", "OPENBLAS_NUM_THREADS": "1"}
            self._lock = threading.Lock()
            self._process = subprocess.Popen(
                line, stdin=server_socket.fileno(), env=environment, cwd=Path(__file__).parents[2]
            )

    def run(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        program: Path | None = None,
    ) -> tuple[int, str, str]:
        """Run one command, or a Python program; return its exit status, stdout and stderr."""
        with TemporaryFile() as stdout, TemporaryFile() as stderr, Path(os.devnull).open("rb") as stdin:
            files = (stdin.fileno(), stdout.fileno(), stderr.fileno())
            pid = self.start(arguments, folder=folder, environment=environment, files=files, program=program)
            _, status = os.waitpid(pid, 0)
            return os.waitstatus_to_exitcode(status), _text(stdout), _text(stderr)

    def start(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        files: tuple[int, int, int],
        program: Path | None = None,
        new_session: bool = False,
    ) -> int:
        """
        Start a command, or a Python program, in its own process.

        Args:
            arguments: Command-line arguments.
            folder: Working directory.
            environment: Environment variables.
            files: File descriptors that become its stdin, stdout and stderr.
            program: A Python file to run in place of the command.
            new_session: Whether it leads a session.

        Returns:
            The process id of a child of this process, which the caller reaps.
        """
        request = {
            "new_session": new_session,
            "arguments": arguments,
            "folder": str(folder),
            "environment": dict(environment),
            "program": program and str(program),
        }
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], list(files))
            pid: int = json.loads(self._socket.recv(_MAX_PACKET_BYTES))
        return pid

    async def open(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        stderr: int | None = None,
    ) -> "CommandProcess":
        """Start a command without stdin, with a pipe as its stdout, and as its stderr if none is given."""
        stdout, stdout_end = os.pipe()
        pipe, pipe_end = os.pipe()
        stdin = os.open(os.devnull, os.O_RDONLY)
        pid = self.start(
            arguments,
            folder=folder,
            environment=environment,
            files=(stdin, stdout_end, pipe_end if stderr is None else stderr),
        )
        for file in (stdin, stdout_end, pipe_end):
            os.close(file)
        return CommandProcess(pid, await _reader(stdout), await _reader(pipe))

    def close(self) -> None:
        """Stop the fork server."""
        self._socket.close()
        self._process.wait()


@cache
def shared_fork_server() -> ForkServer:
    """Return the fork server of this process; it is started at the first call, and stopped at exit."""
    fork_server = ForkServer()
    atexit.register(fork_server.close)
    return fork_server


class ForkedProcess:
    """A process that was started by the fork server, with methods of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._has_exited = asyncio.Event()
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has been reaped."""
        if self.returncode is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until the process has exited; return its exit status, or the negative number of a signal."""
        await self._has_exited.wait()
        assert self.returncode is not None
        return self.returncode

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._has_exited.set()


class CommandProcess(ForkedProcess):
    """A forked process with pipes as its stdout and stderr."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        super().__init__(pid)
        self.stdout = stdout
        self.stderr = stderr

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read stdout and stderr to their ends, and wait until the process has exited."""
        stdout, stderr, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return stdout, stderr


async def _reader(pipe: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    return reader


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


def main() -> None:
    """Serve requests until the other end of the socket is closed."""
    for entry in COMMANDS:
        import_module(entry.module)
    preload_service_models()
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    gc.set_threshold(20_000)
    with socket.socket(fileno=os.dup(0)) as requests:
        while True:
            packet, files, _, _ = socket.recv_fds(requests, _MAX_PACKET_BYTES, 3)
            if not packet:
                return
            pid = _fork()
            if not pid:
                requests.close()
                _run_command(json.loads(packet), files)
            for file in files:
                os.close(file)
            requests.send(json.dumps(pid).encode())


def _fork() -> int:
    """Fork as `os.fork` does, but a child of this process's parent, which can then wait for it."""
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = fork_as_sibling()
    if pid:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    return pid


def _run_command(request: dict[str, Any], files: list[int]) -> NoReturn:
    """Run as `python -m worker` in the request's directory and environment, and exit."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    # As at the start of an interpreter, whose buffers depend on whether these are terminals.
    sys.stdin, sys.stdout = (open(number, mode, closefd=False) for number, mode in ((0, "r"), (1, "w")))  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    if request["new_session"]:
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["program"]:
        status = _run_program(request["program"], request["arguments"])
    else:
        status = run(request["arguments"])
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # freeing every object of the interpreter would copy every page, too


def _run_program(program: str, arguments: Sequence[str]) -> int:
    """Run a Python program as the main module; return its exit status."""
    sys.argv = [program, *arguments]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    return 0


if __name__ == "__main__":
    main()
