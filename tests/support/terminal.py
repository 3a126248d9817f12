"""Run the command line on a pseudo-terminal, with Ctrl-C."""

import asyncio
import fcntl
import os
import re
import signal
import struct
import termios
from dataclasses import dataclass

from tests.acceptance.conftest import Command
from tests.support.fork_server import shared_fork_server

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOURS = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


@dataclass(frozen=True, slots=True)
class TerminalOutput:
    """
    Result of a command that ran on a terminal.

    Attributes:
        status: Exit status.
        raw: Everything the command wrote, with escape sequences.
    """

    status: int
    raw: str

    @property
    def text(self) -> str:
        """The output without escape sequences."""
        return _ESCAPES.sub("", self.raw)

    @property
    def has_colours(self) -> bool:
        """Whether the output sets a colour."""
        return _COLOURS.search(self.raw) is not None


async def run_on_terminal(
    command: Command, *arguments: str, interrupt_at: str | None = None, **settings: str
) -> TerminalOutput:
    """
    Run the command on a terminal of 120 columns.

    Args:
        command: Environment and working directory.
        arguments: Command-line arguments.
        interrupt_at: Send SIGINT when this text has been written.
        settings: Environment variables that override those of the command.
    """
    environment = {**command.environment, "TERM": "xterm-256color", **settings}
    return await asyncio.to_thread(_run, command, arguments, environment, interrupt_at)


def _run(
    command: Command, arguments: tuple[str, ...], environment: dict[str, str], interrupt_at: str | None
) -> TerminalOutput:
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    pid = shared_fork_server().start(
        arguments, folder=command.folder, environment=environment, files=(terminal, terminal, terminal)
    )
    os.close(terminal)
    output = ""
    try:
        while chunk := _read(controller):
            output += chunk
            if interrupt_at and interrupt_at in output:
                os.kill(pid, signal.SIGINT)
                interrupt_at = None
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(controller)
        _, status = os.waitpid(pid, 0)
    return TerminalOutput(os.waitstatus_to_exitcode(status), output)


def _read(controller: int) -> str:
    try:
        return os.read(controller, 65_536).decode(errors="replace")
    except OSError:  # EIO: no process has the terminal open any more
        return ""
