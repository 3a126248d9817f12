"""Decoder children kept alive in a fixed number, lent to one picture at a time."""

import asyncio
from collections import deque
from typing import Final

import structlog

from worker.decoder_pool.process import DecoderProcess
from worker.domain.errors import TransientError
from worker.ipc.messages import Setup

_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 30.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DecoderSupervisor:
    """
    As many children as asked for, each kept alive by one task.

    A child that ends, however it ends, is reaped and replaced at once; one that never lived to see a picture
    is replaced after a delay that doubles each time.

    Args:
        processes: How many.
        setup: What each is told at its start.
        pictures_each: How many pictures one is lent to before it is replaced.
        growth_mb: By how much memory one may grow before it is replaced.
    """

    def __init__(self, *, processes: int, setup: Setup, pictures_each: int, growth_mb: int) -> None:
        self.processes = processes
        self.starts = 0
        self.is_running = False
        self._setup = setup
        self._pictures_each = pictures_each
        self._growth_mb = growth_mb
        self._alive: set[DecoderProcess] = set()
        self._idle: deque[DecoderProcess] = deque()
        self._waiting: deque[asyncio.Future[DecoderProcess]] = deque()
        self._keepers: set[asyncio.Task[None]] = set()

    @property
    def alive(self) -> frozenset[DecoderProcess]:
        """The children that are up."""
        return frozenset(self._alive)

    @property
    def idle(self) -> int:
        """How many of them have no picture."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many pictures wait for one."""
        return len(self._waiting)

    async def start(self) -> None:
        """
        Start all children and wait until they are ready.

        Raises:
            TransientError: One of them cannot be started; none is left running.
        """
        self.is_running = True
        loop = asyncio.get_running_loop()
        first_starts = [loop.create_future() for _ in range(self.processes)]
        for first_start in first_starts:
            task = asyncio.create_task(self._supervise(first_start), name="decoder-keeper")
            self._keepers.add(task)
            task.add_done_callback(self._keeper_ended)
        try:
            await asyncio.gather(*first_starts)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Kill and reap all children; whoever waits for one gets a TransientError."""
        self.is_running = False
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._fail_waiting(stopped())

    async def acquire(self) -> DecoderProcess:
        """
        Wait for a child; first come, first served. Give it back, whatever happens.

        Raises:
            TransientError: The children are stopped, or cannot be started.
        """
        if not self.is_running:
            raise stopped()
        if self._idle:
            return self._idle.pop()
        turn: asyncio.Future[DecoderProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.release(turn.result(), is_intact=True)  # it came just when it was no longer wanted
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def release(self, decoder: DecoderProcess, *, is_intact: bool) -> None:
        """Lend the child to the next picture; or end it when it is worn, or in an unknown state."""
        is_fit = is_intact and decoder in self._alive and decoder.pictures < self._pictures_each
        if is_fit and self.is_running and decoder.growth_mb() <= self._growth_mb:
            self._offer(decoder)
        else:
            decoder.kill()
            decoder.close()

    def _offer(self, decoder: DecoderProcess) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(decoder)
                return
        self._idle.append(decoder)

    async def _supervise(self, first_start: asyncio.Future[None]) -> None:
        """Keep one child alive: start it, wait for its end, start the next."""
        delay_s = 0.0
        while True:
            try:
                decoder = await DecoderProcess.start(self._setup)
            except TransientError as error:
                if not first_start.done():
                    first_start.set_exception(error)
                    return
                _log.error("decoder.start_failed", reason=str(error), delay_s=delay_s)
                if not self._alive:
                    self._fail_waiting(error)
            else:
                if not first_start.done():
                    first_start.set_result(None)
                await self._until_ended(decoder)
                if decoder.pictures:
                    delay_s = 0.0
                    continue
            delay_s = min(max(2 * delay_s, _FIRST_DELAY_S), _LONGEST_DELAY_S)
            await asyncio.sleep(delay_s)

    async def _until_ended(self, decoder: DecoderProcess) -> None:
        """Lend a child to pictures until its process has ended; end it when cancelled."""
        self.starts += 1
        self._alive.add(decoder)
        _log.debug("decoder.started", pid=decoder.pid)
        self._offer(decoder)
        try:
            status = await decoder.exited()
            _log.debug("decoder.ended", pid=decoder.pid, pictures=decoder.pictures, status=status)
        finally:
            self._alive.discard(decoder)
            if decoder in self._idle:
                self._idle.remove(decoder)
                decoder.close()
            decoder.kill()
            await decoder.exited()

    def _keeper_ended(self, task: asyncio.Task[None]) -> None:
        self._keepers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("decoder.keeper_died", exc_info=error)
            self._fail_waiting(TransientError(f"the keeper of a decoder child died: {error!r}"))

    def _fail_waiting(self, error: TransientError) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)


def stopped() -> TransientError:
    """Return the error of a picture whose pool is stopped."""
    return TransientError("the decoder pool is stopped")
