"""Ask for confirmation of what cannot be undone."""

import sys
from typing import Annotated

import typer
from rich.markup import escape

from worker.cli.support import output
from worker.domain.errors import ConfigurationError

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def confirm(what: str, *, expected: str) -> None:
    """
    Ask for a text that confirms what cannot be undone.

    Args:
        what: What will happen, as a sentence.
        expected: The text to type.

    Raises:
        ConfigurationError: There is no terminal to ask on, or another text was typed.
    """
    if not sys.stdin.isatty():
        message = "there is no terminal to ask for confirmation on: add --yes, or --dry-run to see the effect"
        raise ConfigurationError(message)
    console = output.stderr_console()
    console.print(f"{escape(what)} It cannot be undone.", soft_wrap=True)
    typed = typer.prompt(f"Type {expected} to confirm it", err=True, default="", show_default=False)
    if typed != expected:
        message = f"{typed!r} was typed in place of {expected!r}: nothing was changed"
        raise ConfigurationError(message)
