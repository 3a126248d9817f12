"""Keep decoder processes running, and assign each to a single image at a time."""

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from worker.decoder_pool.process import DecoderProcess
from worker.decoder_pool.starters import DecoderStarter
from worker.domain.errors import TransientError

_MIN_DELAY_S: Final = 0.1
_MAX_DELAY_S: Final = 30.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Reuse(StrEnum):
    """Which images a decoder may process after its first; see `docs/security.md`."""

    BATCH = "batch"
    """Those of any user."""
    SAME_USER = "same-user"
    """Those of the user of its first image."""
    NEVER = "never"
    """None."""


class Replacement(StrEnum):
    """Why a decoder is replaced."""

    NEXT_IMAGE = "next_image"
    """No decoder is reused."""
    NEXT_USER = "next_user"
    """It was kept for another user."""
    MAX_IMAGES = "max_images"
    """It has processed its maximum of images."""
    GROWTH = "growth"
    """Its memory has grown too much."""
    NOT_INTACT = "not_intact"
    """It rejected its image, was late, sent something unexpected, or its image was cancelled."""
    EXITED = "exited"
    """It exited by itself or was killed from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReusePolicy:
    """
    When a decoder is replaced although it has done what was expected.

    Attributes:
        reuse: Which images a decoder may process after its first.
        max_images: Number of images after which a decoder is replaced.
        max_growth_mb: Growth in memory, in mebibytes, above which a decoder is replaced.
    """

    reuse: Reuse = Reuse.BATCH
    max_images: int = 500
    max_growth_mb: int = 384


@dataclass(frozen=True, slots=True)
class _Waiter:
    user_id: str
    decoder: asyncio.Future[DecoderProcess]


class DecoderSupervisor:
    """
    Starts decoders, replaces those that exit or may not be reused, and queues the images that wait for one.

    Decoders are fresh (without an image yet), busy, or kept (idle, for images that may reuse them). In order
    that a fresh one is ready when it is needed, there are as many as can be busy; with `Reuse.BATCH`, all
    decoders together are as many as can be busy. A decoder that exits before it received an image is replaced
    after a delay that doubles each time.

    Args:
        processes: Maximum number of busy decoders.
        starter: Starts decoders.
        policy: When decoders are replaced.
    """

    def __init__(self, *, processes: int, starter: DecoderStarter, policy: ReusePolicy) -> None:
        self.processes = processes
        self.is_running = False
        self.replacements = Counter[Replacement]()
        self._starter = starter
        self._policy = policy
        self._alive: set[DecoderProcess] = set()
        self._fresh: deque[DecoderProcess] = deque()
        self._kept: list[DecoderProcess] = []
        self._busy: set[DecoderProcess] = set()
        self._starting = 0
        self._delay_s = 0.0
        self._waiters: deque[_Waiter] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @property
    def alive(self) -> frozenset[DecoderProcess]:
        """The running decoders."""
        return frozenset(self._alive)

    @property
    def busy(self) -> frozenset[DecoderProcess]:
        """The running decoders that are assigned to an image."""
        return frozenset(self._busy & self._alive)

    @property
    def waiting(self) -> int:
        """Number of images that wait for a decoder."""
        return len(self._waiters)

    async def start(self) -> None:
        """
        Start decoders and wait until they are ready.

        Raises:
            TransientError: A decoder cannot be started; those that were started have been stopped.
        """
        self.is_running = True
        self._starting = self.processes
        try:
            await self._start_first()  # if that fails, the others would fail for the same reason
            await asyncio.gather(*(self._start_first() for _ in range(self.processes - 1)))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Kill and reap all decoders; images that wait for one get a `TransientError`."""
        self.is_running = False
        self._stopping.set()
        self._fail_waiters(pool_stopped_error())
        for decoder in self._alive:
            decoder.kill()
        await self._starter.stop()
        while self._tasks:
            await asyncio.wait(self._tasks)  # unlike gather, it lets their callbacks run if all are done

    async def acquire(self, user_id: str) -> DecoderProcess:
        """
        Wait for a decoder for an image of a user, in order of arrival. The caller must pass it to `release`.

        Raises:
            TransientError: The supervisor is stopped, or no decoder can be started.
        """
        if not self.is_running:
            raise pool_stopped_error()
        waiter = _Waiter(user_id, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._assign()
        try:
            return await waiter.decoder
        except asyncio.CancelledError:
            future = waiter.decoder
            if future.done() and not future.cancelled() and future.exception() is None:
                self._return_unused(future.result())  # assigned and cancelled in the same iteration
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def release(self, decoder: DecoderProcess, *, is_intact: bool) -> None:
        """
        Keep the decoder for the next image, or kill it when it must be replaced.

        Args:
            decoder: A decoder from `acquire`.
            is_intact: Whether the decoder is ready for another image; False if it has not done exactly what
                was expected: it may have been taken over by its image.
        """
        self._busy.discard(decoder)
        reason = self._reason_to_replace(decoder, is_intact=is_intact)
        if reason is None and decoder in self._alive:
            self._kept.append(decoder)
        else:
            self._discard(decoder, reason or Replacement.EXITED)
        self._assign()

    def _reason_to_replace(self, decoder: DecoderProcess, *, is_intact: bool) -> Replacement | None:
        """Return why the decoder may not be kept; None if it may."""
        if not is_intact:
            return Replacement.NOT_INTACT
        if self._policy.reuse is Reuse.NEVER:
            return Replacement.NEXT_IMAGE
        if decoder.images >= self._policy.max_images:
            return Replacement.MAX_IMAGES
        return Replacement.GROWTH if decoder.growth_mb() > self._policy.max_growth_mb else None

    def _return_unused(self, decoder: DecoderProcess) -> None:
        """Take back a decoder that was acquired but has not been sent an image."""
        if decoder.images:
            self.release(decoder, is_intact=True)
            return
        self._busy.discard(decoder)
        if decoder in self._alive:
            self._fresh.append(decoder)
        else:
            decoder.close()
        self._assign()

    def _assign(self) -> None:
        """Assign decoders to the images that wait, in order, and start what is missing."""
        while self._waiters and len(self._busy) < self.processes:
            if self._waiters[0].decoder.done():
                self._waiters.popleft()
                continue
            decoder = self._take(self._waiters[0].user_id)
            if decoder is None:
                break
            self._busy.add(decoder)
            self._waiters.popleft().decoder.set_result(decoder)
        if self.is_running:
            for _ in range(self._wanted()):
                self._starting += 1
                self._add_task(self._start_decoder(), name="decoder-start")

    def _take(self, user_id: str) -> DecoderProcess | None:
        """Return an idle decoder for an image of the user: the one used last, or a fresh one."""
        for decoder in reversed(self._kept):
            if self._policy.reuse is Reuse.BATCH or decoder.user_id == user_id:
                self._kept.remove(decoder)
                return decoder
        if not self._fresh:
            return None
        if len(self._kept) + len(self._busy) >= self._max_used:
            self._discard(self._kept.pop(0), Replacement.NEXT_USER)
        return self._fresh.popleft()

    @property
    def _max_used(self) -> int:
        return self.processes if self._policy.reuse is Reuse.BATCH else 2 * self.processes

    def _wanted(self) -> int:
        """Return how many decoders have to be started."""
        ready = len(self._fresh) + self._starting
        if self._policy.reuse is Reuse.BATCH:
            ready += len(self._kept) + len(self._busy)
        return max(0, self.processes - ready)

    def _discard(self, decoder: DecoderProcess, reason: Replacement) -> None:
        if self.is_running:
            self.replacements[reason] += 1
        self._alive.discard(decoder)
        decoder.kill()
        decoder.close()

    async def _start_first(self) -> None:
        decoder = await self._starter.start_decoder()
        self._starting -= 1
        self._supervise(decoder)

    async def _start_decoder(self) -> None:
        """Start a decoder, after the delay and after further delays while that fails."""
        while self.is_running:
            if self._delay_s and await self._is_stopped_within(self._delay_s):
                break
            try:
                decoder = await self._starter.start_decoder()
            except TransientError as error:
                if self.is_running:
                    _log.error("decoder.start_failed", reason=str(error), delay_s=self._delay_s)
                if not self._alive:
                    self._fail_waiters(error)
                self._increase_delay()
            else:
                self._starting -= 1
                self._supervise(decoder)
                return
        self._starting -= 1

    def _supervise(self, decoder: DecoderProcess) -> None:
        """Offer a decoder to images, and watch it until it exits."""
        _log.debug("decoder.started", pid=decoder.pid)
        self._alive.add(decoder)
        self._fresh.append(decoder)
        self._add_task(self._watch(decoder), name="decoder-supervisor")
        if self.is_running:
            self._assign()
        else:
            decoder.kill()

    async def _watch(self, decoder: DecoderProcess) -> None:
        """Wait until a decoder has exited, and replace it."""
        status = await decoder.wait()
        _log.debug("decoder.exited", pid=decoder.pid, images=decoder.images, status=status)
        self._alive.discard(decoder)
        for idle in (self._fresh, self._kept):
            if decoder in idle:
                idle.remove(decoder)
                self._discard(decoder, Replacement.EXITED)
        if decoder.images:
            self._delay_s = 0.0
        elif self.is_running:
            self._increase_delay()
        self._assign()

    def _increase_delay(self) -> None:
        self._delay_s = min(max(2 * self._delay_s, _MIN_DELAY_S), _MAX_DELAY_S)

    async def _is_stopped_within(self, delay_s: float) -> bool:
        """Wait for a time; return True at once when the supervisor is stopped."""
        try:
            async with asyncio.timeout(delay_s):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    def _add_task(self, coroutine: Coroutine[object, object, None], *, name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("decoder.supervision_failed", exc_info=error)
            self._fail_waiters(TransientError(f"the supervision of a decoder process failed: {error!r}"))

    def _fail_waiters(self, error: TransientError) -> None:
        while self._waiters:
            waiter = self._waiters.popleft().decoder
            if not waiter.done():
                waiter.set_exception(error)


def pool_stopped_error() -> TransientError:
    """Return the error of an image whose decoder pool has been stopped."""
    return TransientError("the decoder pool has been stopped")
