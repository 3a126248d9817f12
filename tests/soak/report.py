"""The one table of a soak, and the plot of what it saw."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tests.soak.run import Soaked
from tests.soak.verdict import judgements, warm
from tests.soak.vitals import Sample, lag_between

_MB = 1_000_000


def show(soaked: Soaked, console: Console) -> None:
    """Print the table."""
    samples = warm(soaked.samples)
    first, last = samples[0], samples[-1]
    table = Table(title=f"Soak of {soaked.terms.seconds:g} s", title_justify="left")
    for column in ("", "measured", "bound", ""):
        table.add_column(column)
    for name, value in (
        ("uploads", f"{soaked.uploads:,}, {soaked.uploads / soaked.terms.seconds:.1f} a second"),
        ("bodies cut, halted", f"{soaked.cut}, {soaked.halted}"),
        ("decoders replaced", f"{soaked.samples[-1].restarts}"),
        ("after the warm-up", f"{last.images - first.images:,} pictures in {last.at_s - first.at_s:.0f} s"),
        ("the worker's own memory", _range([one.parent.uss for one in samples])),
        ("its resident memory", _range([one.parent.rss for one in samples])),
        ("all its decoders' own memory", _range([_of_decoders(one) for one in samples])),
        ("largest decoder, resident", _range([max(_residents(one), default=0) for one in samples])),
        ("open files", _counts([one.descriptors.count for one in samples])),
        ("TCP connections", _counts([one.descriptors.established for one in samples])),
        ("half-closed connections", _counts([one.descriptors.half_closed for one in samples])),
        ("lag of the loop, p50, p99, max", _lag(first, last)),
    ):
        table.add_row(name, value, "", "")
    table.add_section()
    for one in judgements(soaked):
        table.add_row(one.name, one.measured, one.bound, "kept" if one.is_kept else "[bold]BROKEN[/]")
    console.print(table)


def _of_decoders(one: Sample) -> int:
    return sum(memory.uss for memory in one.decoders.values())


def _residents(one: Sample) -> list[int]:
    return [memory.rss for memory in one.decoders.values()]


def _range(values: Sequence[int]) -> str:
    low, middle, high = (value / _MB for value in (min(values), median(values), max(values)))
    return f"{low:.1f} to {high:.1f} MB, median {middle:.1f}"


def _counts(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}, median {median(values):g}"


def _lag(first: Sample, last: Sample) -> str:
    shares = (0.5, 0.99, 1.0)
    return ", ".join(f"≤ {lag_between(first.lag, last.lag, share) * 1000:g} ms" for share in shares)


def plot(soaked: Soaked, file: Path) -> None:
    """Draw memory, open files and lag over time."""
    samples = soaked.samples
    at = [one.at_s for one in samples]
    figure = Figure(figsize=(10, 9), layout="constrained")
    memory, files, lag = figure.subplots(3, 1, sharex=True)
    memory.plot(at, [one.parent.uss / _MB for one in samples], label="worker, its own")
    memory.plot(at, [one.parent.rss / _MB for one in samples], label="worker, resident", linestyle=":")
    memory.plot(at, [_of_decoders(one) / _MB for one in samples], label="all decoders, their own")
    memory.set_ylabel("MB")
    files.plot(at, [one.descriptors.count for one in samples], label="open files")
    files.plot(at, [one.descriptors.established for one in samples], label="TCP connections")
    files.plot(at, [one.descriptors.half_closed for one in samples], label="half-closed connections")
    for share, name in ((0.5, "median"), (1.0, "worst")):
        lags = [lag_between(one.lag, other.lag, share) * 1000 for one, other in pairwise(samples)]
        lag.step(at[1:], lags, label=name)
    lag.set_yscale("log")
    lag.set_ylabel("lag of the loop, ms at most")
    lag.set_xlabel("s; shaded: bodies are cut and halted; left of the line: warm-up")
    for axes in (memory, files, lag):
        _shade(axes, samples)
        axes.axvline(warm(samples)[0].at_s, color="grey", linewidth=0.8)
        axes.set_ylim(bottom=None if axes is lag else 0)
        axes.legend(loc="lower right", fontsize="small")
        axes.grid(alpha=0.3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def _shade(axes: Axes, samples: Sequence[Sample]) -> None:
    for one, other in pairwise(samples):
        if one.is_stormy:
            axes.axvspan(one.at_s, other.at_s, color="orange", alpha=0.15, linewidth=0)
