"""Run a poller while at least one reader needs its values."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from worker.console.live.latest import Latest
from worker.console.live.owned_tasks import OwnedTasks

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class SharedPoller(Generic[T]):
    """
    Runs one task for all readers of a value: it starts with the first, and is cancelled after the last.

    Args:
        poll: Publishes values until it is cancelled.
        tasks: Owner of the task.
        name: Name of the task.
        on_idle: Called when the last reader has left.
    """

    def __init__(
        self,
        poll: Callable[[Latest[T]], Coroutine[object, object, None]],
        *,
        tasks: OwnedTasks,
        name: str,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._poll, self._tasks, self._name, self._on_idle = poll, tasks, name, on_idle
        self._latest: Latest[T] = Latest()
        self._readers = 0
        self._running: asyncio.Task[None] | None = None

    @contextmanager
    def reading(self) -> Iterator[Latest[T]]:
        """Keep the poller running while the body runs, and pass the value that it publishes."""
        self._readers += 1
        if self._running is None or self._running.done():
            self._running = self._tasks.start(self._poll(self._latest), name=self._name)
        try:
            yield self._latest
        finally:
            self._readers -= 1
            if not self._readers:
                self._running.cancel()
                self._running = None
                self._on_idle()
