"""
Three days of uploads through the autoscaling policies that are shipped: `python -m bench.scaling`.

Reads the policies from `config/`, prints what they do for delay and cost, and draws the pictures of
`docs/scaling.md`. The same seed gives the same figures.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from bench.autoscalers import Autoscaler, Fixed
from bench.fleet import Replica, Run, simulate
from bench.keda import Keda
from bench.target_tracking import TargetTracking
from bench.traffic import HOUR_S, Series, Traffic

OUT: Final = Path(__file__).parent.parent / "docs" / "scaling"

MEASURED: Final = Replica()
PESSIMISTIC: Final = Replica(child_s=0.050, parent_s=0.015, waiting_s=0.400)
"""Photographs of 12 megapixels in several sizes, and an AWS three times as slow."""

VCPU_USD: Final = 0.04048
GB_USD: Final = 0.004445
MEMORY_GB: Final = 4
"""Prices of an hour: AWS Fargate, Linux on x86, us-east-1, on demand, March 2026; and what a replica has."""

BUSY_S: Final = 5.0
"""How long an ECS task is busy without a pause before it protects itself (`worker.aws.task_protection`)."""


@dataclass(frozen=True, slots=True)
class Case:
    """One fleet to put through the traffic."""

    autoscaler: Autoscaler
    replica: Replica = MEASURED
    busy_s: float | None = None


def cases() -> Mapping[str, Case]:
    """Return the policies as shipped, and what they are compared with."""
    keda, ecs = Keda.shipped(), TargetTracking.shipped()
    per_minute = 0.75 * 60 * PESSIMISTIC.per_s
    retuned = replace(keda, backlog_each=15 * PESSIMISTIC.per_s, sent_each=per_minute, most=60)
    backlog_alone = replace(ecs, counts_sent=False, target=15 * MEASURED.per_s)
    return {
        "Kubernetes, as shipped": Case(keda),
        "ECS, as shipped": Case(ecs, busy_s=BUSY_S),
        "7 replicas, always": Case(Fixed(7)),
        "20 replicas, always": Case(Fixed(20)),
        "Kubernetes, backlog alone": Case(replace(keda, sent_each=None)),
        "Kubernetes, from 0": Case(replace(keda, least=0)),
        "Kubernetes, up to 40": Case(replace(keda, most=40)),
        "Kubernetes, 4 minutes to start": Case(keda, replace(MEASURED, starts_in_s=240)),
        "ECS, any task may be stopped": Case(ecs),
        "ECS, backlog alone": Case(backlog_alone, busy_s=BUSY_S),
        "ECS, 4 minutes to start": Case(ecs, replace(MEASURED, starts_in_s=240), busy_s=BUSY_S),
        "slow replicas: Kubernetes, as shipped": Case(keda, PESSIMISTIC),
        "slow replicas: Kubernetes, numbers for them": Case(retuned, PESSIMISTIC),
        "slow replicas: ECS, as shipped": Case(ecs, PESSIMISTIC, busy_s=BUSY_S),
        "slow replicas: ECS, numbers for them": Case(
            replace(ecs, target=per_minute, most=60), PESSIMISTIC, busy_s=BUSY_S
        ),
    }


def cleared_s(run: Run, traffic: Traffic) -> int:
    """Return the second in which the queue is empty after the burst, but for what has just come."""
    ended = traffic.burst_at_s + traffic.burst_lasts_s
    is_empty = run.waiting[ended:] <= 2 * run.arrived[ended:]
    return ended + int(np.argmax(is_empty)) if is_empty.any() else len(run.waiting)


def percentiles(delays: Series, weights: Series, *shares: float) -> list[float]:
    """Return the delays that these shares of the uploads do not exceed."""
    order = np.argsort(delays)
    upto = np.cumsum(weights[order])
    return [float(delays[order][np.searchsorted(upto, share * upto[-1])]) for share in shares]


def cost_usd(run: Run, replica: Replica) -> float:
    """Return what the replicas cost in the days of the run."""
    return run.replica_hours * (replica.cpus * VCPU_USD + MEMORY_GB * GB_USD)


def report(runs: Mapping[str, tuple[Case, Run]], traffic: Traffic) -> Table:
    """Lay the figures out in a table."""
    table = Table(title=f"{sum(run.arrived.sum() for _, run in runs.values()) / len(runs):,.0f} uploads")
    table.add_column("fleet")
    for heading in (
        "a replica,\npictures/s",
        "delay s outside\nthe burst: p50",
        "p99",
        "max",
        "delay s\nof all: p99",
        "burst done\nafter min",
        "replica\nchanges",
        "replica-\nhours",
        "USD",
    ):
        table.add_column(heading, justify="right")
    for name, (case, run) in runs.items():
        delays, cleared = run.delays(), cleared_s(run, traffic)
        outside = np.ones(len(delays), dtype=bool)
        outside[traffic.burst_at_s : cleared] = False
        figures = [
            case.replica.per_s,
            *percentiles(delays[outside], run.arrived[outside], 0.5, 0.99, 1),
            *percentiles(delays, run.arrived, 0.99),
            (cleared - traffic.burst_at_s) / 60,
        ]
        counts = [np.count_nonzero(np.diff(run.replicas)), run.replica_hours, cost_usd(run, case.replica)]
        table.add_row(name, *(f"{one:,.1f}" for one in figures), *(f"{one:,.0f}" for one in counts))
    return table


def draw(name: str, run: Run, replica: Replica, file: Path) -> None:
    """Draw three days: what comes and what could be done, replicas, backlog, delay."""
    hours = np.arange(len(run.arrived) // 60) / 60
    figure, (rates, replicas, backlog, delay) = plt.subplots(4, figsize=(10, 9), sharex=True)
    rates.plot(hours, _minutes(run.replicas) * replica.per_s, color="tab:orange", label="could be done")
    rates.plot(hours, _minutes(run.arrived), color="tab:blue", linewidth=0.8, label="uploads")
    rates.set_ylim(0, 2.2 * np.percentile(run.arrived, 99))
    _label(rates, "a second", legend=True)
    replicas.plot(hours, _minutes(run.replicas), color="tab:orange")
    _label(replicas, "replicas")
    backlog.plot(hours, _minutes(run.waiting), color="tab:red")
    backlog.set_yscale("symlog", linthresh=100)
    _label(backlog, "waiting")
    delay.plot(hours, run.delays().reshape(-1, 60).max(axis=1), color="tab:purple")
    delay.set_yscale("log")
    _label(delay, "longest delay, s")
    delay.set_xlabel("hours")
    delay.set_xticks(range(0, len(run.arrived) // HOUR_S + 1, 6))
    _save(figure, name, file)


def draw_burst(runs: Mapping[str, Run], traffic: Traffic, file: Path) -> None:
    """Draw the hour of the burst for several fleets."""
    window = slice(traffic.burst_at_s - 300, traffic.burst_at_s + 3300)
    minutes = np.arange(-300, 3300) / 60
    figure, (replicas, backlog) = plt.subplots(2, figsize=(10, 5), sharex=True)
    for name, run in runs.items():
        replicas.plot(minutes, run.replicas[window], label=name)
        backlog.plot(minutes, run.waiting[window] / 1000)
    _label(replicas, "replicas", legend=True)
    _label(backlog, "waiting, thousands")
    backlog.set_xlabel("minutes since the burst began")
    _save(figure, "A million uploads in ten minutes", file)


def _minutes(series: Series) -> Series:
    averages: Series = series.reshape(-1, 60).mean(axis=1)
    return averages


def _label(axes: Axes, text: str, *, legend: bool = False) -> None:
    axes.set_ylabel(text)
    axes.grid(alpha=0.3)
    axes.margins(x=0.01)
    if legend:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)


def _save(figure: Figure, title: str, file: Path) -> None:
    figure.suptitle(title, x=0.07, horizontalalignment="left")
    figure.tight_layout()
    figure.savefig(file, dpi=90)
    plt.close(figure)


def main() -> None:
    """Run all, print the table and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT, help="where the pictures go")
    arguments = parser.parse_args()
    mpl.use("Agg")
    traffic = Traffic()
    arrived = traffic.arrivals(arguments.seed)
    runs = {
        name: (case, simulate(arrived, case.autoscaler, case.replica, busy_s=case.busy_s))
        for name, case in cases().items()
    }
    Console(width=160).print(report(runs, traffic))
    arguments.out.mkdir(parents=True, exist_ok=True)
    shown = {"kubernetes": "Kubernetes, as shipped", "ecs": "ECS, as shipped"}
    for file, name in {**shown, "ecs-backlog-alone": "ECS, backlog alone"}.items():
        case, run = runs[name]
        draw(name, run, case.replica, arguments.out / f"{file}.webp")
    both = {name: runs[name][1] for name in (*shown.values(), "20 replicas, always")}
    draw_burst(both, traffic, arguments.out / "burst.webp")


if __name__ == "__main__":
    main()
