"""What a command prints: JSON for machines and tables for people on stdout, everything else on stderr."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Final

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from worker.domain import clock
from worker.local.units import human_bytes, human_shape

__all__ = [
    "STATUS_STYLES",
    "JsonOption",
    "bars",
    "console",
    "human_bytes",
    "human_shape",
    "moment",
    "print_json",
    "status_text",
    "stderr_console",
    "table",
    "working",
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout; logs stay on stderr.")]
"""The `--json` of every command that prints results."""

STATUS_STYLES: Final[Mapping[str, str]] = {
    "pending": "yellow",
    "processing": "cyan",
    "completed": "green",
    "failed": "bold red",
    "skipped": "dim",
}

_PIPED_WIDTH: Final = 240
"""Columns of a table that no terminal bounds: wide enough that grep finds whole lines."""


def console() -> Console:
    """Return the console for results: stdout, with colours on a terminal only."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """Return the console for progress and remarks: stderr, with colours on a terminal only."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    found = Console(stderr=stderr, highlight=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = _PIPED_WIDTH
    return found


def bars(on: Console | None = None) -> Progress:
    """Return bars for what is counted: on stderr, on a terminal only, and gone when they are stopped."""
    return _progress(on or stderr_console(), BarColumn(), MofNCompleteColumn())


@contextmanager
def working(title: str) -> Iterator[None]:
    """Show that something goes on, and for how long, where the body says nothing for a while."""
    with _progress(stderr_console()) as progress:
        progress.add_task(title, total=None)
        yield


def _progress(on: Console, *columns: ProgressColumn) -> Progress:
    title = TextColumn("{task.description}")
    return Progress(
        SpinnerColumn(),
        title,
        *columns,
        TimeElapsedColumn(),
        console=on,
        transient=True,
        disable=not on.is_terminal,
    )


def print_json(value: object) -> None:
    """
    Print one JSON document on stdout.

    Moments are written as the record writes them, and what JSON does not know (paths, say) as its text.
    """
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: object) -> str:
    return clock.to_text(value) if isinstance(value, datetime) else str(value)


def status_text(status: str) -> str:
    """Return a status in its colour, as rich markup."""
    style = STATUS_STYLES.get(status)
    return f"[{style}]{status}[/]" if style else status


def moment(at: datetime | None) -> str:
    """Return a moment as people read it, in UTC and whole seconds; empty for none."""
    return at.strftime("%Y-%m-%d %H:%M:%S") if at else ""


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[RenderableType]],
    *,
    numeric: Sequence[str] = (),
    unbroken: Sequence[str] = (),
) -> Table:
    """
    Lay rows out under their headings.

    Args:
        columns: The headings.
        rows: One cell for each heading; a cell that is text is read as rich markup.
        numeric: The headings of columns that are aligned on the right and never broken.
        unbroken: The headings of further columns that are never broken.
    """
    laid_out = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for heading in columns:
        laid_out.add_column(
            heading,
            justify="right" if heading in numeric else "left",
            no_wrap=heading in numeric or heading in unbroken,
            overflow="fold",
        )
    for row in rows:
        laid_out.add_row(*row)
    return laid_out
