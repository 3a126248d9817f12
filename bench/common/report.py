"""Reporting shared by the benchmarks: ratios with quartiles, tables, plots, and the machine's description."""

import argparse
import asyncio
import math
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

Results = TypeVar("Results")


@dataclass(frozen=True, slots=True)
class Spread:
    """
    Median and quartiles of repeated measurements.

    Attributes:
        median: Median.
        low: First quartile.
        high: Third quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Summarize at least one measurement."""
        values = sorted(values)
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)

    @classmethod
    def of_ratios(cls, numerators: Sequence[float], denominators: Sequence[float]) -> Self:
        """Summarize the ratios of each round, so that a slow round does not affect them."""
        return cls.of(above / below for above, below in zip(numerators, denominators, strict=True))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is at least as large as this share of the values."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table with the first column aligned left and the others aligned right."""
    rule = ["---", *("---:" for _ in headings[1:])]
    lines = [headings, rule, *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def describe_machine(*packages: str) -> str:
    """Return today's date, a description of this machine, and the versions of Python packages."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(os.sched_getaffinity(0))} CPUs ({cpu}), {memory_gib:.0f} GiB; "
        f"{platform.system()} {platform.release()}; {platform.python_implementation()} "
        f"{platform.python_version()}" + (f"; {versions}" if versions else "")
    )


def new_figure(rows: int = 1, *, height: float = 4) -> Figure:
    """Return an empty figure that needs no display; `save_figure` writes it."""
    mpl.use("Agg")
    return Figure(figsize=(10, rows * height), layout="constrained")


def save_figure(figure: Figure, name: str, *, alt: str) -> str:
    """Save a figure as `<name>.webp`, and return the Markdown that shows it with this alternative text."""
    PAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PAGES / f"{name}.webp", dpi=90)
    return f"![{alt}](performance/{name}.webp)\n"


def save_section(name: str, text: str) -> None:
    """Save a section of `docs/performance.md`; its links are relative to `docs/`."""
    PAGES.mkdir(parents=True, exist_ok=True)
    (PAGES / f"{name}.md").write_text(text.rstrip("\n") + "\n")


def run_benchmark(
    name: str,
    measure: Callable[[int], Coroutine[object, object, Results]],
    section: Callable[[Results], str],
    *,
    images: int,
    description: str | None,
) -> None:
    """
    Run a benchmark as a command: parse `--images`, measure, then print and save the section.

    Args:
        name: Name of the benchmark, and of the section's file.
        measure: Measures with a number of images.
        section: Returns the section for the results.
        images: Default of `--images`.
        description: Description of the command in its help.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--images", type=int, default=images, help="number of images (default: %(default)s)")
    text = section(asyncio.run(measure(parser.parse_args().images)))
    save_section(name, text)
    print(text)


def _lines(file: str) -> list[str]:
    path = Path(file)
    return path.read_text().splitlines() if path.exists() else []
