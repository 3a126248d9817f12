"""
The worker's own process alone: its CPU for one picture, before and after a change.

`python -m bench.parent --against before=FOLDER`: the real `image-worker run` of this working copy and of
others, each beside an AWS that keeps nothing and with decoder children that repeat what they made of the
first picture. They take turns of a fraction of a second, so that what the machine does meanwhile falls on all
of them alike: differences of 5 % show, where `bench.service` needs ten.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.common import report
from bench.common.aws import provisioned
from bench.common.paths import ROOT
from bench.common.peers import inherited, last_lines, named_tree, running, service
from bench.common.series import SERIES, Series, make
from bench.parent.canned_aws import CannedAws
from bench.service.measurement import StandstillError
from tests.support.emulators import variables_of
from worker.local.embedded_aws import embedded_environment

OURS: Final = "image-worker"
_REPLAY: Final = Path(__file__).parent / "replay"
_TURN: Final = 48
"""Pictures in one turn."""
_WARM_UP: Final = 96


async def measure(trees: Mapping[str, Path], series: Series, *, rounds: int) -> dict[str, list[float]]:
    """
    Return the CPU milliseconds that each tree's own process takes for one picture, turn by turn.

    Raises:
        StandstillError: One of them has ended.
    """
    first, *_, last = sorted(os.sched_getaffinity(0)) * 2
    spent: dict[str, list[float]] = {name: [] for name in trees}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="image-worker-bench-")))
        picture = make(series, folder, seed=1)[0].read_bytes()
        settings = await stack.enter_async_context(provisioned(http_port=0))
        os.sched_setaffinity(0, {first})  # ours apart from theirs, where there are two CPUs
        contestants = {}
        for name, tree in trees.items():
            aws = await stack.enter_async_context(
                CannedAws.serving(picture, bucket=settings.bucket, behind=str(settings.endpoint_url))
            )
            environment = {
                **inherited(),
                **embedded_environment(aws.endpoint_url),
                **variables_of(settings),
                "BENCH_REPLAY": "1",
                "PYTHONPATH": f"{_REPLAY}{os.pathsep}{tree}",
                "WORKER_HTTP_PORT": "0",
                "WORKER_LOG_FORMAT": "json",
            }
            log = folder / f"{name}.log"
            process = await stack.enter_async_context(running(service(name, tree), environment, log))
            os.sched_setaffinity(process.pid, {last})
            contestants[name] = _Contestant(aws, process, log)
            await contestants[name].deliver(_WARM_UP)
        for number in range(rounds):
            turn = list(contestants.items())
            for name, one in turn if number % 2 else reversed(turn):
                before_ms = _cpu_ms(one.process.pid)
                await one.deliver(_TURN)
                spent[name].append((_cpu_ms(one.process.pid) - before_ms) / _TURN)
    return spent


@dataclass(frozen=True, slots=True)
class _Contestant:
    """A worker and its AWS."""

    aws: CannedAws
    process: asyncio.subprocess.Process
    log: Path

    async def deliver(self, pictures: int) -> None:
        delivered = asyncio.create_task(self.aws.deliver(pictures), name="deliver")
        ended = asyncio.create_task(self.process.wait(), name="wait for the worker's end")
        done, waiting = await asyncio.wait([delivered, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if ended in done:
            message = f"it ended with {self.process.returncode}:\n{last_lines(self.log)}"
            raise StandstillError(message)


def _cpu_ms(pid: int) -> float:
    """Read what a process has used, more finely than in ticks of the clock."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6


def rows(spent: Mapping[str, Sequence[float]]) -> list[tuple[object, ...]]:
    """Return each tree's milliseconds, and their ratio to ours turn by turn."""
    return [
        (name, report.Spread.of(each), report.Spread.of_ratios(each, spent[OURS]))
        for name, each in spent.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU of the worker's own process, before and after.")
    parser.add_argument("--series", choices=[one.name for one in SERIES], default=SERIES[0].name)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--against", nargs="*", default=[], metavar="NAME=FOLDER", type=named_tree)
    arguments = parser.parse_args()
    trees = {OURS: ROOT, **dict(arguments.against)}
    series = next(one for one in SERIES if one.name == arguments.series)
    spent = asyncio.run(measure(trees, series, rounds=arguments.rounds))
    headings = (
        f"{series.name}, {arguments.rounds} turns of {_TURN}",
        "CPU ms of the parent",
        "ratio to ours",
    )
    print(report.table(headings, rows(spent)))  # noqa: T201 - a command


if __name__ == "__main__":
    main()
