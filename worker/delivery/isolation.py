"""Let a delivery run alone in its worker, so that an image that kills the worker affects no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class Isolation:
    """
    Lets a delivery run while no other delivery of this worker does.

    A delivery that has to be alone waits until all others have ended or wait to be alone too. Until then, and
    until it has ended, no other delivery starts. Those that wait run one after another, lowest order first.
    """

    def __init__(self) -> None:
        self._running = 0  # deliveries that have started and do not wait to be alone
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # order, sequence number, turn
        self._sequence = count()
        self._has_turn = False
        self._alone: asyncio.Task[object] | None = None
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_open(self) -> bool:
        """Whether no delivery is alone or waits to be."""
        return not self._waiting and not self._has_turn

    async def until_open(self) -> None:
        """Wait until no delivery is alone or waits to be."""
        while not self.is_open:  # it may have closed again before this task runs
            await self._open.wait()

    @asynccontextmanager
    async def delivery(self) -> AsyncIterator[None]:
        """Run a delivery as the body, as soon as no other one is alone or waits to be."""
        await self.until_open()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._update()

    @asynccontextmanager
    async def alone(self, *, order: int) -> AsyncIterator[None]:
        """
        Run the body while no other delivery runs; for use inside of `delivery`.

        Args:
            order: Of the deliveries that wait, the one with the lowest order runs first.
        """
        if self._alone is asyncio.current_task():  # already
            yield
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((order, next(self._sequence), turn))
        self._running -= 1
        self._update()
        try:
            await turn
            self._alone = asyncio.current_task()
            yield
        finally:
            if turn.cancelled():  # before its turn
                self._running += 1
            else:
                self._has_turn, self._alone = False, None
            self._update()

    def _update(self) -> None:
        """Give the turn to the next delivery if none is running; open or close the worker for others."""
        self._waiting = [each for each in self._waiting if not each[2].cancelled()]
        if self._waiting and not self._has_turn and self._running <= 0:
            first = min(self._waiting)
            self._waiting.remove(first)
            turn = first[2]
            self._has_turn = True
            self._running += 1
            turn.set_result(None)
        if self.is_open:
            self._open.set()
        else:
            self._open.clear()
