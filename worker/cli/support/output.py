"""Print results on stdout, as JSON or tables, and progress on stderr."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from worker.domain.printable import printable
from worker.presentation.json_text import json_text

__all__ = [
    "STATUS_STYLES",
    "JsonOption",
    "bars",
    "console",
    "moment",
    "print_json",
    "print_note",
    "print_text",
    "status_text",
    "stderr_console",
    "table",
    "working",
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
"""The `--json` option of every command that prints a result."""

STATUS_STYLES: Final[Mapping[str, str]] = {
    "pending": "yellow",
    "processing": "cyan",
    "completed": "green",
    "failed": "bold red",
    "skipped": "dim",
}

_PIPED_WIDTH: Final = 240
"""Table width without a terminal: wide enough to keep each row on one line for grep."""


class _SafeConsole(Console):
    """A console that prints text of uploads without the characters that a terminal would act on."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - as in the base class
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def console() -> Console:
    """Return the console for results: stdout, with colours only on a terminal."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """Return the console for progress and notes: stderr, with colours only on a terminal."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = _SafeConsole(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED_WIDTH
    return console


def bars(on: Console | None = None) -> Progress:
    """Return progress bars with counts, which are shown only on a terminal and removed when stopped."""
    return _progress(on or stderr_console(), BarColumn(), MofNCompleteColumn())


@contextmanager
def working(title: str) -> Iterator[None]:
    """Show a spinner with the elapsed time while the body runs."""
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


def print_note(text: str) -> None:
    """Print a line on stderr, without the characters that a terminal would act on."""
    typer.echo(printable(text), err=True)


def print_text(text: str) -> None:
    """Print text on stdout as it is, but without the characters that a terminal would act on."""
    typer.echo(printable(text))


def print_json(value: object) -> None:
    """Print one JSON document on stdout; see `json_text`."""
    typer.echo(json_text(value))


def status_text(status: str) -> str:
    """Return a status with its colour, as rich markup."""
    style = STATUS_STYLES.get(status)
    return f"[{style}]{status}[/]" if style else status


def moment(at: datetime | None) -> str:
    """Return a time in UTC and whole seconds; an empty string for None."""
    return at.strftime("%Y-%m-%d %H:%M:%S") if at else ""


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[RenderableType]],
    *,
    numeric: Sequence[str] = (),
    unbroken: Sequence[str] = (),
) -> Table:
    """
    Return a table.

    Args:
        columns: Headings.
        rows: Rows with one cell per heading; text is parsed as rich markup.
        numeric: Headings of the columns that are right-aligned and not wrapped.
        unbroken: Headings of other columns that are not wrapped.
    """
    result = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for heading in columns:
        result.add_column(
            heading,
            justify="right" if heading in numeric else "left",
            no_wrap=heading in numeric or heading in unbroken,
            overflow="fold",
        )
    for row in rows:
        result.add_row(*row)
    return result
