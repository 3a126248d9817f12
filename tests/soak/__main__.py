"""
`make soak`: one worker under a steady load for a while; exit status 1 if it grows, or keeps what is not its.

Set by the environment: SOAK_S (600), SOAK_RATE (pictures a second), SOAK_PLOT (where the plot goes). Linux
only: memory and open files are read from `/proc`.
"""

import asyncio
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from tests.chaos.__main__ import forget_this_machine
from tests.soak.report import plot, show
from tests.soak.run import Soaked, Terms, run
from tests.soak.verdict import judgements
from worker.local.embedded_aws import embedded_aws


async def soak(terms: Terms, folder: Path) -> Soaked:
    """Run once."""
    async with embedded_aws() as endpoint_url:
        return await run(terms, endpoint_url=endpoint_url, folder=folder)


def main() -> int:
    """Run, print the table, draw the plot, and return the exit status."""
    forget_this_machine()
    terms = Terms(
        seconds=float(os.environ.get("SOAK_S", "600")), rate=float(os.environ.get("SOAK_RATE", "5"))
    )
    file = Path(os.environ.get("SOAK_PLOT", "out/soak.png"))
    console = Console(width=110)
    with TemporaryDirectory(prefix="soak-") as folder:
        soaked = asyncio.run(soak(terms, Path(folder)))
    show(soaked, console)
    plot(soaked, file)
    console.print(f"The plot is in {file}.")
    return 0 if all(one.is_kept for one in judgements(soaked)) else 1


if __name__ == "__main__":
    sys.exit(main())
