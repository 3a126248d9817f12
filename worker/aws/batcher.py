"""Coalesce concurrent calls into batch requests."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Batcher(Generic[Entry]):
    """
    Sends entries in batches, one batch at a time; entries submitted while one is in flight form the next.

    Args:
        send: Sends a batch; returns for each entry, in order, None or the error to raise from its `submit`.
        max_entries: Maximum number of entries in a batch.
        name: Name of the task that sends the batches.
        linger_s: How long an incomplete batch waits for more entries before it is sent.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Entry]], Awaitable[Sequence[Exception | None]]],
        *,
        max_entries: int,
        name: str,
        linger_s: float = 0.0,
    ) -> None:
        self._send, self._max_entries, self._name, self._linger_s = send, max_entries, name, linger_s
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no entry is waiting or in flight."""
        return self._task is None

    async def submit(self, entry: Entry) -> None:
        """
        Send the entry with the next batch, and wait until it has been sent.

        Cancelling the caller has no effect on an entry whose batch is in flight.
        """
        sent = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, sent))
        if self._task is None:
            # An empty context: the batch does not inherit the log fields and trace of its first entry.
            self._task = asyncio.create_task(self._send_all(), name=self._name, context=Context())
        await sent

    async def close(self) -> None:
        """Wait until all submitted entries have been sent."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _send_all(self) -> None:
        limit = self._max_entries
        try:
            while self._waiting:
                if len(self._waiting) < limit and self._linger_s:
                    await asyncio.sleep(self._linger_s)
                batch = [(entry, sent) for entry, sent in self._waiting[:limit] if not sent.cancelled()]
                del self._waiting[:limit]
                if batch:
                    await self._send_batch(batch)
        finally:
            self._task = None

    async def _send_batch(self, batch: Sequence[tuple[Entry, asyncio.Future[None]]]) -> None:
        try:
            errors = await self._send([entry for entry, _ in batch])
        except Exception as error:  # noqa: BLE001 - raised from the `submit` of each entry
            errors = [error] * len(batch)
        for (_, sent), error_or_none in zip(batch, errors, strict=True):
            if sent.done():
                continue  # its caller was cancelled
            if error_or_none is None:
                sent.set_result(None)
            else:
                sent.set_exception(error_or_none)
