"""
`make chaos`: one full run on an embedded AWS of its own; exit status 1 if any promise is broken.

Set by the environment: CHAOS_SEED (drawn and printed if unset), CHAOS_UPLOADS, CHAOS_WORKERS, CHAOS_LOGS
(a folder in which the workers' logs are kept).
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from tests.chaos.report import show
from tests.chaos.run import Outcome, Terms, run
from worker.local.embedded_aws import embedded_aws

OF_THIS_MACHINE = ("AWS_", "WORKER_")


def terms() -> Terms:
    """Read the size of the run from the environment."""
    return Terms(
        seed=int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32)),
        uploads=int(os.environ.get("CHAOS_UPLOADS", "1200")),
        workers=int(os.environ.get("CHAOS_WORKERS", "4")),
    )


async def chaos(chosen: Terms, folder: Path) -> Outcome:
    """Run once."""
    async with embedded_aws() as endpoint_url:
        return await run(chosen, endpoint_url=endpoint_url, folder=folder)


def forget_this_machine() -> None:
    """Let no profile, credential or setting of whoever runs this reach it."""
    for name in list(os.environ):
        if name.startswith(OF_THIS_MACHINE):
            del os.environ[name]


def main() -> int:
    """Run, print the table, and return the exit status."""
    forget_this_machine()
    console = Console(width=110)
    chosen = terms()
    console.print(f"CHAOS_SEED={chosen.seed}", highlight=False)
    with TemporaryDirectory(prefix="chaos-") as temporary:
        folder = Path(os.environ.get("CHAOS_LOGS", temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(chaos(chosen, folder))
        show(outcome, console)
    if not outcome.broken and not outcome.witness.refused:
        console.print("No stale write was tried: this run has proved nothing of them. Take another seed.")
        return 1
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
