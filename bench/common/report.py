"""What every benchmark reports with: ratios and their spread, tables, plots, and the machine it ran on."""

import argparse
import asyncio
import os
import platform
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Self, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.common.paths import PAGES

Figures = TypeVar("Figures")


@dataclass(frozen=True, slots=True)
class Spread:
    """
    Several measurements of one thing.

    Attributes:
        median: Of all.
        low: A quarter of them is below.
        high: A quarter of them is above.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Summarise at least one measurement."""
        values = sorted(values)
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)

    @classmethod
    def of_ratios(cls, ours: Sequence[float], theirs: Sequence[float]) -> Self:
        """Compare round by round, so that what slows a whole round down falls out."""
        return cls.of(one / other for one, other in zip(ours, theirs, strict=True))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a Markdown table: the first column to the left, the others to the right."""
    rule = ["---", *("---:" for _ in headings[1:])]
    lines = [headings, rule, *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine(*packages: str) -> str:
    """Say when and on what this runs, with the versions of these Python packages."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(os.sched_getaffinity(0))} CPUs ({cpu}), {memory:.0f} GiB; "
        f"{platform.system()} {platform.release()}; {platform.python_implementation()} "
        f"{platform.python_version()}" + (f"; {versions}" if versions else "")
    )


def figure(rows: int = 1, *, height: float = 4) -> Figure:
    """Return a figure without a window; draw on `figure.subplots(...)`, then `save` it."""
    mpl.use("Agg")
    return Figure(figsize=(10, rows * height), layout="constrained")


def save(drawn: Figure, name: str, *, says: str) -> str:
    """Save a figure as `<name>.webp`; return the Markdown that shows it, `says` in the place of the eyes."""
    PAGES.mkdir(parents=True, exist_ok=True)
    drawn.savefig(PAGES / f"{name}.webp", dpi=90)
    return f"![{says}](performance/{name}.webp)\n"


def save_section(name: str, text: str) -> None:
    """Write a section of `docs/performance.md`, whose links begin at `docs/`."""
    PAGES.mkdir(parents=True, exist_ok=True)
    (PAGES / f"{name}.md").write_text(text.rstrip("\n") + "\n")


def run(
    name: str,
    measure: Callable[[int], Coroutine[object, object, Figures]],
    section: Callable[[Figures], str],
    *,
    pictures: int,
    description: str | None,
) -> None:
    """
    Be the command of a benchmark: measure, print the section, and leave it in `docs/performance`.

    Args:
        name: Of the benchmark.
        measure: Measures with so many pictures.
        section: Writes down what was measured.
        pictures: How many, unless `--pictures` says otherwise.
        description: Of the command, for its help.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pictures", type=int, default=pictures)
    text = section(asyncio.run(measure(parser.parse_args().pictures)))
    save_section(name, text)
    print(text)  # noqa: T201 - a command


def _lines(file: str) -> list[str]:
    path = Path(file)
    return path.read_text().splitlines() if path.exists() else []
