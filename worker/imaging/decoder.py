"""
A decoder child: `python -m worker.imaging.decoder <descriptor of the connection>`.

It has no credentials, bounded memory, and one picture at a time. It ends when its connection does.
"""

import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from worker.domain.recipe import Limits
from worker.domain.step import EncodedRendition
from worker.imaging.confinement import confine, die_with_parent, limit_cpu_time
from worker.imaging.errors import crash_error_for
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process
from worker.ipc.framing import Frame, Header, TruncatedFrameError, read_frame, write_frame
from worker.ipc.messages import (
    ACCEPTED,
    READY,
    READY_WITH_NETWORK,
    Setup,
    recipe_from_header,
    rejection_header,
    rendition_header,
    setup_from_header,
    step_report_header,
)


def main() -> None:
    """Serve pictures until the parent hangs up."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to answer
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        first = read_frame(connection)
        if first is None:
            return
        setup = setup_from_header(first.header)
        fonts = Fonts(tuple(Path(font).read_bytes() for font in setup.fonts))
        is_offline = confine(memory_mb=setup.memory_mb)
        _discard_stderr()
        write_frame(connection, READY if is_offline else READY_WITH_NETWORK)
        try:
            serve(connection, setup=setup, fonts=fonts)
        except (TruncatedFrameError, ConnectionError):
            return  # the parent is gone, or wants this child no more


def serve(connection: socket.socket, *, setup: Setup, fonts: Fonts) -> None:
    """Answer one order after the other; return when the connection ends."""
    logos: dict[str, bytes] = {}
    while (order := read_frame(connection)) is not None:
        if order.header["kind"] == "logo":
            logos = {order.header["e_tag"]: bytes(order.body)}
            continue
        limit_cpu_time(setup.cpu_s)
        write_frame(connection, ACCEPTED)
        refusal = _answer(connection, order, logos=logos, limits=setup.limits, fonts=fonts)
        del order
        if refusal is not None:
            write_frame(connection, refusal)


def _answer(
    connection: socket.socket, order: Frame, *, logos: Mapping[str, bytes], limits: Limits, fonts: Fonts
) -> Header | None:
    """
    Send what comes of a picture as it comes.

    Returns:
        The refusal, if it was refused: only its words, since the error itself would keep the pixels alive.
    """
    try:
        for outcome in process(
            order.body, recipe_from_header(order.header, logos), limits=limits, fonts=fonts
        ):
            if isinstance(outcome, EncodedRendition):
                write_frame(connection, rendition_header(outcome), outcome.content)
            else:
                write_frame(connection, step_report_header(outcome))
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything; each of it has a name in the record
        return rejection_header(crash_error_for(error))
    return None


def _discard_stderr() -> None:
    """Send what libraries write to standard error nowhere: it would garble the parent's log."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stderr.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    main()
