"""Images that the console's repairs change are polled again."""

from contextlib import asynccontextmanager
from typing import Any

import pytest

from worker.console.live.requeued import ObservedRepairs
from worker.domain.requester import CONSOLE, Requester

REQUESTER = Requester(by="alice", via=CONSOLE, command="images retry")


class Results:
    """A reporter and pollers in one, which keep what they are called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def done(self, action: str, *, image_id: str, user_id: str) -> None:
        self.calls.append(("done", action, image_id, user_id))

    def skipped(self, reason: str) -> None:
        self.calls.append(("skipped", reason))

    def failed(self, subject: str, message: str) -> None:
        self.calls.append(("failed", subject, message))

    def requeued(self, image_id: str, user_id: str) -> None:
        self.calls.append(("requeued", image_id, user_id))


@pytest.mark.parametrize("dry_run", [False, True])
async def test_each_repaired_image_is_polled_again_unless_nothing_is_changed(dry_run: bool) -> None:
    results = Results()

    @asynccontextmanager
    async def open_repairs(*, reporter: Any, **_: Any) -> Any:
        yield reporter

    repairs: Any = ObservedRepairs(open_repairs, results)  # type: ignore[arg-type] # fakes of both
    async with repairs(requester=REQUESTER, reporter=results, rate_per_s=1, dry_run=dry_run) as reporter:
        reporter.done("retried", image_id="img_1", user_id="user_1")
        reporter.skipped("completed")
        reporter.failed("img_2", "unavailable")
    polled = [] if dry_run else [("requeued", "img_1", "user_1")]
    assert results.calls == [
        *polled,
        ("done", "retried", "img_1", "user_1"),
        ("skipped", "completed"),
        ("failed", "img_2", "unavailable"),
    ]
