"""
`make matrix`: compare every file of the matrix with libvips, and write docs/matrix.md.

The exit status is 1 if a difference is unknown, or if a known one no longer occurs. Environment variables:
MATRIX_CASES, to compare only so many random files and write no page, and their MATRIX_SEED.
"""

import os
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from tests.matrix.cases import all_cases, sampled_cases
from tests.matrix.comparison import Outcome, Result, compare
from tests.matrix.known_differences import KNOWN_DIFFERENCES, known_difference, unexplained
from tests.matrix.report import report

_PAGE: Final = Path(__file__).parents[2] / "docs" / "matrix.md"
_MAX_SHOWN: Final = 40


def main() -> int:
    return _sample(int(count)) if (count := os.environ.get("MATRIX_CASES")) else _all()


def _all() -> int:
    started = time.monotonic()
    with ProcessPoolExecutor() as processes:
        results = list(processes.map(compare, all_cases(), chunksize=100))
    print(f"{len(results):,} files compared in {time.monotonic() - started:.0f} s")
    found = {difference.name for result in results if (difference := known_difference(result))}
    obsolete = [each.name for each in KNOWN_DIFFERENCES if each.name not in found]
    for name in obsolete:
        print(f"The known difference {name!r} no longer occurs; remove it from known_differences.py.")
    if _print_unexplained(results) or obsolete:
        return 1
    _PAGE.write_text(report(results), encoding="utf-8")
    print(f"The report is in {_PAGE}.")
    return 0


def _sample(count: int) -> int:
    seed = int(os.environ.get("MATRIX_SEED") or random.SystemRandom().randrange(10**9))
    print(f"MATRIX_CASES={count} MATRIX_SEED={seed}")
    results = [compare(case) for case in sampled_cases(count, seed=seed)]
    equal = sum(result.outcome is Outcome.EQUAL for result in results)
    print(f"{count:,} files compared, {equal:,} of them completed and equal")
    return int(_print_unexplained(results))


def _print_unexplained(results: Sequence[Result]) -> bool:
    unknown = unexplained(results)
    for result in unknown[:_MAX_SHOWN]:
        print(f"{result.outcome}: {result.case} (by {result.difference}) {result.reason}")
    if len(unknown) > _MAX_SHOWN:
        print(f"... and {len(unknown) - _MAX_SHOWN:,} more")
    return bool(unknown)


if __name__ == "__main__":
    sys.exit(main())
