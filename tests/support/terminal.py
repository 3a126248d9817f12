"""The real command on a terminal: what people see, and Ctrl-C as they press it."""

import asyncio
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass

from tests.acceptance.conftest import Command

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOURS = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


@dataclass(frozen=True, slots=True)
class Seen:
    """How a command ended, and all that its terminal was sent."""

    status: int
    raw: str

    @property
    def text(self) -> str:
        """What was sent, without what moves the cursor and colours the text."""
        return _ESCAPES.sub("", self.raw)

    @property
    def has_colours(self) -> bool:
        """Whether any of it had a colour."""
        return _COLOURS.search(self.raw) is not None


async def on_a_terminal(
    command: Command, *arguments: str, interrupt_at: str | None = None, **settings: str
) -> Seen:
    """Run the command on a terminal of 120 columns; press Ctrl-C as soon as the text is to be seen."""
    environment = {**command.environment, "TERM": "xterm-256color", **settings}
    return await asyncio.to_thread(_run, command, arguments, environment, interrupt_at)


def _run(
    command: Command, arguments: tuple[str, ...], environment: dict[str, str], interrupt_at: str | None
) -> Seen:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    line = [sys.executable, "-m", "worker", *arguments]
    with subprocess.Popen(
        line, cwd=command.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = ""
        try:
            while chunk := _read(ours):
                seen += chunk
                if interrupt_at and interrupt_at in seen:
                    process.send_signal(signal.SIGINT)
                    interrupt_at = None
            process.wait(60)
        finally:
            process.kill()
            os.close(ours)
    return Seen(process.returncode, seen)


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65_536).decode(errors="replace")
    except OSError:  # how Linux says that nobody writes to the terminal any more
        return ""
