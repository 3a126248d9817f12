"""
CPU time of the worker process alone, before and after a change.

`python -m bench.parent --against before=FOLDER` runs `image-worker run` from this working copy and from
others, each against an AWS with canned responses and with decoder processes that replay the results of their
first image. They take turns of a fraction of a second, so that other load on the machine affects all of them
equally. This shows differences of 5 %, where `bench.service` needs 10 %.
"""

import argparse
import asyncio
import os
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.common import report
from bench.common.aws import provisioned
from bench.common.paths import ROOT
from bench.common.peers import (
    IMAGE_WORKER,
    PeerFailedError,
    image_worker,
    inherited_environment,
    log_tail,
    named_tree,
    running,
)
from bench.common.series import SERIES, Series, write_images
from bench.common.tls import Certificate
from bench.parent.canned_aws import CannedAws
from tests.support.emulators import variables_of
from worker.local.embedded_aws import embedded_environment

_REPLAY: Final = Path(__file__).parent / "replay"
_TURN: Final = 48
"""Images in one turn."""
_WARM_UP: Final = 96


@dataclass(frozen=True, slots=True)
class _Worker:
    """A running worker and its AWS."""

    aws: CannedAws
    process: asyncio.subprocess.Process
    log: Path

    async def process_images(self, images: int) -> None:
        """
        Let the worker process images.

        Raises:
            PeerFailedError: The worker ended.
        """
        delivered = asyncio.create_task(self.aws.deliver(images), name="deliver")
        ended = asyncio.create_task(self.process.wait(), name="wait for worker")
        done, pending = await asyncio.wait([delivered, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if ended in done:
            message = f"the worker ended with exit status {self.process.returncode}:\n{log_tail(self.log)}"
            raise PeerFailedError(message)


async def measure(
    trees: Mapping[str, Path], series: Series, *, rounds: int, uses_tls: bool
) -> dict[str, list[float]]:
    """
    Return the CPU milliseconds per image of each tree's worker process, for each turn.

    Args:
        trees: Working copies of the project, by name.
        series: Series whose first image is processed.
        rounds: Number of turns of each tree.
        uses_tls: Whether the AWS calls are made by HTTPS.

    Raises:
        PeerFailedError: A worker ended.
    """
    first_cpu, *_, last_cpu = sorted(os.sched_getaffinity(0)) * 2
    cpu_ms: dict[str, list[float]] = {name: [] for name in trees}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="image-worker-bench-")))
        content = write_images(series, folder, seed=1)[0].read_bytes()
        settings = await stack.enter_async_context(provisioned(http_port=0))
        certificate = Certificate.issue(folder)
        tls = _tls_context(certificate) if uses_tls else None
        os.sched_setaffinity(0, {first_cpu})  # keeps this process off the workers' CPU if there are two
        workers = {}
        for name, tree in trees.items():
            aws = await stack.enter_async_context(
                CannedAws.serve(
                    content, bucket=settings.bucket, backend_url=str(settings.endpoint_url), tls=tls
                )
            )
            environment = {
                **inherited_environment(),
                **embedded_environment(aws.endpoint_url),
                **variables_of(settings),
                **(certificate.environment if uses_tls else {}),
                "BENCH_REPLAY": "1",
                "PYTHONPATH": f"{_REPLAY}{os.pathsep}{tree}",
                "WORKER_HTTP_PORT": "0",
                "WORKER_LOG_FORMAT": "json",
            }
            log = folder / f"{name}.log"
            process = await stack.enter_async_context(running(image_worker(name, tree), environment, log))
            os.sched_setaffinity(process.pid, {last_cpu})
            workers[name] = _Worker(aws, process, log)
            await workers[name].process_images(_WARM_UP)
        for number in range(rounds):
            order = list(workers.items())
            for name, worker in order if number % 2 else reversed(order):
                before_ms = _cpu_ms(worker.process.pid)
                await worker.process_images(_TURN)
                cpu_ms[name].append((_cpu_ms(worker.process.pid) - before_ms) / _TURN)
    return cpu_ms


def _tls_context(certificate: Certificate) -> ssl.SSLContext:
    """Return the TLS context of a server that uses the certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.server)
    return context


def _cpu_ms(pid: int) -> float:
    """Return the CPU time of a process without its descendants, more precisely than in clock ticks."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6


def rows(cpu_ms: Mapping[str, Sequence[float]]) -> list[tuple[object, ...]]:
    """Return name, CPU milliseconds, and ratio to this working copy for each tree."""
    return [
        (name, report.Spread.of(turns), report.Spread.of_ratios(turns, cpu_ms[IMAGE_WORKER]))
        for name, turns in cpu_ms.items()
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="CPU time of the worker process, before and after a change.")
    parser.add_argument(
        "--series",
        choices=[series.name for series in SERIES],
        default=SERIES[0].name,
        help="series of test images (default: %(default)s)",
    )
    parser.add_argument("--tls", action="store_true", help="make the AWS calls by HTTPS")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each worker (default: %(default)s)")
    parser.add_argument(
        "--against",
        nargs="*",
        default=[],
        metavar="NAME=FOLDER",
        type=named_tree,
        help="other working copies of this project, for example from before the change",
    )
    arguments = parser.parse_args()
    trees = {IMAGE_WORKER: ROOT, **dict(arguments.against)}
    series = next(series for series in SERIES if series.name == arguments.series)
    cpu_ms = asyncio.run(measure(trees, series, rounds=arguments.rounds, uses_tls=arguments.tls))
    headings = (
        f"{series.name}, {'TLS, ' if arguments.tls else ''}{arguments.rounds} turns of {_TURN} images",
        "CPU ms of the worker process",
        f"ratio to {IMAGE_WORKER}",
    )
    print(report.markdown_table(headings, rows(cpu_ms)))


if __name__ == "__main__":
    main()
