"""
A fork server for the command line: a process with every command imported, which forks for each command.

A command runs in its own process with its own environment, working directory and exit status, but without
half a second of imports. Tests of the startup itself run `python -m worker`.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NoReturn

from tests.support.service_models import preload_service_models
from worker.cli.app import COMMANDS, run

_MAX_PACKET_BYTES = 2**16
"""Maximum size of a request, which is sent as one packet."""


class ForkServer:
    """Starts the fork server, and runs one command at a time in a fork of it."""

    def __init__(self) -> None:
        self._socket, server_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with server_socket:
            line = [sys.executable, "-m", "tests.support.fork_server"]
            self._process = subprocess.Popen(
                line, stdin=server_socket.fileno(), env={"PATH": ""}, cwd=Path(__file__).parents[2]
            )

    def run(
        self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]
    ) -> tuple[int, str, str]:
        """Run one command; return its exit status, stdout and stderr."""
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
        with TemporaryFile() as stdout, TemporaryFile() as stderr:
            packet = json.dumps(request).encode()
            socket.send_fds(self._socket, [packet], [stdout.fileno(), stderr.fileno()])
            status = json.loads(self._socket.recv(_MAX_PACKET_BYTES))
            return status, _text(stdout), _text(stderr)

    def close(self) -> None:
        """Stop the fork server."""
        self._socket.close()
        self._process.wait()


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


def main() -> None:
    """Serve requests until the other end of the socket is closed."""
    for entry in COMMANDS:
        import_module(entry.module)
    preload_service_models()
    with socket.socket(fileno=os.dup(0)) as requests:
        while True:
            packet, descriptors, _, _ = socket.recv_fds(requests, _MAX_PACKET_BYTES, 2)
            if not packet:
                return
            pid = os.fork()
            if not pid:
                requests.close()
                _run_command(json.loads(packet), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            _, status = os.waitpid(pid, 0)
            requests.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())


def _run_command(request: dict[str, Any], stdout: int, stderr: int) -> NoReturn:
    """Run as `python -m worker` in the request's directory and environment, and exit."""
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.exit(run(request["arguments"]))


if __name__ == "__main__":
    main()
