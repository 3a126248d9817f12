"""
Copy figures from `performance.md` into the pages that quote them.

A page quotes a figure as a number and a comment that names its place, which Markdown does not show:
`1.64<!-- The whole service | 1920x1080 | Celery | ratio -->`. The comment has the heading of the section, the
first cells of the row, and the heading of the column.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "docs" / "performance.md"
QUOTING: Final = (ROOT / "README.md", ROOT / "docs" / "security.md")
"""Pages with figures of the performance page."""

QUOTED: Final = re.compile(r"(?P<figure>\d[\d,]*(?:\.\d+)?)<!-- (?P<place>[^>]+ \| [^>]+) -->")
_NUMBER: Final = re.compile(r"\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a page, under a heading."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def with_figures(text: str, source: str) -> str:
    """
    Return a page whose quoted figures are those of the performance page.

    Args:
        text: Page that quotes figures.
        source: Content of the performance page.

    Raises:
        LookupError: The performance page has no such figure.
    """
    tables = list(_tables(source))
    return QUOTED.sub(lambda found: f"{_figure(tables, found['place'])}<!-- {found['place']} -->", text)


def quoting_pages(source: str) -> dict[Path, str]:
    """Return the content of each page that quotes figures, with those of the performance page."""
    return {page: with_figures(page.read_text(encoding="utf-8"), source) for page in QUOTING}


def _figure(tables: Sequence[_Table], place: str) -> str:
    """Return the first number of the cell: the median, where the cell has quartiles too."""
    heading, *cells, column = (part.strip() for part in place.split("|"))
    for table in tables:
        if table.heading != heading or column not in table.columns:
            continue
        for row in table.rows:
            number = _NUMBER.search(row[table.columns.index(column)])
            if list(row[: len(cells)]) == cells and number:
                return number[0]
    message = (
        f'There is no figure "{place}" in docs/performance.md: it has no such section, row or column. '
        "Correct the comment next to the figure."
    )
    raise LookupError(message)


def _tables(source: str) -> Iterator[_Table]:
    """Yield the tables of a page."""
    for section in re.split(r"^#+ ", source, flags=re.MULTILINE):
        heading, *lines = section.splitlines() or [""]
        for is_table, group in groupby(lines, lambda line: line.startswith("|")):
            if is_table:
                columns, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in group)
                yield _Table(heading, columns, rows)
