"""Run the checks of `image-worker check` on demand, one run at a time, and keep the newest result."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from worker.checks.finding import PERMISSION, Finding, failed
from worker.domain.clock import Clock


def as_seen_by_console(finding: Finding) -> Finding:
    """Return a finding about a missing permission, which the worker may have, as a warning."""
    if finding.ok or finding.name != PERMISSION:
        return finding
    return replace(finding, required=False, fix=_FOR_PERMISSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """The findings of a run of the checks, when it ended, and how long it took."""

    findings: tuple[Finding, ...]
    checked_at: datetime
    elapsed_ms: int

    @property
    def failed(self) -> int:
        """Number of required checks that failed."""
        return sum(finding.required and not finding.ok for finding in self.findings)


class CheckRuns:
    """
    Runs the checks, and keeps the newest result.

    Args:
        check: Runs all checks.
        clock: Returns the current time.
        timeout_s: How long a run may take, in seconds.
    """

    def __init__(
        self, check: Callable[[], Awaitable[Sequence[Finding]]], *, clock: Clock, timeout_s: float = 60.0
    ) -> None:
        self._check, self._clock, self._timeout_s = check, clock, timeout_s
        self._turn = asyncio.Lock()
        self.newest: CheckRun | None = None

    async def run(self) -> CheckRun:
        """Run the checks; a request that waits for a run takes its result."""
        before = self.newest
        async with self._turn:
            if self.newest is not None and self.newest is not before:
                return self.newest
            started_at = asyncio.get_running_loop().time()
            findings = await self._findings()
            elapsed_s = asyncio.get_running_loop().time() - started_at
            self.newest = CheckRun(
                findings=findings, checked_at=self._clock(), elapsed_ms=round(elapsed_s * 1000)
            )
            return self.newest

    async def _findings(self) -> tuple[Finding, ...]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return tuple(await self._check())
        except TimeoutError:
            message = f"the checks took longer than {self._timeout_s:g} s and were stopped"
            return (failed("checks", message, fix=_AFTER_TIMEOUT),)


_FOR_PERMISSION: Final = (
    "the worker needs it, and the console does not: run `image-worker check` with the role of the worker"
)
_AFTER_TIMEOUT: Final = "check the network between the console and AWS, and run the checks again"
