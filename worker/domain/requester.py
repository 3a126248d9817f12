"""Who requested a repair, and how, for the history of an image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.domain.bounds import bounded_text
from worker.domain.printable import printable
from worker.domain.step import Json

COMMAND_LINE: Final = "command line"
CONSOLE: Final = "console"

_MAX_NAME_BYTES: Final = 128
_MAX_COMMAND_BYTES: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """
    Who requested a repair, and how.

    Attributes:
        by: Name of the person: the authenticated user of the console, or the user of the operating system.
        via: `COMMAND_LINE` or `CONSOLE`.
        command: Name of the command, or of the console's action that does the same: `images retry`.
    """

    by: str
    via: str
    command: str

    def detail(self) -> Mapping[str, Json]:
        """Return the attributes for an entry of the history: short, and on one printable line each."""
        return {
            "by": one_line(self.by, _MAX_NAME_BYTES) or "unknown",
            "via": one_line(self.via, _MAX_COMMAND_BYTES),
            "command": one_line(self.command, _MAX_COMMAND_BYTES),
        }


def one_line(text: str, max_bytes: int) -> str:
    """Return the text on one line, printable, and with at most `max_bytes` bytes in UTF-8."""
    return bounded_text(" ".join(printable(text).split()), max_bytes)
