"""Operations in memory, and repairs that follow a script."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from worker.console.operations.operation import Operation
from worker.domain.requester import Requester
from worker.repair.context import Reporter
from worker.repair.control import Control


class MemoryOperations:
    """
    Implements `runner.Operations`.

    Attributes:
        operations: The operations by id.
    """

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        self._changed = asyncio.Event()

    async def create(self, operation: Operation) -> Operation:
        return self._write(operation)

    async def get(self, operation_id: str) -> Operation | None:
        return self.operations.get(operation_id)

    async def change(self, operation_id: str, change: Callable[[Operation], Operation]) -> Operation | None:
        seen = self.operations.get(operation_id)
        return self._write(change(seen)) if seen else None

    async def until(self, operation_id: str, is_reached: Callable[[Operation], bool]) -> Operation:
        """Wait until an operation has reached a state, and return it."""
        async with asyncio.timeout(20):
            while not is_reached(self.operations[operation_id]):
                self._changed.clear()
                await self._changed.wait()
        return self.operations[operation_id]

    def _write(self, operation: Operation) -> Operation:
        written = replace(operation, revision=operation.revision + 1)
        self.operations[operation.operation_id] = written
        self._changed.set()
        return written


class SuspendedConnection:
    """Implements `runner.Operations` for a console that can be suspended: its requests wait then."""

    def __init__(self, store: MemoryOperations) -> None:
        self._store, self._resumed = store, asyncio.Event()
        self._resumed.set()

    def suspend(self) -> None:
        self._resumed.clear()

    def resume(self) -> None:
        self._resumed.set()

    async def create(self, operation: Operation) -> Operation:
        await self._resumed.wait()
        return await self._store.create(operation)

    async def get(self, operation_id: str) -> Operation | None:
        await self._resumed.wait()
        return await self._store.get(operation_id)

    async def change(self, operation_id: str, change: Callable[[Operation], Operation]) -> Operation | None:
        await self._resumed.wait()
        return await self._store.change(operation_id, change)


class Batches:
    """
    Implements `runner.Perform`: repairs images in batches, each of which waits to be released.

    Args:
        batches: Number of batches.
        images: Number of images in each.
        error: Raised after the last batch.
    """

    def __init__(self, batches: int, *, images: int = 10, error: Exception | None = None) -> None:
        self.requesters: list[Requester] = []
        self.started = self.total = 0
        self._batches, self._images, self._error = batches, images, error
        self._released = asyncio.Semaphore(0)
        self._progress = asyncio.Event()

    def release(self, batches: int = 1) -> None:
        """Let a number of batches end."""
        for _ in range(batches):
            self._released.release()

    async def until_started(self, batches: int) -> None:
        """Wait until a number of batches of a run have begun."""
        async with asyncio.timeout(20):
            while self.started < batches:
                self._progress.clear()
                await self._progress.wait()

    async def __call__(
        self,
        operation: Operation,
        *,
        requester: Requester,
        reporter: Reporter,
        control: Control,
        dry_run: bool,
    ) -> None:
        self.started = 0
        if not dry_run:
            self.requesters.append(requester)
        for batch in range(self._batches):
            await control.checkpoint()
            if not dry_run:
                self.started += 1
                self.total += 1
                self._progress.set()
                await self._released.acquire()
            for image in range(self._images):
                reporter.done("retried", image_id=f"{batch}-{image}", user_id="user_1")
        if self._error is not None:
            reporter.failed("img_1", "its upload is gone")
            raise self._error
