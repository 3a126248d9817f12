"""Delay, cost and scaling activity of simulated fleets, as a table."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from rich.table import Table

from bench.scaling.cases import Case
from bench.scaling.fleet import Replica, Run
from bench.scaling.traffic import Series, Traffic

VCPU_USD: Final = 0.04048
GB_USD: Final = 0.004445
"""Prices per hour: AWS Fargate, Linux on x86, us-east-1, on demand, March 2026."""
MEMORY_GB: Final = 4
"""Memory of a replica."""


def cleared_s(run: Run, traffic: Traffic) -> int:
    """Return the second after the burst in which the queue holds at most two seconds of uploads."""
    end = traffic.burst_end_s
    is_cleared = run.backlog[end:] <= 2 * run.arrived[end:]
    return end + int(np.argmax(is_cleared)) if is_cleared.any() else len(run.backlog)


def percentiles(delays: Series, uploads: Series, *shares: float) -> list[float]:
    """
    Return the delays that shares of the uploads do not exceed.

    Args:
        delays: Delay of the uploads of each second.
        uploads: Number of uploads in each second.
        shares: Shares from 0 to 1.
    """
    order = np.argsort(delays)
    cumulative = np.cumsum(uploads[order])
    return [float(delays[order][np.searchsorted(cumulative, share * cumulative[-1])]) for share in shares]


def cost_usd(run: Run, replica: Replica) -> float:
    """Return the cost of all replicas over the run."""
    return run.replica_hours * (replica.cpus * VCPU_USD + MEMORY_GB * GB_USD)


def table(runs: Mapping[str, tuple[Case, Run]], traffic: Traffic) -> Table:
    """Return a table with a row for each fleet."""
    uploads = sum(run.arrived.sum() for _, run in runs.values()) / len(runs)
    result = Table(title=f"{uploads:,.0f} uploads")
    result.add_column("fleet")
    for heading in (
        "images/s\nper replica",
        "delay s outside\nthe burst: p50",
        "p99",
        "max",
        "delay s\noverall: p99",
        "burst processed\nafter min",
        "size\nchanges",
        "replica-\nhours",
        "USD",
    ):
        result.add_column(heading, justify="right")
    for name, (case, run) in runs.items():
        delays, cleared = run.delays(), cleared_s(run, traffic)
        outside = np.ones(len(delays), dtype=bool)
        outside[traffic.burst_start_s : cleared] = False
        measures = [
            case.replica.per_s,
            *percentiles(delays[outside], run.arrived[outside], 0.5, 0.99, 1),
            *percentiles(delays, run.arrived, 0.99),
            (cleared - traffic.burst_start_s) / 60,
        ]
        totals = [np.count_nonzero(np.diff(run.replicas)), run.replica_hours, cost_usd(run, case.replica)]
        result.add_row(name, *(f"{value:,.1f}" for value in measures), *(f"{value:,.0f}" for value in totals))
    return result
