"""
`make simulate`: run many seeds on all CPUs; exit status 1 if an invariant does not hold.

Environment variables: SEEDS (how many), FIRST (the first one), or SEED (a single one, with its trace).
"""

import os
import sys
import time
from typing import Final

from tests.chaos.__main__ import clear_environment
from tests.simulation.campaign import Summary, run_in_processes
from tests.simulation.schedule import draw
from tests.simulation.shrink import report
from tests.simulation.world import simulate, simulating

_MAX_REPORTS: Final = 3
_PROGRESS_S: Final = 5.0
_ENOUGH: Final = 2000
"""With fewer seeds, rare faults may not occur."""


def main() -> int:
    clear_environment()
    if os.environ.get("SEED"):
        return _one(int(os.environ["SEED"]))
    return _many(int(os.environ.get("FIRST") or 0), int(os.environ.get("SEEDS") or _ENOUGH))


def _one(seed: int) -> int:
    with simulating():
        schedule = draw(seed)
        lines: list[str] = []
        outcome = simulate(schedule, lines.append)
        if outcome.violation is None:
            print("\n".join(lines))
            print(f"Seed {seed} ({schedule.profile}): every invariant holds.")
            return 0
        print(report(schedule, outcome))
        return 1


def _many(first: int, count: int) -> int:
    summary, began, shown = Summary(), time.monotonic(), 0.0
    for part in run_in_processes(first, count):
        summary.add(part)
        elapsed_s = time.monotonic() - began
        if elapsed_s - shown >= _PROGRESS_S:
            shown = elapsed_s
            per_minute = 60 * summary.seeds / elapsed_s
            print(
                f"{summary.seeds:,} of {count:,} seeds, {per_minute:,.0f} a minute, "
                f"{len(summary.failed)} failed"
            )
    _print_summary(summary, elapsed_s=time.monotonic() - began)
    with simulating():
        for seed in sorted(summary.failed)[:_MAX_REPORTS]:
            schedule = draw(seed)
            print(report(schedule, simulate(schedule)), end="\n\n")
    for seed, violation in sorted(summary.failed.items()):
        print(f"make simulate SEED={seed}  # {violation}")
    is_blind = bool(summary.missing) and count >= _ENOUGH
    return 1 if summary.failed or is_blind else 0


def _print_summary(summary: Summary, *, elapsed_s: float) -> None:
    print(
        f"{summary.seeds:,} seeds, {summary.events:,} events, {summary.virtual_s / 3600:,.0f} hours of "
        f"virtual time in {elapsed_s:.0f} s; {len(summary.failed)} failed"
    )
    for name, times in sorted(summary.exercised.items()):
        print(f"{times:>12,}  {name}")
    for name in summary.missing:
        print(f"{'never':>12}  {name}")


if __name__ == "__main__":
    sys.exit(main())
