"""
The whole service beside its rivals: what one picture costs from the notification to the record.

Every subject works off the same pictures against an AWS of its own (MiniStack in a process of its own), with
the same pictures in hand at once, and leaves the same record, which is checked. The subjects take turns in
each round, and everything is compared round by round: machines are noisy, ratios within a round less so.

`python -m bench.service [--pictures 500] [--rounds 3]` installs the rivals, prints one table, and leaves the
section of `docs/performance.md`.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.common import peers as subjects
from bench.common import report
from bench.common.peers import Subject
from bench.common.series import FULL_HD, SERIES, Series, make
from bench.service import imaging_alone as imaging
from bench.service import peer_setup as peers
from bench.service.measurement import Load, Measurement, measure
from bench.service.workload import percentile

OURS: Final = "image-worker"
CONCURRENCY: Final = 8
_WARM_UP: Final = 40
_WIDTH: Final = 170
_TARGETS: Final[Mapping[str, Mapping[str, float]]] = {
    "Node": {"1920x1080": 1.7, "12 MP": 1.5},
    "Celery": {"1920x1080": 2.5, "12 MP": 1.8},
}
"""What rival / ours is meant to be at least: reported beside what was measured, never asserted."""
_MOST_OVERHEAD: Final[Mapping[str, float]] = {"1920x1080": 1.5, "12 MP": 1.2}


@dataclass(frozen=True, slots=True)
class Figures:
    """
    Everything measured in one session.

    Attributes:
        pictures: Counted in each measurement of the larger backlog.
        rounds: How often everybody took their turn.
        measured: By the series' name and the subject's, one for each round.
        imaging_ms: CPU of the imaging alone, by the series' name, one for each round.
    """

    pictures: int
    rounds: int
    measured: Mapping[str, Mapping[str, Sequence[Measurement]]]
    imaging_ms: Mapping[str, Sequence[float]]

    def ratio(self, series: str, subject: str) -> report.Spread:
        """Compare a subject's CPU for one picture with ours, round by round."""
        return report.Spread.of_ratios(
            [one.cpu_ms for one in self.measured[series][subject]],
            [one.cpu_ms for one in self.measured[series][OURS]],
        )

    def overhead(self, series: str) -> report.Spread:
        """Compare our CPU for one picture with that of the imaging alone."""
        return report.Spread.of_ratios(
            [one.cpu_ms for one in self.measured[series][OURS]], self.imaging_ms[series]
        )


def main() -> None:
    """Measure, print, and leave the section."""
    parser = argparse.ArgumentParser(description="The whole service beside its rivals.")
    parser.add_argument("--pictures", type=int, default=500, help="counted in each backlog of 1920x1080")
    parser.add_argument("--rounds", type=int, default=3, help="how often everybody takes their turn")
    parser.add_argument("--paced-s", type=float, default=10.0, help="how long pictures come at an even pace")
    parser.add_argument("--seed", type=int, default=1, help="of the pictures")
    parser.add_argument("--series", choices=[one.name for one in SERIES], help="only this one")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="only these subjects beside ours")
    parser.add_argument(
        "--against",
        nargs="*",
        default=[],
        metavar="NAME=FOLDER",
        type=subjects.named_tree,
        help="other working copies of this project, to compare a change before and after",
    )
    arguments = parser.parse_args()
    peers.install()
    others = [subjects.node(), subjects.celery(CONCURRENCY), subjects.threads()]
    if arguments.only is not None:
        others = [one for one in others if one.name in arguments.only]
    others += [subjects.service(name, tree) for name, tree in arguments.against]
    chosen = [one for one in SERIES if arguments.series in {None, one.name}]
    console = Console(stderr=True)
    figures = asyncio.run(
        run(
            [subjects.service(OURS), *others],
            chosen,
            pictures=arguments.pictures,
            rounds=arguments.rounds,
            paced_s=arguments.paced_s,
            seed=arguments.seed,
            console=console,
        )
    )
    Console(width=max(_WIDTH, Console().width)).print(table(figures))
    if arguments.series is None and arguments.only is None and not arguments.against:
        report.save_section("service", section(figures))


async def run(
    contestants: Sequence[Subject],
    chosen: Iterable[Series],
    *,
    pictures: int,
    rounds: int,
    paced_s: float,
    seed: int,
    console: Console,
) -> Figures:
    """Let everybody take their turn, in another order each round; larger pictures are a third as many."""
    measured: dict[str, dict[str, list[Measurement]]] = {}
    alone: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="image-worker-bench-") as name:
        folder = Path(name)
        files = {series: make(series, folder, seed=seed) for series in chosen}
        for number in range(rounds):
            for series, made in files.items():
                count = pictures if series is FULL_HD else max(1, pictures // 3)
                load = Load(
                    contents=[file.read_bytes() for file in made],
                    warm_up=_WARM_UP,
                    pictures=count,
                    paced=max(1, round(paced_s * series.per_s)),
                    per_s=series.per_s,
                    concurrency=CONCURRENCY,
                    processes=len(os.sched_getaffinity(0)),
                )
                alone_ms = 1000 * imaging.measure(made, count // 2)
                alone.setdefault(series.name, []).append(alone_ms)
                console.print(f"round {number + 1}, {series.name}, imaging alone: {alone_ms:.1f} ms")
                turn = number % len(contestants)
                for subject in (*contestants[turn:], *contestants[:turn]):
                    one = await measure(subject, load, folder / "subject.log")
                    measured.setdefault(series.name, {}).setdefault(subject.name, []).append(one)
                    console.print(
                        f"round {number + 1}, {series.name}, {subject.name}: {one.cpu_ms:.1f} ms, "
                        f"of which the first process {one.parent_cpu_ms:.1f}; AWS {one.aws_cpu_ms:.1f}; "
                        f"{one.per_s:.1f} a second"
                    )
    return Figures(pictures, rounds, measured, alone)


_HEADINGS: Final = (
    "CPU ms",
    "first process",
    "ratio to ours",
    "pictures/s",
    "done p50 ms",
    "done p99 ms",
    "peak MB",
    "first process MB",
    "its growth MB",
    "AWS ms",
)


def rows(figures: Figures) -> list[tuple[str, ...]]:
    """Return series, subject, and what `_HEADINGS` says, medians over the rounds."""
    lines = []
    for series, by_subject in figures.measured.items():
        for subject, measurements in by_subject.items():
            done_ms = [1000 * seconds for one in measurements for seconds in one.done_s]
            lines.append(
                (
                    series,
                    subject,
                    f"{median(one.cpu_ms for one in measurements):.1f}",
                    f"{median(one.parent_cpu_ms for one in measurements):.1f}",
                    "1" if subject == OURS else str(figures.ratio(series, subject)),
                    f"{median(one.per_s for one in measurements):.1f}",
                    f"{percentile(done_ms, 0.5):.0f}",
                    f"{percentile(done_ms, 0.99):.0f}",
                    f"{max(one.memory_mb for one in measurements):.0f}",
                    f"{max(one.parent_mb for one in measurements):.0f}",
                    f"{max(one.parent_growth_mb for one in measurements):.1f}",
                    f"{median(one.aws_cpu_ms for one in measurements):.1f}",
                )
            )
        lines.append((series, "imaging alone", f"{median(figures.imaging_ms[series]):.1f}", *([""] * 9)))
    return lines


def table(figures: Figures) -> Table:
    """Lay everything out for the terminal."""
    laid = Table("pictures", "who", title="One picture, from notification to record")
    for heading in _HEADINGS:
        laid.add_column(heading, justify="right")
    for row in rows(figures):
        laid.add_row(*row)
    return laid


def section(figures: Figures) -> str:
    """Return the section of `docs/performance.md`, and draw its plot."""
    paces = " and ".join(f"{one.per_s:g} a second of {one.name}" for one in SERIES)
    plot = report.save(
        _plot(figures), "service", says="CPU of one picture: the service, its rivals, and the imaging alone"
    )
    return f"""## The whole service beside its rivals
What one picture costs from its notification to its record: CPU of all processes, as the operating system
counts it. Everybody has {CONCURRENCY} pictures in hand at once, gets the same pictures, and leaves the same
record, which is looked at after each run: eight entries of history, three steps with their times, the result,
and the owner's statistics counted once. Medians of {figures.rounds} rounds of {figures.pictures} pictures (a
third as many of 12 MP); ratios are taken round by round, with their quartiles. The AWS is an emulator on the
same machine, and the last column is its own cost, so that pictures a second compare but do not transfer. Time
to completion is taken at an even pace of {paces}.

{plot}
{report.table(("pictures", "who", *_HEADINGS), rows(figures))}
{report.table(("", "measured", "meant to be"), _targets(figures))}
Who they are:
- **Node**: sqs-consumer (two consumers of four messages each), AWS SDK 3 with kept connections, sharp, which
  resizes to raw pixels and marks those; deletes in batches, heartbeat by the framework.
- **Celery**: prefork, SQS as its broker, boto3, Pillow's `thumbnail`. It reads no messages but its own, so
  its tasks are published at the upload; a bridge from the notifications would cost three calls more.
- **Threads**: boto3 and Pillow's `thumbnail` on a pool of threads; prefetching, deletes in batches.

All claim with one conditional write and complete in one transaction with the owner's statistics. The rivals
write a step in between only when a second has passed since their last write, which is almost never; ours
writes each step after 100 ms at the latest. Only ours describes the picture's colours, keeps the statistics'
last upload from running backwards, renews its leases, and decodes in confined processes.

{report.machine("aiobotocore", "aiohttp", "Pillow", "cykooz-resizer", "ministack")};
rivals: {peers.versions()}.

`python -m bench.service --pictures {figures.pictures} --rounds {figures.rounds}`
"""


def _targets(figures: Figures) -> list[tuple[object, ...]]:
    hd = figures.measured[FULL_HD.name][OURS]
    return [
        *(
            (f"CPU, {rival} / ours, {series}", figures.ratio(series, rival), f"at least {least}")
            for rival, by_series in _TARGETS.items()
            for series, least in by_series.items()
        ),
        *(
            (f"CPU, ours / imaging alone, {series}", figures.overhead(series), f"at most {most}")
            for series, most in _MOST_OVERHEAD.items()
        ),
        (
            f"CPU ms of the parent, {FULL_HD.name}",
            report.Spread.of(one.parent_cpu_ms for one in hd),
            "at most 6",
        ),
        (
            "memory of the parent, MB",
            f"{max(one.parent_mb for by in figures.measured.values() for one in by[OURS]):.0f}",
            "at most 150",
        ),
    ]


def _plot(figures: Figures) -> "report.Figure":
    drawn = report.figure(height=3)
    axes = drawn.subplots(1, len(figures.measured), squeeze=False)[0]
    for axis, (series, by_subject) in zip(axes, figures.measured.items(), strict=True):
        for name, ones in by_subject.items():
            first = median(one.parent_cpu_ms for one in ones)
            rest = median(one.cpu_ms - one.parent_cpu_ms for one in ones)
            axis.barh(name, rest, color="tab:blue")
            axis.barh(name, first, left=rest, color="tab:orange")
        axis.axvline(median(figures.imaging_ms[series]), color="black", linestyle=":")
        axis.invert_yaxis()
        axis.set_title(f"{series}: CPU ms of one picture")
        axis.set_xlabel("orange: the first process; dotted: our imaging alone")
    return drawn


if __name__ == "__main__":
    main()
