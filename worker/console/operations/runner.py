"""
Run operations in the background: one task each, owned by this console, with progress in the table.

The table is the truth: a pause or stop, from this console or another, is written there, and the owner
follows. An owner that cannot write its progress waits before the next batch until it can, and ends if another
console has ended the operation in the meantime.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from secrets import token_hex
from typing import Final, Protocol

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.error_explanation import explain
from worker.console.operations.operation import (
    COMMANDS,
    LOST_AFTER,
    MAX_ERRORS,
    Action,
    Operation,
    OperationStateError,
    Selection,
    State,
    confirmed,
    counted,
    discarded,
    ended,
    lost,
    paused,
    requested,
    resumed,
    stop_reason,
    stop_requested,
    with_progress,
)
from worker.console.security.actions import log_action
from worker.domain.clock import Clock, utc_now
from worker.domain.errors import ImageWorkerError, TransientError
from worker.domain.mask import mask_secrets
from worker.domain.requester import CONSOLE, Requester
from worker.repair.context import Reporter
from worker.repair.control import Control, RepairStoppedError, Switch

log = structlog.get_logger(__name__)

MAX_ACTIVE: Final = 4
"""Operations that one console works on at the same time."""

HEARTBEAT_S: Final = 2.0
"""How often the progress of an operation is written."""

_CLOSE_S: Final = 8.0
"""How long the end of a batch is waited for when the console shuts down."""

_SAFE_S: Final = LOST_AFTER.total_seconds() / 2
"""Age of the last written progress above which no further batch begins."""

_FAILED: Final = "failed"


class Operations(Protocol):
    """Where operations are kept; see `OperationStore`."""

    async def create(self, operation: Operation) -> Operation:
        """Write a new operation; return it as it is stored."""

    async def get(self, operation_id: str) -> Operation | None:
        """Return an operation; None if it does not exist."""

    async def change(self, operation_id: str, change: Callable[[Operation], Operation]) -> Operation | None:
        """Change an operation; return it as it is stored, or None if it does not exist."""


class Perform(Protocol):
    """Does the work of an operation."""

    async def __call__(
        self,
        operation: Operation,
        *,
        requester: Requester,
        reporter: Reporter,
        control: Control,
        dry_run: bool,
    ) -> None:
        """
        Repair everything that the operation selects; in a dry run only report it.

        Raises:
            RepairStoppedError: The control has stopped it.
            ImageWorkerError: It cannot continue.
        """


class Progress:
    """Implements `repair.context.Reporter`: counts the results, and keeps the first errors."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.changed = 0

    def done(self, action: str, *, image_id: str, user_id: str) -> None:  # noqa: ARG002 - of the protocol
        """Count an image that was repaired, or would be."""
        self.counts[action] += 1
        self.changed += 1

    def skipped(self, reason: str) -> None:
        """Count an image that needs no repair."""
        self.counts[reason] += 1

    def failed(self, subject: str, message: str) -> None:
        """Count an image that could not be repaired, and keep the reason."""
        self.counts[_FAILED] += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(f"{subject}: {mask_secrets(message)}")


@dataclass(slots=True)
class _Run:
    """An operation that this console works on."""

    operation_id: str
    written_s: float
    revision: int = 0
    switch: Switch = field(default_factory=Switch)
    progress: Progress = field(default_factory=Progress)


class OperationRunner:
    """
    Runs operations.

    Args:
        store: Where operations are kept.
        perform: Does the work of an operation.
        clock: Returns the current time.
        heartbeat_s: How often the progress of an operation is written.
        max_active: Operations that this console works on at the same time.
        monotonic: Clock, in seconds.
    """

    def __init__(
        self,
        store: Operations,
        perform: Perform,
        *,
        clock: Clock = utc_now,
        heartbeat_s: float = HEARTBEAT_S,
        max_active: int = MAX_ACTIVE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._perform, self._clock, self._monotonic = store, perform, clock, monotonic
        self._heartbeat_s, self._max_active = heartbeat_s, max_active
        self._owner = f"console-{token_hex(4)}"
        self._runs: dict[str, _Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reserved = 0
        self._is_closed = False

    @property
    def active(self) -> int:
        """Number of operations that this console works on."""
        return len(self._runs)

    async def request(
        self, action: Action, selection: Selection, *, by: str, continues: Operation | None = None
    ) -> Operation:
        """
        Create an operation, and begin to count what it would do.

        Args:
            action: What to do.
            selection: With which images or dead letters.
            by: Who requests it.
            continues: A stopped operation that this one continues: images that it has handled are skipped.

        Raises:
            OperationStateError: This console works on too many operations.
        """
        now = self._clock()
        operation = requested(
            action,
            selection,
            operation_id=f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}Z-{token_hex(3)}",
            by=by,
            owner=self._owner,
            at=now,
            before=continues.before if continues else None,
        )
        with self._reserved_slot():
            operation = await self._store.create(operation)
            self._log("requested", operation, by=by)
            self._start(operation, dry_run=True)
        return operation

    async def confirm(self, operation_id: str, *, by: str) -> Operation | None:
        """Run an operation whose dry run has ended; return None if it does not exist."""
        change = partial(confirmed, by=by, owner=self._owner, at=self._clock())
        with self._reserved_slot():
            operation = await self._store.change(operation_id, change)
            if operation is not None:
                self._log("confirmed", operation, by=by)
                self._start(operation, dry_run=False)
        return operation

    async def discard(self, operation_id: str, *, by: str) -> Operation | None:
        """End an operation that is not confirmed; return None if it does not exist."""
        return await self._change(operation_id, discarded, "discarded", by=by)

    async def pause(self, operation_id: str, *, by: str) -> Operation | None:
        """Pause an operation after its current batch; return None if it does not exist."""
        return await self._change(operation_id, paused, "paused", by=by)

    async def resume(self, operation_id: str, *, by: str) -> Operation | None:
        """Resume a paused operation; return None if it does not exist."""
        return await self._change(operation_id, resumed, "resumed", by=by)

    async def stop(self, operation_id: str, *, by: str) -> Operation | None:
        """Stop an operation after its current batch; return None if it does not exist."""
        return await self._change(operation_id, stop_requested, "stopped", by=by)

    async def continue_(self, operation_id: str, *, by: str) -> Operation | None:
        """Request an operation for what a stopped one has left; return None if it does not exist."""
        seen = await self._store.get(operation_id)
        if seen is None:
            return None
        now = self._clock()
        if seen.is_active:  # its console is gone: so that it cannot continue, should it come back
            seen = await self._store.change(operation_id, partial(lost, at=now)) or seen
        if seen.state not in {State.STOPPED, State.FAILED}:
            message = f"the operation is {seen.state}: only one that stopped or failed can be continued"
            raise OperationStateError(message)
        return await self.request(seen.action, seen.selection, by=by, continues=seen)

    async def close(self) -> None:
        """End the operations of this console after their current batch, and record that they stopped."""
        self._is_closed = True
        for run in self._runs.values():
            run.switch.stop("the console was shut down")
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @contextmanager
    def _reserved_slot(self) -> Iterator[None]:
        """Keep a slot free for an operation until it is among the runs; raise if there is none."""
        if self._is_closed or len(self._runs) + self._reserved >= self._max_active:
            message = (
                f"this console works on {self._max_active} operations already, which is its limit: "
                "wait until one ends, or stop one"
            )
            raise OperationStateError(message)
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    async def _change(
        self, operation_id: str, change: Callable[..., Operation], what: str, *, by: str
    ) -> Operation | None:
        operation = await self._store.change(operation_id, partial(change, by=by, at=self._clock()))
        if operation is not None:
            self._log(what, operation, by=by)
            if (run := self._runs.get(operation_id)) is not None:
                _follow(run, operation)
        return operation

    def _start(self, operation: Operation, *, dry_run: bool) -> None:
        run = _Run(operation.operation_id, written_s=self._monotonic())
        self._runs[operation.operation_id] = run
        task = asyncio.create_task(
            self._work(run, operation, dry_run=dry_run), name=f"operation {operation.operation_id}"
        )
        self._tasks[operation.operation_id] = task
        task.add_done_callback(partial(self._forget, operation.operation_id))

    def _forget(self, operation_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(operation_id) is task:
            del self._tasks[operation_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("operation.lost", operation_id=operation_id, exc_info=error)

    async def _work(self, run: _Run, operation: Operation, *, dry_run: bool) -> None:
        try:
            change = await self._outcome(run, operation, dry_run=dry_run)
            await self._end(run, change)
        finally:
            if self._runs.get(run.operation_id) is run:  # it may have been confirmed since
                del self._runs[run.operation_id]

    async def _outcome(
        self, run: _Run, operation: Operation, *, dry_run: bool
    ) -> Callable[[Operation], Operation]:
        """Do the work of an operation, and return the change that records its end."""
        requester = Requester(by=operation.by, via=CONSOLE, command=COMMANDS[operation.action])
        if operation.started_at is not None and operation.events:
            requester = replace(requester, by=operation.events[-1].by)  # who confirmed it
        reporting = asyncio.create_task(self._report(run), name=f"report operation {run.operation_id}")
        try:
            await self._perform(
                operation,
                requester=requester,
                reporter=run.progress,
                control=_Guard(run, partial(self._write_progress, run), self._monotonic),
                dry_run=dry_run,
            )
        except RepairStoppedError as stop:
            return self._ended(State.STOPPED, str(stop))
        except (ImageWorkerError, TimeoutError) as error:
            return self._ended(State.FAILED, str(error) or "AWS did not respond in time")
        except (ClientError, BotoCoreError) as error:
            return self._ended(State.FAILED, explain(error))
        except Exception as error:
            log.exception("operation.crashed", operation_id=run.operation_id)
            return self._ended(
                State.FAILED,
                f"unexpected error: {type(error).__name__}; its traceback is in the console's log",
            )
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
        if dry_run:
            return partial(counted, expected=run.progress.changed, at=self._clock())
        return self._ended(State.COMPLETED, "everything selected was handled")

    def _ended(self, state: State, outcome: str) -> Callable[[Operation], Operation]:
        return partial(ended, state=state, outcome=mask_secrets(outcome), at=self._clock())

    async def _end(self, run: _Run, change: Callable[[Operation], Operation]) -> None:
        try:
            operation = await self._store.change(
                run.operation_id, lambda seen: change(self._with_progress(run, seen))
            )
        except (OperationStateError, TransientError) as error:
            log.warning("operation.end_not_written", operation_id=run.operation_id, reason=str(error))
            return
        if operation is not None:
            log.info(
                "operation.counted" if operation.state is State.READY else "operation.ended",
                operation_id=operation.operation_id,
                state=operation.state,
                reason=operation.outcome,
                counts=dict(operation.counts or operation.counted),
            )

    async def _report(self, run: _Run) -> None:
        """Write the progress again and again, and follow what other consoles have written."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            try:
                await self._write_progress(run)
            except TransientError as error:
                log.warning(
                    "operation.progress_not_written", operation_id=run.operation_id, reason=str(error)
                )

    async def _write_progress(self, run: _Run) -> None:
        began_s = self._monotonic()
        try:
            operation = await self._store.change(run.operation_id, partial(self._with_progress, run))
        except OperationStateError:
            operation = None
        if operation is None:
            run.switch.stop("another console has ended it")
            return
        run.written_s = began_s
        _follow(run, operation)

    def _with_progress(self, run: _Run, operation: Operation) -> Operation:
        progress = run.progress
        return with_progress(
            operation, dict(progress.counts), tuple(progress.errors), owner=self._owner, at=self._clock()
        )

    def _log(self, what: str, operation: Operation, *, by: str) -> None:
        selected = {name: str(value) for name, value in asdict(operation.selection).items() if value}
        log_action(
            by=by,
            action=f"{COMMANDS[operation.action]}: {what}",
            filter={**selected, "operation_id": operation.operation_id},
            count=operation.handled or operation.expected or 0,
        )


class _Guard:
    """Implements `Control`: lets no batch begin unless the progress was written a short time ago."""

    def __init__(
        self, run: _Run, write: Callable[[], Awaitable[None]], monotonic: Callable[[], float]
    ) -> None:
        self._run, self._write, self._monotonic = run, write, monotonic

    async def checkpoint(self) -> None:
        """Return when the repair may continue."""
        await self._run.switch.checkpoint()
        if self._monotonic() - self._run.written_s > _SAFE_S:
            await self._write()
            await self._run.switch.checkpoint()


def _follow(run: _Run, operation: Operation) -> None:
    """Pause, resume or stop as the operation in the table says, unless a later write was followed already."""
    if operation.revision < run.revision:
        return
    run.revision = operation.revision
    match operation.state:
        case State.PAUSED:
            run.switch.pause()
        case State.RUNNING | State.COUNTING:
            run.switch.resume()
        case _:
            run.switch.stop(stop_reason(operation))
