"""The table and the plot of a soak run."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tests.soak.bounds import check_bounds, warm
from tests.soak.run import SoakResult
from tests.soak.sampling import Sample, lag_between

_MB = 1_000_000


def show(result: SoakResult, console: Console) -> None:
    """Print the table."""
    samples = warm(result.samples)
    first, last = samples[0], samples[-1]
    table = Table(title=f"Soak of {result.options.seconds:g} s", title_justify="left")
    for column in ("", "measured", "bound", ""):
        table.add_column(column)
    for name, value in (
        ("uploads", f"{result.uploads:,}, {result.uploads / result.options.seconds:.1f} a second"),
        ("bodies truncated, stalled", f"{result.cut}, {result.halted}"),
        ("decoders replaced", f"{result.samples[-1].restarts}"),
        ("after the warm-up", f"{last.images - first.images:,} images in {last.at_s - first.at_s:.0f} s"),
        ("worker process, unique memory", _range([entry.parent.uss for entry in samples])),
        ("worker process, resident memory", _range([entry.parent.rss for entry in samples])),
        ("all decoders, unique memory", _range([_of_decoders(entry) for entry in samples])),
        (
            "largest decoder, resident memory",
            _range([max(_residents(entry), default=0) for entry in samples]),
        ),
        ("open files", _counts([entry.descriptors.count for entry in samples])),
        ("TCP connections", _counts([entry.descriptors.established for entry in samples])),
        ("half-closed connections", _counts([entry.descriptors.half_closed for entry in samples])),
        ("loop lag, p50, p99, max", _lag(first, last)),
    ):
        table.add_row(name, value, "", "")
    table.add_section()
    for entry in check_bounds(result):
        table.add_row(
            entry.name, entry.measured, entry.bound, "ok" if entry.is_within else "[bold]EXCEEDED[/]"
        )
    console.print(table)


def _of_decoders(entry: Sample) -> int:
    return sum(memory.uss for memory in entry.decoders.values())


def _residents(entry: Sample) -> list[int]:
    return [memory.rss for memory in entry.decoders.values()]


def _range(values: Sequence[int]) -> str:
    low, middle, high = (value / _MB for value in (min(values), median(values), max(values)))
    return f"{low:.1f} to {high:.1f} MB, median {middle:.1f}"


def _counts(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}, median {median(values):g}"


def _lag(first: Sample, last: Sample) -> str:
    shares = (0.5, 0.99, 1.0)
    return ", ".join(f"≤ {lag_between(first.lag, last.lag, share) * 1000:g} ms" for share in shares)


def plot(result: SoakResult, file: Path) -> None:
    """Plot memory, open files and loop lag over time."""
    samples = result.samples
    at = [entry.at_s for entry in samples]
    figure = Figure(figsize=(10, 9), layout="constrained")
    memory, files, lag = figure.subplots(3, 1, sharex=True)
    memory.plot(at, [entry.parent.uss / _MB for entry in samples], label="worker process, unique")
    memory.plot(
        at, [entry.parent.rss / _MB for entry in samples], label="worker process, resident", linestyle=":"
    )
    memory.plot(at, [_of_decoders(entry) / _MB for entry in samples], label="all decoders, unique")
    memory.set_ylabel("MB")
    files.plot(at, [entry.descriptors.count for entry in samples], label="open files")
    files.plot(at, [entry.descriptors.established for entry in samples], label="TCP connections")
    files.plot(at, [entry.descriptors.half_closed for entry in samples], label="half-closed connections")
    for share, name in ((0.5, "median"), (1.0, "maximum")):
        lags = [lag_between(entry.lag, other.lag, share) * 1000 for entry, other in pairwise(samples)]
        lag.step(at[1:], lags, label=name)
    lag.set_yscale("log")
    lag.set_ylabel("loop lag, upper bound in ms")
    lag.set_xlabel("s; shaded: bodies are truncated and stalled; left of the line: warm-up")
    for axes in (memory, files, lag):
        _shade(axes, samples)
        axes.axvline(warm(samples)[0].at_s, color="grey", linewidth=0.8)
        axes.set_ylim(bottom=None if axes is lag else 0)
        axes.legend(loc="lower right", fontsize="small")
        axes.grid(alpha=0.3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def _shade(axes: Axes, samples: Sequence[Sample]) -> None:
    for entry, other in pairwise(samples):
        if entry.faults_active:
            axes.axvspan(entry.at_s, other.at_s, color="orange", alpha=0.15, linewidth=0)
