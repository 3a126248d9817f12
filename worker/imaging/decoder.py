"""
Entry point of a decoder process: `python -m worker.imaging.decoder <file descriptor of the connection>`.

A decoder has no credentials, no network and a memory limit, and processes a single image at a time. It exits
when its connection is closed.
"""

import gc
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from worker.domain.step import EncodedRendition
from worker.imaging.confinement import confine_decoder, limit_cpu_time
from worker.imaging.errors import crash_error_for
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process
from worker.imaging.warm_up import warm_up
from worker.ipc.framing import Frame, Header, TruncatedFrameError, read_frame, write_frame
from worker.ipc.messages import (
    ACCEPTED,
    Setup,
    focus_from_header,
    ready_header,
    recipe_from_header,
    rejected_header,
    rendition_header,
    setup_from_header,
    step_report_header,
)

if TYPE_CHECKING:
    from worker.ipc.messages import LogoHeader


def main() -> None:
    """Confine the process, then process images until the worker process closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker process handles Ctrl-C
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        loaded = load(connection)
        if loaded is None:
            return
        setup, fonts = loaded
        discard_stderr()
        guarantees = confine_decoder(connection=connection.fileno(), memory_mb=setup.memory_mb)
        write_frame(connection, ready_header(guarantees))
        try:
            serve(connection, setup=setup, fonts=fonts)
        except (TruncatedFrameError, ConnectionError):
            return  # the worker process has exited, or no longer needs this decoder


def serve(connection: socket.socket, *, setup: Setup, fonts: Fonts) -> None:
    """Process the images that arrive on a connection, until it is closed."""
    logos: dict[str, bytes] = {}
    while (message := read_frame(connection)) is not None:
        if message.header["kind"] == "logo":
            logos = {cast("LogoHeader", message.header)["e_tag"]: bytes(message.body)}
            continue
        limit_cpu_time(setup.cpu_s)
        write_frame(connection, ACCEPTED)
        rejection = _process_image(connection, message, logos=logos, setup=setup, fonts=fonts)
        del message  # frees the upload before the next one is received
        if rejection is not None:
            write_frame(connection, rejection)
        gc.enable()  # a fork of the zygote begins without garbage collection


def _process_image(
    connection: socket.socket, message: Frame, *, logos: Mapping[str, bytes], setup: Setup, fonts: Fonts
) -> Header | None:
    """
    Send each step report and rendition of an image as soon as it is made.

    Returns:
        The `rejected` message, if the image is rejected. It is a plain header because the exception's
        traceback would keep the pixels in memory.
    """
    try:
        recipe = recipe_from_header(message.header, logos)
        outputs = process(
            message.body,
            recipe,
            limits=setup.limits,
            fonts=fonts,
            focus=focus_from_header(message.header),
            limit_cpu_time=limit_cpu_time,
        )
        for output in outputs:
            if isinstance(output, EncodedRendition):
                write_frame(connection, rendition_header(output), output.content)
            else:
                write_frame(connection, step_report_header(output))
                limit_cpu_time(setup.cpu_s)  # the limit of decoding does not apply to what follows
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise exceptions of any type; each is mapped to a code
        return rejected_header(crash_error_for(error))
    return None


def load(connection: socket.socket) -> tuple[Setup, Fonts] | None:
    """Receive the configuration and load all that decoding needs; None if the connection is closed."""
    first = read_frame(connection)
    if first is None:
        return None
    setup = setup_from_header(first.header)
    fonts = Fonts(tuple(Path(font).read_bytes() for font in setup.fonts))
    warm_up(fonts)
    return setup, fonts


def discard_stderr() -> None:
    """Redirect standard error to /dev/null, so that libraries do not write into the worker's log."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stderr.fileno())
    os.close(null)


if __name__ == "__main__":
    main()
