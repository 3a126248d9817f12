"""
Compare the whole service with peers on other stacks, from S3 notification to completed record.

Each peer processes the same images with the same number in flight, against its own embedded AWS. The record
that it leaves is checked. Peers take turns in each round and ratios are calculated per round, because they
vary less than absolute times.

`python -m bench.service [--tls]` installs the peers in `bench/.peers` on the first run and prints a table.
With `--tls`, all AWS calls are made by HTTPS, the main peers have further turns over plain HTTP, and the
sections of `docs/performance.md` are saved.
"""

import argparse
import asyncio
import os
import ssl
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.common import report
from bench.common.peers import IMAGE_WORKER, ServicePeer, image_worker, named_tree
from bench.common.series import FULL_HD, SERIES, Series, write_images
from bench.imaging import peer_setup as imaging_setup
from bench.service import imaging_alone, peer_setup
from bench.service.measurement import Load, Measurement, measure
from bench.service.workload import ALBUM

CONCURRENCY: Final = 8
_WARM_UP: Final = 40
_REUSE: Final = ("batch", "never")
"""Modes of `WORKER_DECODER_REUSE` that are measured besides the default."""

_TABLE_WIDTH: Final = 185
_HTTP: Final = ", HTTP"
"""Suffix of the name of a peer that uses plain HTTP, where the others use TLS."""
_MIN_RATIOS: Final[Mapping[str, Mapping[str, float]]] = {
    "Node": {"1920x1080": 1.6, "12 MP": 1.15},
    "Celery": {"1920x1080": 1.9, "12 MP": 1.3},
}
"""Targets for CPU time of a peer / image-worker: reported next to the measurement, never asserted."""
_MAX_OVERHEADS: Final[Mapping[str, float]] = {"1920x1080": 1.5, "12 MP": 1.25}
"""Targets for CPU time of image-worker / imaging alone."""
_PLOT_TITLE: Final = "CPU time per image: image-worker, its peers, and imaging alone"


@dataclass(frozen=True, slots=True)
class Results:
    """
    All measurements of one run.

    Attributes:
        images: Measured images of the 1920x1080 backlog.
        rounds: Number of rounds.
        measured: Measurements of each round, by name of the series and name of the peer.
        imaging_ms: CPU time of imaging alone in each round, by name of the series.
        floor_ms: CPU time of libjpeg-turbo and a resizer alone in each round, by name of the series.
    """

    images: int
    rounds: int
    measured: Mapping[str, Mapping[str, Sequence[Measurement]]]
    imaging_ms: Mapping[str, Sequence[float]]
    floor_ms: Mapping[str, Sequence[float]]

    def ratio(self, series: str, peer: str, to: str = IMAGE_WORKER) -> report.Spread:
        """Return the ratio of a peer's CPU time to that of another."""
        return report.Spread.of_ratios(self._cpu_ms(series, peer), self._cpu_ms(series, to))

    def overhead(self, series: str) -> report.Spread:
        """Return the ratio of image-worker's CPU time to that of imaging alone."""
        return report.Spread.of_ratios(self._cpu_ms(series, IMAGE_WORKER), self.imaging_ms[series])

    def above_floor(self, series: str) -> report.Spread:
        """Return the ratio of image-worker's CPU time to the floor."""
        return report.Spread.of_ratios(self._cpu_ms(series, IMAGE_WORKER), self.floor_ms[series])

    def _cpu_ms(self, series: str, peer: str) -> list[float]:
        return [measurement.cpu_ms for measurement in self.measured[series][peer]]


def main() -> None:
    """Measure, print the table and save the section."""
    parser = argparse.ArgumentParser(description="Compare the whole service with peers on other stacks.")
    parser.add_argument("--tls", action="store_true", help="make the AWS calls by HTTPS; save the sections")
    parser.add_argument("--images", type=int, default=400, help="measured images of a 1920x1080 backlog")
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of rounds in which each peer has a turn"
    )
    parser.add_argument("--paced-s", type=float, default=8.0, help="duration of the uploads at constant rate")
    parser.add_argument("--seed", type=int, default=1, help="seed of the test images")
    parser.add_argument(
        "--series", choices=[series.name for series in SERIES], help="measure only this series"
    )
    parser.add_argument(
        "--only", nargs="*", metavar="NAME", help="compare only with these peers; without a name with none"
    )
    parser.add_argument(
        "--against",
        nargs="*",
        default=[],
        metavar="NAME=FOLDER",
        type=named_tree,
        help="compare with other working copies of this project, for example from before a change",
    )
    arguments = parser.parse_args()
    peer_setup.install()
    imaging_setup.install()
    peers = _peers(uses_tls=arguments.tls)
    if arguments.only is not None:
        peers = [peer for peer in peers if peer.name in {IMAGE_WORKER, *arguments.only}]
    peers += [replace(image_worker(name, tree), uses_tls=arguments.tls) for name, tree in arguments.against]
    results = asyncio.run(
        run(
            peers,
            [series for series in SERIES if arguments.series in {None, series.name}],
            images=arguments.images,
            rounds=arguments.rounds,
            paced_s=arguments.paced_s,
            seed=arguments.seed,
            console=Console(stderr=True),
        )
    )
    Console(width=max(_TABLE_WIDTH, Console().width)).print(table(results))
    if arguments.tls and arguments.series is None and arguments.only is None and not arguments.against:
        report.save_section("service", section(results))


def _peers(*, uses_tls: bool) -> list[ServicePeer]:
    """Return image-worker and its peers; with TLS, also the main ones over plain HTTP."""
    own, node, celery = image_worker(), peer_setup.node(), peer_setup.celery(CONCURRENCY)
    stricter = [
        image_worker(f"{IMAGE_WORKER}, {reuse}", environment={"WORKER_DECODER_REUSE": reuse})
        for reuse in _REUSE
    ]
    peers = [
        replace(peer, uses_tls=uses_tls) for peer in (own, *stricter, node, celery, peer_setup.threads())
    ]
    plain = [replace(peer, name=peer.name + _HTTP) for peer in (own, node, celery)]
    return [*peers, *plain] if uses_tls else peers


async def run(
    peers: Sequence[ServicePeer],
    selected: Iterable[Series],
    *,
    images: int,
    rounds: int,
    paced_s: float,
    seed: int,
    console: Console,
) -> Results:
    """Measure every peer in each round, in rotating order; a third as many images of the larger series."""
    measured: dict[str, dict[str, list[Measurement]]] = {}
    imaging_ms: dict[str, list[float]] = {}
    floor_ms: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="image-worker-bench-") as name:
        folder = Path(name)
        files_by_series = {series: write_images(series, folder, seed=seed) for series in selected}
        for number in range(rounds):
            for series, files in files_by_series.items():
                count = images if series is FULL_HD else max(1, images // 3)
                load = Load(
                    contents=[file.read_bytes() for file in files],
                    warm_up=_WARM_UP,
                    images=count,
                    paced=max(1, round(paced_s * series.per_s)),
                    per_s=series.per_s,
                    concurrency=CONCURRENCY,
                    processes=len(os.sched_getaffinity(0)),
                )
                alone_ms = imaging_alone.measure_ms(files, max(1, count // 2))
                imaging_ms.setdefault(series.name, []).append(alone_ms)
                floor_ms.setdefault(series.name, []).append(least_ms := imaging_alone.measure_floor_ms(files))
                console.print(
                    f"round {number + 1}, {series.name}, imaging alone: {alone_ms:.1f} ms, "
                    f"floor: {least_ms:.1f} ms"
                )
                first = number % len(peers)
                for peer in (*peers[first:], *peers[:first]):
                    measurement = await measure(peer, load, folder / "peer.log")
                    measured.setdefault(series.name, {}).setdefault(peer.name, []).append(measurement)
                    console.print(
                        f"round {number + 1}, {series.name}, {peer.name}: {measurement.cpu_ms:.1f} ms, "
                        f"main process {measurement.main_cpu_ms:.1f} ms; "
                        f"AWS {measurement.aws_cpu_ms:.1f} ms; {measurement.per_s:.1f} images/s"
                    )
    return Results(images, rounds, measured, imaging_ms, floor_ms)


_HEADINGS: Final = (
    "CPU ms",
    "main process",
    "ratio",
    "images/s",
    "latency p50 ms",
    "latency p99 ms",
    "peak MiB",
    "main process MiB",
    "growth MiB",
    "AWS ms",
)


def rows(results: Results) -> list[tuple[str, ...]]:
    """Return the columns series, peer and `_HEADINGS`: medians over the rounds, maxima for memory."""
    lines: list[tuple[str, ...]] = []
    for series, by_peer in results.measured.items():
        for peer, measurements in by_peer.items():
            reference = IMAGE_WORKER + _HTTP if peer.endswith(_HTTP) else IMAGE_WORKER
            latencies_ms = [1000 * latency_s for each in measurements for latency_s in each.latencies_s]
            lines.append(
                (
                    series,
                    peer,
                    f"{median(each.cpu_ms for each in measurements):.1f}",
                    f"{median(each.main_cpu_ms for each in measurements):.1f}",
                    "1" if peer == reference else str(results.ratio(series, peer, reference)),
                    f"{median(each.per_s for each in measurements):.1f}",
                    f"{report.percentile(latencies_ms, 0.5):.0f}",
                    f"{report.percentile(latencies_ms, 0.99):.0f}",
                    f"{max(each.memory_mib for each in measurements):.0f}",
                    f"{max(each.main_mib for each in measurements):.0f}",
                    f"{max(each.main_growth_mib for each in measurements):.1f}",
                    f"{median(each.aws_cpu_ms for each in measurements):.1f}",
                )
            )
        for name, cpu_ms in (("imaging alone", results.imaging_ms), ("floor", results.floor_ms)):
            lines.append((series, name, f"{median(cpu_ms[series]):.1f}", *([""] * 9)))
    return lines


def table(results: Results) -> Table:
    """Return the table for the terminal."""
    terminal_table = Table("images", "peer", title="Resources per image, from notification to record")
    for heading in _HEADINGS:
        terminal_table.add_column(heading, justify="right")
    for row in rows(results):
        terminal_table.add_row(*row)
    return terminal_table


def section(results: Results) -> str:
    """Return the section of `docs/performance.md` for a run over TLS and HTTP, and save its plot."""
    rates = " and ".join(f"{series.per_s:g} per second of {series.name}" for series in SERIES)
    plot = report.save_figure(_plot(results), "service", alt=_PLOT_TITLE)
    over_tls = [row for row in rows(results) if not row[1].endswith(_HTTP)]
    over_http = [
        (row[0], row[1].removesuffix(_HTTP), *row[2:]) for row in rows(results) if row not in over_tls
    ]
    return f"""## The whole service
Resources per image from the S3 notification to the completed record, compared with the same service on other
stacks. **All AWS calls of this section use TLS**, as in production. CPU time is that of all processes of a
peer. Every peer has {CONCURRENCY} images in flight, gets the same images, and has to leave the same record,
which is checked after each run: eight history entries, three steps with their times, the result, and the
owner's statistics counted once. Medians of {results.rounds} rounds of {results.images} images (a third as
many of 12 MP); "ratio" is CPU time of the peer / image-worker, above 1 where image-worker needs less. Latency
is from upload to completion at {rates}.
Users upload albums of {ALBUM} images, one user after the other. The rows "batch" and "never" are image-worker
with other values of [`WORKER_DECODER_REUSE`](#reuse-of-decoders); where each image is of another user, the
default costs what "never" does.

The AWS is an emulator on the same machine, behind a proxy that terminates TLS with a certificate of an
authority made for the run, which every peer verifies; connections are kept alive. Emulator and proxy are
processes of their own, whose CPU time is in the last column and in no other. Images per second therefore
compare the peers but do not transfer to other machines.

"Imaging alone" is image-worker's pipeline in one process, without a service around it. The
[floor](#imaging) is the time of libjpeg-turbo and SIMD scaling alone for the same files, without watermark.

{plot}
{report.markdown_table(("images", "peer", *_HEADINGS), over_tls)}
{report.markdown_table(("", "measured", "target"), _targets(results))}
Where image-worker's CPU time goes, in ms, and with it the reason for each target that is missed:

{report.markdown_table(_part_headings(), _parts(results))}
The worker process makes five AWS calls for each image, and writes the record. Isolation is the rest: moving
images to and from decoders, and a fork for each user, which the peers do without. It is a difference of two
measurements; for large images it is within their noise, and may be negative. The last two columns compare the
peers with image-worker without that fork (`batch`). Of the memory of the worker process, 8 uploads in flight
are up to 24 MiB at 12 MP.

The peers:
- **Node**: sqs-consumer (two consumers of four messages each), AWS SDK v3 with keep-alive, and sharp, which
  resizes to raw pixels and watermarks those; deletes in batches, heartbeat by sqs-consumer.
- **Celery**: prefork pool, SQS as broker, boto3, Pillow's `thumbnail`. It receives only messages in its own
  format, so its tasks are published at the upload; a bridge from the notifications would cost three more
  requests per image.
- **Threads**: boto3 and Pillow's `thumbnail` on a thread pool, with prefetching; deletes in batches.

Every peer claims an image with one conditional write and completes it in one transaction with the owner's
statistics. The others write progress in between at most once per second, which is almost never; image-worker
writes each step after at most 100 ms. Only image-worker analyses colours, prevents the date of the owner's
last upload from going backwards, renews leases, and decodes in confined processes.

## The whole service over plain HTTP
The same measurement without TLS, in the same rounds; "ratio" refers to image-worker over HTTP.

{report.markdown_table(("images", "peer", *_HEADINGS), over_http)}
{report.markdown_table(("images", "peer", "CPU time, TLS / HTTP"), _tls_costs(results))}
{report.describe_machine("aiobotocore", "aiohttp", "Pillow", "cykooz-resizer", "ministack")};
{ssl.OPENSSL_VERSION} in Python; peers: {peer_setup.versions()}.

`python -m bench.service --tls --images {results.images} --rounds {results.rounds}`
"""


def _tls_costs(results: Results) -> list[tuple[object, ...]]:
    """Return the CPU time over TLS divided by that over HTTP, of each peer that has both."""
    return [
        (series, peer, results.ratio(series, peer, peer + _HTTP))
        for series, by_peer in results.measured.items()
        for peer in by_peer
        if peer + _HTTP in by_peer
    ]


def _part_headings() -> tuple[str, ...]:
    compared = (f"{peer} / {_REUSE[0]}" for peer in _MIN_RATIOS)
    return ("images", "imaging alone", "worker process", "isolation", *compared)


def _parts(results: Results) -> list[tuple[object, ...]]:
    """Return the parts of image-worker's CPU time in milliseconds, and its peers' relative to `batch`."""
    batch = f"{IMAGE_WORKER}, {_REUSE[0]}"
    parts: list[tuple[object, ...]] = []
    for series, by_peer in results.measured.items():
        own = by_peer[IMAGE_WORKER]
        imaging_ms = median(results.imaging_ms[series])
        main_ms = median(each.main_cpu_ms for each in own)
        others_ms = median(each.cpu_ms - each.main_cpu_ms for each in own)
        parts.append(
            (
                series,
                f"{imaging_ms:.1f}",
                f"{main_ms:.1f}",
                f"{others_ms - imaging_ms:.1f}",
                *(results.ratio(series, peer, batch) for peer in _MIN_RATIOS),
            )
        )
    return parts


def _targets(results: Results) -> list[tuple[object, ...]]:
    own = {series: by_peer[IMAGE_WORKER] for series, by_peer in results.measured.items()}
    return [
        *(
            (f"CPU time, {peer} / image-worker, {series}", results.ratio(series, peer), f"at least {target}")
            for peer, by_series in _MIN_RATIOS.items()
            for series, target in by_series.items()
        ),
        *(
            (
                f"CPU time, image-worker / imaging alone, {series}",
                results.overhead(series),
                f"at most {target}",
            )
            for series, target in _MAX_OVERHEADS.items()
        ),
        *(
            (f"CPU time, image-worker / floor, {series}", results.above_floor(series), "")
            for series in _MAX_OVERHEADS
        ),
        (
            "memory of the worker process, MiB",
            f"{max(each.main_mib for measurements in own.values() for each in measurements):.0f}",
            "at most 120",
        ),
    ]


def _plot(results: Results) -> Figure:
    figure = report.new_figure(height=3)
    all_axes = figure.subplots(1, len(results.measured), squeeze=False)[0]
    for axes, (series, by_peer) in zip(all_axes, results.measured.items(), strict=True):
        for name, measurements in by_peer.items():
            if name.endswith(_HTTP):
                continue
            main_ms = median(each.main_cpu_ms for each in measurements)
            others_ms = median(each.cpu_ms - each.main_cpu_ms for each in measurements)
            axes.barh(name, others_ms, color="tab:blue")
            axes.barh(name, main_ms, left=others_ms, color="tab:orange")
        axes.axvline(median(results.imaging_ms[series]), color="black", linestyle=":")
        axes.axvline(median(results.floor_ms[series]), color="black", linestyle="-")
        axes.invert_yaxis()
        axes.set_title(f"{series}: CPU ms per image")
    figure.supxlabel(
        "orange: main process; blue: other processes; dotted: image-worker's imaging alone; line: floor",
        fontsize="medium",
    )
    return figure


if __name__ == "__main__":
    main()
