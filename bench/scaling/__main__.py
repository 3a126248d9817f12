"""
Simulate the shipped autoscaling policies under three days of traffic: `python -m bench.scaling`.

Reads the policies from `config/`, prints delay and cost of each fleet, and draws the plots of
`docs/scaling.md`. The same seed gives the same results.
"""

import argparse
from pathlib import Path
from typing import Final

import matplotlib as mpl
from rich.console import Console

from bench.common.paths import ROOT
from bench.scaling.cases import cases
from bench.scaling.fleet import simulate
from bench.scaling.plots import plot_burst, plot_days
from bench.scaling.report import table
from bench.scaling.traffic import Traffic

PLOTS: Final = ROOT / "docs" / "scaling"


def main() -> None:
    """Simulate every fleet, print the table and draw the plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the traffic (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=PLOTS, help="folder for the plots")
    arguments = parser.parse_args()
    mpl.use("Agg")
    traffic = Traffic()
    arrived = traffic.arrivals(arguments.seed)
    runs = {
        name: (
            case,
            simulate(arrived, case.autoscaler, case.replica, protected_after_s=case.protected_after_s),
        )
        for name, case in cases().items()
    }
    Console(width=160).print(table(runs, traffic))
    arguments.out.mkdir(parents=True, exist_ok=True)
    shipped = {"kubernetes": "Kubernetes, as shipped", "ecs": "ECS, as shipped"}
    for file, name in {**shipped, "ecs-backlog-only": "ECS, backlog only"}.items():
        case, run = runs[name]
        plot_days(name, run, case.replica, arguments.out / f"{file}.webp")
    burst_runs = {name: runs[name][1] for name in (*shipped.values(), "20 replicas, constant")}
    plot_burst(burst_runs, traffic, arguments.out / "burst.webp")


if __name__ == "__main__":
    main()
