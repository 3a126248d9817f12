"""Open the repair tools on a test's resources."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.builders import a_requester
from worker.bootstrap import open_clients, open_repairs
from worker.cli.support.report import Report
from worker.repair.context import RepairContext
from worker.settings import Settings


@asynccontextmanager
async def open_tool(
    settings: Settings, *, command: str = "a test", dry_run: bool = False, report: Report | None = None
) -> AsyncIterator[RepairContext]:
    """Open the dependencies of the repair tools, without a noticeable rate limit."""
    async with (
        open_clients(settings) as clients,
        open_repairs(
            settings,
            clients,
            requester=a_requester(command),
            reporter=report or Report("testing", dry_run=dry_run),
            rate_per_s=10_000,
            dry_run=dry_run,
        ) as repairs,
    ):
        yield repairs
