"""Single calls that come at the same time, gathered into few."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Batcher(Generic[Entry]):
    """
    Sends entries in batches, one batch in flight: what comes meanwhile goes together in the next.

    Args:
        send: Sends a batch; returns for each entry, in order, None or the error that its caller gets.
        most: Entries in one batch.
        name: Of the task.
        linger_s: How long the first entry waits for company when nothing is in flight.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Entry]], Awaitable[Sequence[Exception | None]]],
        *,
        most: int,
        name: str,
        linger_s: float = 0.0,
    ) -> None:
        self._send, self._most, self._name, self._linger_s = send, most, name, linger_s
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing waits and nothing is in flight."""
        return self._task is None

    async def submit(self, entry: Entry) -> None:
        """
        Send the entry with the next batch and wait until it is through.

        Cancelling the caller does not take the entry back once its batch is on its way.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        if self._task is None:
            # In a context of its own: a batch is no part of whatever its first entry belongs to.
            self._task = asyncio.create_task(self._work_off(), name=self._name, context=Context())
        await done

    async def close(self) -> None:
        """Wait until everything submitted is through."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _work_off(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < self._most and self._linger_s:
                    await asyncio.sleep(self._linger_s)
                batch = [(entry, done) for entry, done in self._waiting[: self._most] if not done.cancelled()]
                del self._waiting[: self._most]
                if batch:
                    await self._send_batch(batch)
        finally:
            self._task = None

    async def _send_batch(self, batch: Sequence[tuple[Entry, asyncio.Future[None]]]) -> None:
        try:
            results = await self._send([entry for entry, _ in batch])
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait for the batch
            results = [error] * len(batch)
        for (_, done), error_or_none in zip(batch, results, strict=True):
            if done.done():
                continue  # the caller was cancelled meanwhile; what was sent stands
            if error_or_none is None:
                done.set_result(None)
            else:
                done.set_exception(error_or_none)
