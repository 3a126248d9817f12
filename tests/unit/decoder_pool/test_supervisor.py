"""Which decoder an image gets, and when decoders are replaced, with decoders that are not processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from worker.decoder_pool.process import DecoderProcess
from worker.decoder_pool.supervisor import DecoderSupervisor, Replacement, Reuse, ReusePolicy
from worker.domain.errors import TransientError


class FakeDecoder:
    """Runs until it is killed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.images = 0
        self.user_id: str | None = None
        self.growth = 0
        self.is_closed = False
        self._has_exited = asyncio.Event()

    def kill(self) -> None:
        self._has_exited.set()

    def close(self) -> None:
        self.is_closed = True

    def growth_mb(self) -> int:
        return self.growth

    async def wait(self) -> str:
        await self._has_exited.wait()
        return "signal 9"


class FakeStarter:
    """Starts fake decoders at once, or raises `error`."""

    interpreter_starts = 1
    zygote_pid = None

    def __init__(self) -> None:
        self.started: list[FakeDecoder] = []
        self.error: TransientError | None = None
        self.is_stopped = False
        self.iterations_to_stop = 0

    async def start_decoder(self) -> DecoderProcess:
        if self.error is not None:
            raise self.error
        self.started.append(FakeDecoder(len(self.started) + 1))
        return cast("DecoderProcess", self.started[-1])

    async def stop(self) -> None:
        for _ in range(self.iterations_to_stop):
            await asyncio.sleep(0)
        self.is_stopped = True


@asynccontextmanager
async def supervising(
    starter: FakeStarter, *, processes: int = 1, **policy: Any
) -> AsyncIterator[DecoderSupervisor]:
    supervisor = DecoderSupervisor(processes=processes, starter=starter, policy=ReusePolicy(**policy))
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()
        assert starter.is_stopped
        assert not supervisor.alive
        assert all(decoder.is_closed for decoder in starter.started)


async def process(
    supervisor: DecoderSupervisor, user_id: str, *, is_intact: bool = True, growth: int = 0
) -> int:
    """Send an image to a decoder as the pool does; return the decoder's process id."""
    decoder = await supervisor.acquire(user_id)
    fake = cast("FakeDecoder", decoder)
    fake.images, fake.user_id, fake.growth = fake.images + 1, user_id, growth
    supervisor.release(decoder, is_intact=is_intact)
    return decoder.pid


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("reuse", "pids"),
    [
        pytest.param(Reuse.BATCH, [1, 1, 1, 1, 1], id="batch"),
        pytest.param(Reuse.SAME_USER, [1, 1, 2, 1, 2], id="same-user"),
        pytest.param(Reuse.NEVER, [1, 2, 3, 4, 5], id="never"),
    ],
)
async def test_the_mode_decides_which_decoder_an_image_gets(reuse: Reuse, pids: list[int]) -> None:
    async with supervising(FakeStarter(), reuse=reuse) as supervisor:
        found = [await process(supervisor, user_id) for user_id in ("ann", "ann", "ben", "ann", "ben")]
    assert found == pids


async def test_the_decoder_that_was_kept_longest_makes_room_for_another_user() -> None:
    async with supervising(FakeStarter(), reuse=Reuse.SAME_USER) as supervisor:
        kept = {user_id: await process(supervisor, user_id) for user_id in ("ann", "ben", "cy")}
        assert supervisor.replacements == {Replacement.NEXT_USER: 1}
        assert await process(supervisor, "cy") == kept["cy"]
        assert await process(supervisor, "ben") == kept["ben"]
        assert await process(supervisor, "ann") != kept["ann"]


@pytest.mark.parametrize(
    ("policy", "image", "reason"),
    [
        pytest.param({}, {"is_intact": False}, Replacement.NOT_INTACT, id="not intact"),
        pytest.param({"max_images": 1}, {}, Replacement.MAX_IMAGES, id="maximum of images"),
        pytest.param({"max_growth_mb": 10}, {"growth": 11}, Replacement.GROWTH, id="growth"),
        pytest.param({"reuse": Reuse.NEVER}, {}, Replacement.NEXT_IMAGE, id="next image"),
    ],
)
async def test_a_decoder_is_replaced_for_a_reason(
    policy: dict[str, Any], image: dict[str, Any], reason: Replacement
) -> None:
    async with supervising(FakeStarter(), **policy) as supervisor:
        first = await process(supervisor, "ann", **image)
        assert await process(supervisor, "ann") != first
        assert supervisor.replacements[reason] >= 1


@pytest.mark.parametrize("reuse", list(Reuse), ids=str)
async def test_no_more_images_are_processed_at_once_than_configured(reuse: Reuse) -> None:
    async with supervising(FakeStarter(), processes=2, reuse=reuse) as supervisor:
        busy = [await supervisor.acquire("ann"), await supervisor.acquire("ben")]
        third = asyncio.create_task(supervisor.acquire("cy"))
        await until(lambda: supervisor.waiting == 1)
        assert not third.done()
        supervisor.release(busy[0], is_intact=False)
        supervisor.release(await third, is_intact=False)
        supervisor.release(busy[1], is_intact=False)
        await until(lambda: len(supervisor.alive) == 2)


async def test_a_cancelled_image_returns_the_decoder_that_it_was_just_assigned() -> None:
    async with supervising(FakeStarter()) as supervisor:
        decoder = await supervisor.acquire("ann")
        waiting = asyncio.create_task(supervisor.acquire("ben"))
        await until(lambda: supervisor.waiting == 1)
        supervisor.release(decoder, is_intact=True)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not supervisor.busy
        assert await process(supervisor, "cy") == decoder.pid


async def test_a_decoder_that_exits_while_idle_is_replaced() -> None:
    starter = FakeStarter()
    async with supervising(starter, reuse=Reuse.SAME_USER) as supervisor:
        first = await process(supervisor, "ann")
        starter.started[first - 1].kill()
        await until(lambda: supervisor.replacements[Replacement.EXITED] == 1)
        assert await process(supervisor, "ann") != first


async def test_images_fail_as_transient_when_no_decoder_can_be_started() -> None:
    starter = FakeStarter()
    async with supervising(starter) as supervisor:
        starter.error = TransientError("no memory")
        decoder = await supervisor.acquire("ann")
        waiting = asyncio.create_task(supervisor.acquire("ben"))
        await until(lambda: supervisor.waiting == 1)
        supervisor.release(decoder, is_intact=False)
        with pytest.raises(TransientError, match="no memory"):
            await waiting


async def test_images_of_a_stopped_supervisor_fail_as_transient() -> None:
    async with supervising(FakeStarter()) as supervisor:
        decoder = await supervisor.acquire("ann")
        waiting = asyncio.create_task(supervisor.acquire("ben"))
        await until(lambda: supervisor.waiting == 1)
        stopping = asyncio.create_task(supervisor.stop())
        with pytest.raises(TransientError, match="stopped"):
            await waiting
        supervisor.release(decoder, is_intact=False)
        await stopping
        with pytest.raises(TransientError, match="stopped"):
            await supervisor.acquire("cy")


@pytest.mark.parametrize("iterations", range(6))
async def test_stopping_ends_whatever_iteration_of_the_loop_the_supervision_of_a_decoder_ends_in(
    iterations: int,
) -> None:
    """Since Python 3.12, awaiting `gather` of finished tasks does not let their callbacks run."""
    starter = FakeStarter()
    starter.iterations_to_stop = iterations
    async with supervising(starter, processes=2):
        pass
