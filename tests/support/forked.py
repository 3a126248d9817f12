"""
The command line with everything imported, forked for each command that is run to its end.

Such a command is a process like any other, with an environment, a folder and an exit status of its own, and
spares the half a second of imports. Where starting is the point, tests start `python -m worker`.
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

from worker.cli.app import COMMANDS, run

_MOST_BYTES = 2**16
"""Of a request, in one packet."""


class CommandLine:
    """The process that is forked; it runs one command at a time, and ends with the object."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            line = [sys.executable, __file__]
            self._process = subprocess.Popen(line, stdin=theirs, env={"PATH": ""})

    def run(
        self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]
    ) -> tuple[int, str, str]:
        """Run one command; return its exit status and what it wrote to stdout and stderr."""
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
        with TemporaryFile() as stdout, TemporaryFile() as stderr:
            packet = json.dumps(request).encode()
            socket.send_fds(self._socket, [packet], [stdout.fileno(), stderr.fileno()])
            status = json.loads(self._socket.recv(_MOST_BYTES))
            return status, _text(stdout), _text(stderr)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait()


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


def main() -> None:
    """Fork for each request, until nobody can make any more."""
    for entry in COMMANDS:
        import_module(entry.module)
    with socket.socket(fileno=os.dup(0)) as requests:
        while True:
            packet, descriptors, _, _ = socket.recv_fds(requests, _MOST_BYTES, 2)
            if not packet:
                return
            pid = os.fork()
            if not pid:
                requests.close()
                _become(json.loads(packet), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            _, status = os.waitpid(pid, 0)
            requests.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict[str, Any], stdout: int, stderr: int) -> NoReturn:
    """Do what `python -m worker` does, in the place that the request names."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.exit(run(request["arguments"]))


if __name__ == "__main__":
    main()
