"""
`make soak`: one worker under a steady load; exit status 1 if it leaks memory, open files or messages.

Environment variables: SOAK_S (600), SOAK_RATE (images per second), SOAK_PLOT (file of the plot). Linux only,
because memory and open files are read from `/proc`.
"""

import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from tests.chaos.__main__ import clear_environment
from tests.soak.bounds import check_bounds
from tests.soak.report import plot, show
from tests.soak.run import SoakOptions, SoakResult, run
from worker.local.embedded_aws import embedded_aws


async def soak(options: SoakOptions, folder: Path) -> SoakResult:
    """Start an embedded AWS and run once."""
    async with embedded_aws() as endpoint_url:
        return await run(options, endpoint_url=endpoint_url, folder=folder)


def main() -> int:
    """Run, print the table, write the plot, and return the exit status."""
    clear_environment()
    options = SoakOptions(
        seconds=float(os.environ.get("SOAK_S", "600")), rate=float(os.environ.get("SOAK_RATE", "5"))
    )
    file = Path(os.environ.get("SOAK_PLOT", "out/soak.png"))
    console = Console(width=110)
    with TemporaryDirectory(prefix="soak-") as folder:
        result = asyncio.run(soak(options, Path(folder)))
    show(result, console)
    plot(result, file)
    console.print(f"The plot is in {file}.")
    return 0 if all(entry.is_within for entry in check_bounds(result)) else 1


if __name__ == "__main__":
    sys.exit(main())
