"""Delay, cost and scaling activity of simulated fleets as a table."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from rich.table import Table

from bench.scaling.cases import Case
from bench.scaling.fleet import Replica, Run
from bench.scaling.traffic import Series, Traffic

VCPU_USD: Final = 0.04048
GB_USD: Final = 0.004445
MEMORY_GB: Final = 4
"""Prices of an hour: AWS Fargate, Linux on x86, us-east-1, on demand, March 2026; and what a replica has."""


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
