"""Tasks that end with their owner."""

import asyncio
from collections.abc import Coroutine

import structlog

from worker.domain.requester import CONSOLE

log = structlog.get_logger(__name__)


class OwnedTasks:
    """Starts named tasks, logs the error of one that fails, and ends all of them together."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[object, object, None], *, name: str) -> asyncio.Task[None]:
        """Return a new task, which runs until it ends, is cancelled, or its owner is closed."""
        with structlog.contextvars.bound_contextvars(via=CONSOLE):  # some start without a request
            task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def close(self) -> None:
        """Cancel the tasks and wait until they have ended."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("console.task_failed", task=task.get_name(), exc_info=error)
