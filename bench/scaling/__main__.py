"""
Three days of uploads through the autoscaling policies that are shipped: `python -m bench.scaling`.

Reads the policies from `config/`, prints what they do for delay and cost, and draws the pictures of
`docs/scaling.md`. The same seed gives the same figures.
"""

import argparse
from pathlib import Path
from typing import Final

import matplotlib as mpl
from rich.console import Console

from bench.common.paths import ROOT
from bench.scaling.cases import cases
from bench.scaling.fleet import simulate
from bench.scaling.plots import draw, draw_burst
from bench.scaling.report import report
from bench.scaling.traffic import Traffic

OUT: Final = ROOT / "docs" / "scaling"


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
