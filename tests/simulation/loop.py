"""
Event loops on virtual time: one for each simulated process, all driven by one scheduler.

Nothing waits: the scheduler takes the next event, sets the time to its time, and runs it and every callback
that it makes ready. A process can be killed, after which none of its callbacks ever runs again, or suspended,
which delays them until it is resumed. Within a process, callbacks run in the order in which they became
ready, as in asyncio; the order between processes follows from the times of the events, and for equal times
from the seed.
"""

import asyncio
import heapq
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.chance import Chance

_CLOSE_ROUNDS: Final = 20
"""How often a coroutine that awaits while it is closed is closed again."""

_RESOLUTION_S: Final = 0.001
"""Timers of a real loop are late by up to this."""


class Handle:
    """A callback that can be cancelled; the part of `asyncio.TimerHandle` that asyncio uses."""

    __slots__ = ("_args", "_callback", "_context", "_is_cancelled", "_when")

    def __init__(
        self, callback: Callable[..., object], args: tuple[object, ...], context: Context | None, when: float
    ) -> None:
        self._callback, self._args, self._when = callback, args, when
        self._context = copy_context() if context is None else context
        self._is_cancelled = False

    def cancel(self) -> None:
        self._is_cancelled = True

    def cancelled(self) -> bool:
        return self._is_cancelled

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        if not self._is_cancelled:
            self._context.run(self._callback, *self._args)


class SimulatedTask(asyncio.Task):
    """A task whose hash does not depend on its address: sets of tasks have the same order in each run."""

    _numbers = count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class Scheduler:
    """
    Runs events in the order of their virtual times.

    Args:
        chance: Orders events at the same time, and delays timers within the resolution of a real clock.
    """

    def __init__(self, chance: Chance) -> None:
        self.now_s = 0.0
        self.events = 0
        self.current: ProcessLoop | None = None
        self.processes: list[ProcessLoop] = []
        self.runnable: deque[ProcessLoop] = deque()
        self.order, self.lateness = chance.fractions("order"), chance.fractions("timer")
        self._heap: list[tuple[float, float, int, Callable[..., object], tuple[object, ...]]] = []
        self._sequence = count()
        self._is_stopped = False

    def at(self, time_s: float, callback: Callable[..., object], *args: object) -> None:
        """Run a callback at a time, outside all processes."""
        time_s = max(time_s, self.now_s)
        heapq.heappush(self._heap, (time_s, self.order(), next(self._sequence), callback, args))

    def after(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:
        """Run a callback after a delay, outside all processes."""
        time_s = self.now_s + max(delay_s, 0.0)
        heapq.heappush(self._heap, (time_s, self.order(), next(self._sequence), callback, args))

    def stop(self) -> None:
        """End `run` after the current callback."""
        self._is_stopped = True

    def run(self, *, until_s: float, max_events: int) -> bool:
        """Run events until a time, or until there are none; return whether it ended before `max_events`."""
        heap, runnable = self._heap, self.runnable
        limit = self.events + max_events
        self.drain()
        while not self._is_stopped and heap and heap[0][0] <= until_s:
            if self.events >= limit:
                return False
            self.events += 1
            self.now_s, _, _, callback, args = heapq.heappop(heap)
            callback(*args)
            if runnable:
                self.drain()
        if not self._is_stopped:
            self.now_s = max(self.now_s, until_s)
        return True

    def drain(self) -> None:
        """Run every callback that is ready, in all processes."""
        while self.runnable and not self._is_stopped:
            self.runnable.popleft().drain(self)

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def close(self) -> None:
        """Dispose of the tasks of all processes; no callback runs any more."""
        self._is_stopped = True
        self._heap.clear()
        self.runnable.clear()
        for process in self.processes:
            process.dispose()


if TYPE_CHECKING:

    class _Base(asyncio.BaseEventLoop):
        """What mypy takes the base class for: a loop with all the methods that the worker never calls."""

else:
    _Base = asyncio.AbstractEventLoop


class ProcessLoop(_Base):
    """
    The event loop of one simulated process.

    Attributes:
        name: Name of the process, in the trace and as the worker id.
        is_dead: Whether the process has ended; it has no effect any more.
        clock_offset_s: Difference of its wall clock from the true time.
    """

    def __init__(self, scheduler: Scheduler, name: str, *, clock_offset_s: float = 0.0) -> None:
        self.scheduler, self.name, self.clock_offset_s = scheduler, name, clock_offset_s
        self.is_dead = self.is_suspended = False
        self.tasks: list[SimulatedTask] = []
        self.errors: list[str] = []
        self._ready: deque[Handle] = deque()
        self._is_queued = False
        scheduler.processes.append(self)

    # What asyncio calls.

    def time(self) -> float:
        return self.scheduler.now_s

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Any:
        handle = Handle(callback, args, context, self.scheduler.now_s)
        self._enqueue(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Any:
        return self.call_at(self.scheduler.now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Any:
        handle = Handle(callback, args, context, when)
        if not self.is_dead:
            late_s = _RESOLUTION_S * self.scheduler.lateness()
            self.scheduler.at(when + late_s, self._enqueue, handle)
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Context | None = None, **_: object) -> Any:
        task = SimulatedTask(coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # What the simulation calls.

    def start(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> SimulatedTask:
        """Start a task from outside the process."""
        with self._running():
            return self.create_task(coroutine, name=name)

    def drain(self, scheduler: Scheduler) -> None:
        """Run every callback that is ready, unless the process is suspended."""
        self._is_queued = False
        ready = self._ready
        if self.is_suspended:
            return
        outer, outer_loop = scheduler.current, events._get_running_loop()
        scheduler.current = self
        events._set_running_loop(self)
        try:
            while ready and not self.is_dead:
                ready.popleft().run()
        finally:
            events._set_running_loop(outer_loop)
            scheduler.current = outer
        if self.is_dead:
            ready.clear()

    def suspend(self) -> None:
        """Stop running callbacks; timers that become due meanwhile run when it is resumed."""
        self.is_suspended = True

    def resume(self) -> None:
        self.is_suspended = False
        if self._ready and not self.is_dead:
            self._queue()

    def kill(self) -> None:
        """End the process where it is: none of its code runs again, not even `finally` blocks."""
        self.is_dead = True
        self._ready.clear()

    def dispose(self) -> None:
        """Close the coroutines of unfinished tasks, so that they are not collected later, with warnings."""
        self.kill()
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            with self._running():
                for task in self.tasks:  # closing may add further tasks
                    _close(task)
        finally:
            sys.unraisablehook = hook
        self.tasks.clear()

    def unretrieved_errors(self) -> Iterator[str]:
        """Yield the errors of tasks that have ended with one which no code has seen."""
        for task in self.tasks:
            if task.done() and getattr(task, "_log_traceback", False):
                yield f"{task.get_name()}: {task.exception()!r}"
        yield from self.errors

    def _enqueue(self, handle: Handle) -> None:
        if not self.is_dead and not handle._is_cancelled:
            self._ready.append(handle)
            if not self._is_queued and not self.is_suspended:
                self._queue()

    def _queue(self) -> None:
        self._is_queued = True
        self.scheduler.runnable.append(self)

    @contextmanager
    def _running(self) -> Iterator[None]:
        outer, outer_loop = self.scheduler.current, events._get_running_loop()
        self.scheduler.current = self
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(outer_loop)
            self.scheduler.current = outer


@contextmanager
def without_registry() -> Iterator[None]:
    """Leave new tasks out of `asyncio.all_tasks()`, which nothing calls: a weak set in Python is slow."""
    registry: Any = getattr(asyncio.tasks, "_all_tasks", None)  # up to Python 3.11
    if registry is None:
        yield
        return
    registry.add = lambda _: None
    try:
        yield
    finally:
        del registry.add


def _close(task: SimulatedTask) -> None:
    if task.done():
        task._log_traceback = False  # the simulation has looked at it
        return
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # the process was killed
    coroutine = task.get_coro()
    for _ in range(_CLOSE_ROUNDS):
        try:
            coroutine.close()
        except RuntimeError:  # it awaits in a `finally` block
            continue
        except Exception:  # noqa: BLE001 - its own, in a process that no longer exists
            return
        else:
            return
