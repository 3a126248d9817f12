"""Runs of the checks on demand."""

import asyncio

from tests.support.builders import NOON
from worker.checks.finding import Finding
from worker.console.check_runs import CheckRuns, as_seen_by_console


class Checks:
    """Checks that wait until they are released, and count their runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.is_released = asyncio.Event()

    async def __call__(self) -> list[Finding]:
        self.runs += 1
        await self.is_released.wait()
        return [Finding("queue", ok=False, message="missing", fix="create it", required=self.runs == 1)]


async def test_requests_that_wait_for_a_run_take_its_result() -> None:
    checks = Checks()
    runs = CheckRuns(checks, clock=lambda: NOON)
    waiting = [asyncio.create_task(runs.run()) for _ in range(3)]
    await asyncio.sleep(0)
    checks.is_released.set()
    first, second, third = await asyncio.gather(*waiting)
    assert first is second is third is runs.newest
    assert (first.failed, first.checked_at, checks.runs) == (1, NOON, 1)


async def test_a_later_request_runs_the_checks_again() -> None:
    checks = Checks()
    checks.is_released.set()
    runs = CheckRuns(checks, clock=lambda: NOON)
    assert (await runs.run()).failed == 1
    assert (await runs.run()).failed == 0


async def test_checks_that_take_too_long_are_stopped_with_a_finding() -> None:
    runs = CheckRuns(Checks(), clock=lambda: NOON, timeout_s=0.01)
    run = await runs.run()
    assert run.failed == 1
    assert run.findings[0].message == "the checks took longer than 0.01 s and were stopped"


def test_a_permission_that_the_console_does_not_need_is_a_warning() -> None:
    denied = Finding("permission", ok=False, message="AWS does not allow sqs:DeleteMessage", fix="allow it")
    seen = as_seen_by_console(denied)
    assert (seen.required, seen.message) == (False, denied.message)
    assert "with the role of the worker" in seen.fix
    for kept in (Finding("queue", ok=False, message="missing"), Finding("permission", ok=True, message="")):
        assert as_seen_by_console(kept) is kept
