"""Operations in the background: dry run, confirmation, progress, pause, stop, and consoles that end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

import pytest

from tests.support.builders import NOON
from tests.support.fakes.operations import Batches, MemoryOperations, SuspendedConnection
from worker.console.operations.operation import (
    LOST_AFTER,
    Action,
    Operation,
    OperationStateError,
    Selection,
    State,
    stop_requested,
)
from worker.console.operations.runner import OperationRunner, Operations
from worker.domain.errors import TransientError

CORRUPT = Selection(code="corrupt")


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.passed = timedelta()

    def now(self) -> datetime:
        return NOON + self.passed

    def seconds(self) -> float:
        return self.passed.total_seconds()


class Scene:
    """Consoles on one table."""

    def __init__(self, perform: Batches) -> None:
        self.store, self.perform, self.clock = MemoryOperations(), perform, Clock()

    @asynccontextmanager
    async def console(
        self, store: Operations | None = None, *, max_active: int = 4
    ) -> AsyncIterator[OperationRunner]:
        runner = OperationRunner(
            store or self.store,
            self.perform,
            clock=self.clock.now,
            heartbeat_s=0.002,
            max_active=max_active,
            monotonic=self.clock.seconds,
        )
        try:
            yield runner
        finally:
            self.perform.release(100)
            await runner.close()

    async def until(self, operation: Operation, state: State) -> Operation:
        return await self.store.until(operation.operation_id, lambda each: each.state is state)

    async def confirmed(self, runner: OperationRunner) -> Operation:
        """Return an operation that is confirmed, in its first batch."""
        operation = await runner.request(Action.RETRY, CORRUPT, by="alice")
        await self.until(operation, State.READY)
        running = await runner.confirm(operation.operation_id, by="bob")
        assert running
        await self.perform.until_started(1)
        return running


async def test_an_operation_counts_waits_for_confirmation_and_runs_for_who_confirmed_it() -> None:
    scene = Scene(Batches(3))
    async with scene.console() as runner:
        operation = await runner.request(Action.RETRY, CORRUPT, by="alice")
        ready = await scene.until(operation, State.READY)
        assert (ready.expected, dict(ready.counted), dict(ready.counts)) == (30, {"retried": 30}, {})
        assert scene.perform.requesters == []

        await runner.confirm(operation.operation_id, by="bob")
        scene.perform.release(3)
        done = await scene.until(operation, State.COMPLETED)

    assert dict(done.counts) == {"retried": 30}
    assert [(event.what, event.by) for event in done.events] == [("requested", "alice"), ("confirmed", "bob")]
    (requester,) = scene.perform.requesters
    assert (requester.by, requester.via, requester.command) == ("bob", "console", "images retry")


async def test_an_operation_with_nothing_to_do_ends_without_confirmation() -> None:
    scene = Scene(Batches(0))
    async with scene.console() as runner:
        operation = await runner.request(Action.RETRY, CORRUPT, by="alice")
        done = await scene.until(operation, State.COMPLETED)
    assert (done.expected, done.outcome) == (0, "there was nothing to do")


async def test_progress_is_written_while_an_operation_runs() -> None:
    scene = Scene(Batches(3))
    async with scene.console() as runner:
        operation = await scene.confirmed(runner)
        scene.perform.release(2)
        running = await scene.store.until(operation.operation_id, lambda each: each.handled == 20)
        assert running.state is State.RUNNING


async def test_a_paused_operation_begins_no_batch_until_it_is_resumed() -> None:
    scene = Scene(Batches(3))
    async with scene.console() as runner:
        operation = await scene.confirmed(runner)
        await runner.pause(operation.operation_id, by="carol")
        scene.perform.release(3)
        paused = await scene.store.until(operation.operation_id, lambda each: each.handled == 10)
        assert (paused.state, scene.perform.started) == (State.PAUSED, 1)

        await runner.resume(operation.operation_id, by="carol")
        done = await scene.until(operation, State.COMPLETED)
    assert done.handled == 30
    assert [event.what for event in done.events] == ["requested", "confirmed", "paused", "resumed"]


async def test_a_stopped_operation_ends_after_its_batch_and_its_progress_is_kept() -> None:
    scene = Scene(Batches(3))
    async with scene.console() as runner:
        operation = await scene.confirmed(runner)
        await runner.stop(operation.operation_id, by="carol")
        scene.perform.release(3)
        ended = await scene.until(operation, State.STOPPED)
    assert (ended.outcome, ended.handled, scene.perform.started) == ("stopped by carol", 10, 1)


@pytest.mark.parametrize("is_paused", [False, True])
async def test_another_console_stops_an_operation(is_paused: bool) -> None:
    scene = Scene(Batches(3))
    async with scene.console() as owner, scene.console() as other:
        operation = await scene.confirmed(owner)
        if is_paused:
            await other.pause(operation.operation_id, by="dave")
        stop = await other.stop(operation.operation_id, by="dave")
        assert stop
        await scene.store.until(operation.operation_id, lambda each: each.revision > stop.revision)
        scene.perform.release(1)
        ended = await scene.until(operation, State.STOPPED)
    assert (ended.outcome, ended.handled) == ("stopped by dave", 10)


async def test_of_two_consoles_one_confirms_an_operation_and_it_runs_once() -> None:
    scene = Scene(Batches(1))
    async with scene.console() as one, scene.console() as two:
        operation = await one.request(Action.RETRY, CORRUPT, by="alice")
        await scene.until(operation, State.READY)

        results = await asyncio.gather(
            *(runner.confirm(operation.operation_id, by="alice") for runner in (one, two)),
            return_exceptions=True,
        )
        scene.perform.release(2)
        done = await scene.until(operation, State.COMPLETED)
    assert [type(result) for result in results] == [Operation, OperationStateError]
    assert (len(scene.perform.requesters), done.handled) == (1, 10)


async def test_an_operation_whose_console_is_gone_is_seen_as_stopped() -> None:
    scene = Scene(Batches(3))
    connection = SuspendedConnection(scene.store)
    async with scene.console(connection) as gone:
        operation = await scene.confirmed(gone)
        connection.suspend()
        scene.clock.passed += LOST_AFTER + timedelta(seconds=1)
        seen = scene.store.operations[operation.operation_id].as_seen_at(scene.clock.now())
        connection.resume()
    assert seen.state is State.STOPPED
    assert "restarted" in str(seen.outcome)


async def test_a_console_that_was_gone_does_nothing_more_once_its_operation_was_continued() -> None:
    scene = Scene(Batches(3))
    connection = SuspendedConnection(scene.store)
    async with scene.console(connection) as gone, scene.console() as other:
        operation = await scene.confirmed(gone)
        connection.suspend()
        scene.clock.passed += LOST_AFTER + timedelta(seconds=1)
        continued = await other.continue_(operation.operation_id, by="erin")
        assert continued
        assert (continued.before, continued.selection) == (operation.before, operation.selection)
        await scene.until(continued, State.READY)

        scene.perform.release(1)  # the first console comes back, in the middle of its batch
        connection.resume()
        async with asyncio.timeout(20):
            while gone.active:
                await asyncio.sleep(0)
    assert scene.store.operations[operation.operation_id].state is State.STOPPED
    assert len(scene.perform.requesters) == 1
    assert scene.perform.total == 1, "no further batch began"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TransientError("the bucket is unavailable"), "the bucket is unavailable"),
        (RuntimeError("secret"), "unexpected error: RuntimeError; its traceback is in the console's log"),
    ],
    ids=["expected", "a bug"],
)
async def test_an_operation_that_fails_keeps_its_progress_and_says_why(
    error: Exception, outcome: str
) -> None:
    scene = Scene(Batches(1, error=error))
    async with scene.console() as runner:
        operation = await runner.request(Action.RETRY, CORRUPT, by="alice")
        ended = await scene.until(operation, State.FAILED)
    assert (ended.outcome, dict(ended.counted)) == (outcome, {"retried": 10, "failed": 1})
    assert ended.errors == ("img_1: its upload is gone",)


async def test_a_console_that_shuts_down_ends_its_operations_after_their_batch() -> None:
    scene = Scene(Batches(3))
    async with scene.console() as runner:
        operation = await scene.confirmed(runner)
    ended = scene.store.operations[operation.operation_id]
    assert (ended.state, ended.outcome, ended.handled) == (State.STOPPED, "the console was shut down", 10)
    async with scene.console() as other:
        continued = await other.continue_(operation.operation_id, by="bob")
        assert continued
        assert continued.before == operation.before


async def test_a_console_works_on_a_limited_number_of_operations() -> None:
    scene = Scene(Batches(1))
    async with scene.console(max_active=1) as runner:
        await scene.confirmed(runner)
        with pytest.raises(OperationStateError, match="works on 1 operations already"):
            await runner.request(Action.RETRY, CORRUPT, by="alice")


async def test_an_operation_that_has_ended_cannot_be_changed() -> None:
    scene = Scene(Batches(0))
    async with scene.console() as runner:
        operation = await runner.request(Action.RETRY, CORRUPT, by="alice")
        await scene.until(operation, State.COMPLETED)
        changes: list[Callable[..., object]] = [
            runner.confirm, runner.discard, runner.pause, runner.resume, runner.stop, runner.continue_
        ]  # fmt: skip
        for change in changes:
            with pytest.raises(OperationStateError):
                await change(operation.operation_id, by="alice")  # type: ignore[misc]  # all are coroutines
            assert await change("another", by="alice") is None  # type: ignore[misc]


async def test_a_stop_during_the_dry_run_leaves_nothing_to_confirm() -> None:
    scene = Scene(Batches(0))
    async with scene.console() as runner:
        stop = partial(stop_requested, by="alice", at=NOON)
        operation = await runner.request(Action.RETRY, CORRUPT, by="alice")
        stopping = stop(operation)
        scene.store.operations[operation.operation_id] = stopping
        ended = await scene.until(operation, State.STOPPED)
    assert ended.outcome == "stopped by alice"
