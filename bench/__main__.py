"""
Run every benchmark of the performance page, then write the page: `python -m bench`.

`python -m bench service cost` runs these only; the page keeps the other sections as they are.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from bench.common.paths import PAGES

SECTIONS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {"imaging": (), "reuse": (), "service": ("--tls",), "cost": (), "memory": (), "console": ()}
)
"""Benchmark of each section, in the order of the page -> its arguments."""
INTRODUCTION: Final = """# Performance
How much CPU time, memory and money image-worker needs per image, compared with other libraries and stacks.

| question | section | command |
| --- | --- | --- |
| How fast is image processing alone? | [Imaging](#imaging) | `python -m bench.imaging` |
| What does it cost to isolate images? | [Reuse of decoders](#reuse-of-decoders) | `python -m bench.reuse` |
| How fast is the whole service? | [The whole service](#the-whole-service) | `python -m bench.service --tls` |
| What does a million images cost on AWS? | [Cost](#cost) | `python -m bench.cost` |
| Does memory grow over time? | [Memory](#memory) | `python -m bench.memory` |
| How fast is the web console over a large record? | [Web console](#web-console) | `python -m bench.console` |
| How many workers does an upload rate need? | [Scaling](scaling.md) | `python -m bench.scaling` |

**How to read it.** Absolute times are those of one machine, named at the end of each section. Ratios transfer
better: the compared programs take turns, each ratio is calculated within a round, and the tables give the
median with the quartiles in parentheses. No test asserts a figure of this page; one asserts that the figures
in the README are the same.

**How to repeat it.** `make bench` measures everything and writes this page again, in about 40 minutes;
`make bench SECTION=service` measures one section. `make docs` then copies the figures into the README. The
peers, pyvips, sharp, Celery and Node.js packages, are installed in `bench/.peers`; Node.js 20.15 or newer is
required. Each command has options for a shorter run, shown by `--help`.

**Before and after a change.** `python -m bench.parent --against before=FOLDER` compares the CPU time of the
worker process in two working copies, in short turns that show differences of 5 %.
`python -m bench.service --only --against before=FOLDER` compares the whole service.
"""


def performance_page() -> str:
    """Return `docs/performance.md`: the sections that have been measured."""
    files = [PAGES / f"{name}.md" for name in SECTIONS]
    sections = [file.read_text(encoding="utf-8").strip() for file in files if file.exists()]
    return "\n\n".join([INTRODUCTION.strip(), *sections]) + "\n"


def _section(name: str) -> str:
    if name not in SECTIONS:
        message = f"there is no section {name!r}; choose from {', '.join(SECTIONS)}"
        raise argparse.ArgumentTypeError(message)
    return name


def main() -> None:
    """Run each benchmark in a new process, so that none inherits the memory of another."""
    parser = argparse.ArgumentParser(description="Run the benchmarks of the performance page.")
    parser.add_argument(
        "sections",
        nargs="*",
        type=_section,
        metavar="SECTION",
        help=f"run only these of {', '.join(SECTIONS)}",
    )
    for name in parser.parse_args().sections or SECTIONS:
        subprocess.run([sys.executable, "-m", f"bench.{name}", *SECTIONS[name]], check=True)
    PAGES.with_suffix(".md").write_text(performance_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
