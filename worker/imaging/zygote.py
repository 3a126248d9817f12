"""
Entry point of the zygote: `python -m worker.imaging.zygote <file descriptor of its control connection>`.

The zygote loads everything that decoding needs, confines itself, and forks a decoder for each connection that
it receives. It never reads an image, so that each fork is clean. It exits when its connection is closed.
"""

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

from worker.imaging.confinement import confine_decoder, confine_zygote
from worker.imaging.decoder import discard_stderr, load, serve
from worker.imaging.fonts import Fonts
from worker.imaging.fork import fork_as_sibling
from worker.imaging.memory import prepare_for_forks
from worker.imaging.warm_up import render_watermarks
from worker.ipc.framing import TruncatedFrameError, write_frame
from worker.ipc.messages import (
    FORK_REQUEST,
    Setup,
    fork_failed_header,
    forked_header,
    ready_header,
)
from worker.ipc.process_attributes import die_with_parent


def main() -> None:
    """Load everything, then fork decoders until the worker process closes the connection."""
    worker = os.getppid()
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker process handles Ctrl-C
    with socket.socket(fileno=int(sys.argv[1])) as control:
        loaded = load(control)
        if loaded is None:
            return
        setup, fonts = loaded
        render_watermarks(setup.recipe, fonts)
        _require_single_thread()
        discard_stderr()
        guarantees = confine_zygote()
        write_frame(control, ready_header(guarantees))
        prepare_for_forks()
        while (connection := _next_connection(control)) is not None:
            with connection:
                try:
                    pid = fork_as_sibling()
                except OSError as error:
                    with contextlib.suppress(ConnectionError):
                        write_frame(connection, fork_failed_header(error))
                    continue
                if pid == 0:
                    control.close()
                    _run_decoder(connection, setup=setup, fonts=fonts, worker=worker)


def _require_single_thread() -> None:
    """Exit if a library has started threads: a fork would be without them, and wait for them forever."""
    if (threads := len(list(Path("/proc/self/task").iterdir()))) != 1:
        sys.exit(f"{threads} threads run after the warm-up; a process with threads cannot be forked")


def _next_connection(control: socket.socket) -> socket.socket | None:
    """Wait for the connection of the next decoder; return None when the control connection is closed."""
    request, descriptors, _, _ = socket.recv_fds(control, len(FORK_REQUEST), 1)
    if not request:
        return None
    (descriptor,) = descriptors
    return socket.socket(fileno=descriptor)


def _run_decoder(connection: socket.socket, *, setup: Setup, fonts: Fonts, worker: int) -> NoReturn:
    """Confine this fork, process images until its connection is closed, and exit."""
    status = 1
    try:
        # The worker process can only reap a fork that it knows, or that is in the zygote's process group.
        write_frame(connection, forked_header(os.getpid()))
        os.setsid()
        guarantees = confine_decoder(connection=connection.fileno(), memory_mb=setup.memory_mb, parent=worker)
        write_frame(connection, ready_header(guarantees))
        serve(connection, setup=setup, fonts=fonts)
        status = 0
    except (TruncatedFrameError, ConnectionError):
        status = 0  # the worker process has exited, or no longer needs this decoder
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
