"""
`make chaos`: one full run on a separate embedded AWS; exit status 1 if any promise is broken.

Environment variables: CHAOS_SEED (random and printed if unset), CHAOS_UPLOADS, CHAOS_WORKERS, CHAOS_HOSTILE
(the share of hostile uploads), CHAOS_LOGS (a folder in which the workers' logs are kept).
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from tests.chaos.report import show
from tests.chaos.run import ChaosOptions, ChaosResult, run
from worker.local.embedded_aws import embedded_aws

ENVIRONMENT_PREFIXES = ("AWS_", "WORKER_")


def options() -> ChaosOptions:
    """Return the options of the run from the environment."""
    return ChaosOptions(
        seed=int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32)),
        uploads=int(os.environ.get("CHAOS_UPLOADS", "1200")),
        workers=int(os.environ.get("CHAOS_WORKERS", "4")),
        hostile=float(os.environ.get("CHAOS_HOSTILE", "0.1")),
    )


async def chaos(chosen: ChaosOptions, folder: Path) -> ChaosResult:
    """Start an embedded AWS and run once."""
    async with embedded_aws() as endpoint_url:
        return await run(chosen, endpoint_url=endpoint_url, folder=folder)


def clear_environment() -> None:
    """Remove AWS and worker variables, so that the run uses none of the machine's credentials or settings."""
    for name in list(os.environ):
        if name.startswith(ENVIRONMENT_PREFIXES):
            del os.environ[name]


def main() -> int:
    """Run, print the table, and return the exit status."""
    clear_environment()
    console = Console(width=110)
    chosen = options()
    console.print(f"CHAOS_SEED={chosen.seed}", highlight=False)
    with TemporaryDirectory(prefix="chaos-") as temporary:
        folder = Path(os.environ.get("CHAOS_LOGS", temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        result = asyncio.run(chaos(chosen, folder))
        show(result, console)
    if not result.broken and not result.witness.rejected:
        console.print(
            "No stale write was tried, so that this run proves nothing about them. Use another seed."
        )
        return 1
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
