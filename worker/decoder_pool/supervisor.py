"""Keep a fixed number of decoder processes running, and assign each to a single image at a time."""

import asyncio
from collections import deque
from typing import Final

import structlog

from worker.decoder_pool.process import DecoderProcess
from worker.domain.errors import TransientError
from worker.ipc.messages import Setup

_MIN_DELAY_S: Final = 0.1
_MAX_DELAY_S: Final = 30.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DecoderSupervisor:
    """
    Starts decoders, restarts those that exit, and queues the images that wait for one.

    Each decoder has a task that reaps and replaces it when it exits: at once if it received an image,
    otherwise after a delay that doubles each time.

    Args:
        processes: Number of decoders.
        setup: Configuration that each decoder gets when it starts.
        max_images: Number of images after which a decoder is replaced.
        max_growth_mb: Growth in memory, in mebibytes, above which a decoder is replaced.
    """

    def __init__(self, *, processes: int, setup: Setup, max_images: int, max_growth_mb: int) -> None:
        self.processes = processes
        self.starts = 0
        self.is_running = False
        self._setup = setup
        self._max_images = max_images
        self._max_growth_mb = max_growth_mb
        self._alive: set[DecoderProcess] = set()
        self._idle: deque[DecoderProcess] = deque()
        self._waiters: deque[asyncio.Future[DecoderProcess]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def alive(self) -> frozenset[DecoderProcess]:
        """The running decoders."""
        return frozenset(self._alive)

    @property
    def busy(self) -> frozenset[DecoderProcess]:
        """The running decoders that are assigned to an image."""
        return self.alive - set(self._idle)

    @property
    def waiting(self) -> int:
        """Number of images that wait for a decoder."""
        return len(self._waiters)

    async def start(self) -> None:
        """
        Start all decoders and wait until they are ready.

        Raises:
            TransientError: A decoder cannot be started; those that were started have been stopped.
        """
        self.is_running = True
        loop = asyncio.get_running_loop()
        first_starts = [loop.create_future() for _ in range(self.processes)]
        for first_start in first_starts:
            task = asyncio.create_task(self._supervise(first_start), name="decoder-supervisor")
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)
        try:
            await asyncio.gather(*first_starts)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Kill and reap all decoders; images that wait for one get a `TransientError`."""
        self.is_running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_waiters(pool_stopped_error())

    async def acquire(self) -> DecoderProcess:
        """
        Wait for an idle decoder, in order of arrival. The caller must pass it to `release`.

        Raises:
            TransientError: The supervisor is stopped, or no decoder can be started.
        """
        if not self.is_running:
            raise pool_stopped_error()
        if self._idle:
            return self._idle.pop()
        waiter: asyncio.Future[DecoderProcess] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result(), is_intact=True)  # assigned and cancelled in the same iteration
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def release(self, decoder: DecoderProcess, *, is_intact: bool) -> None:
        """
        Assign the decoder to the next image, or kill it when it must be replaced.

        Args:
            decoder: A decoder from `acquire`.
            is_intact: Whether the decoder is ready for another image; False if its state is unknown.
        """
        is_reusable = is_intact and decoder in self._alive and decoder.images < self._max_images
        if is_reusable and self.is_running and decoder.growth_mb() <= self._max_growth_mb:
            self._assign(decoder)
        else:
            decoder.kill()
            decoder.close()

    def _assign(self, decoder: DecoderProcess) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(decoder)
                return
        self._idle.append(decoder)

    async def _supervise(self, first_start: asyncio.Future[None]) -> None:
        """Start a decoder, wait until it exits, and repeat."""
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
                    self._fail_waiters(error)
            else:
                if not first_start.done():
                    first_start.set_result(None)
                await self._serve_until_exit(decoder)
                if decoder.images:
                    delay_s = 0.0
                    continue
            delay_s = min(max(2 * delay_s, _MIN_DELAY_S), _MAX_DELAY_S)
            await asyncio.sleep(delay_s)

    async def _serve_until_exit(self, decoder: DecoderProcess) -> None:
        """Offer a decoder to images until its process has exited; kill it when cancelled."""
        self.starts += 1
        self._alive.add(decoder)
        _log.debug("decoder.started", pid=decoder.pid)
        self._assign(decoder)
        try:
            status = await decoder.wait()
            _log.debug("decoder.exited", pid=decoder.pid, images=decoder.images, status=status)
        finally:
            self._alive.discard(decoder)
            if decoder in self._idle:
                self._idle.remove(decoder)
                decoder.close()
            decoder.kill()
            await decoder.wait()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("decoder.supervision_failed", exc_info=error)
            self._fail_waiters(TransientError(f"the supervision of a decoder process failed: {error!r}"))

    def _fail_waiters(self, error: TransientError) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)


def pool_stopped_error() -> TransientError:
    """Return the error of an image whose decoder pool has been stopped."""
    return TransientError("the decoder pool has been stopped")
