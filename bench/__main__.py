"""`python -m bench`: run every benchmark, one after the other, and make a page of their sections."""

import subprocess
import sys
from pathlib import Path

SECTIONS = ("imaging", "service", "cost", "memory")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
INTRODUCTION = """# Performance
How much CPU, memory and money a picture takes, beside what people would otherwise run. Everything is
measured on one machine in one session, the contenders in turns, and reported as a ratio: absolute figures
are this machine's. `make bench` makes the page again; each section names its own command.
[Scaling](scaling.md) has the simulation of fleets.
"""


def put_together() -> None:
    """Write the page from the sections that have been measured."""
    parts = [PAGE.parent / "performance" / f"{name}.md" for name in SECTIONS]
    sections = [part.read_text(encoding="utf-8").strip() for part in parts if part.exists()]
    PAGE.write_text("\n\n".join([INTRODUCTION.strip(), *sections]) + "\n", encoding="utf-8")


def main() -> None:
    """Run the benchmarks in processes of their own, so that none finds the other's memory."""
    for name in SECTIONS:
        subprocess.run([sys.executable, "-m", f"bench.{name}"], check=True)  # noqa: S603 - ours
    put_together()


if __name__ == "__main__":
    main()
