"""Pictures in the real pool, and what becomes of them when children fail."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from PIL import Image

from tests.support.pictures import BLUE, GREEN, RED, WHITE, animation, encoded, noise, opened, quarters, scene
from tests.support.pools import (
    ALL_OUTCOMES,
    HEAVY,
    HEAVY_PNG,
    RECIPE,
    SMALL_JPEG,
    busy_pid,
    ended,
    make_pool,
    only_pid,
    outcomes_of,
    until,
)
from worker.decoder_pool.pool import DecoderPool
from worker.domain.errors import (
    DecodeOutOfMemoryError,
    DecoderCrashedError,
    DecodeTimeoutError,
    FormatNotAllowedError,
    NotAnImageError,
    RejectedError,
    TruncatedError,
)
from worker.domain.recipe import Animation, Logo, Recipe, Size
from worker.domain.status import StepMove, StepName
from worker.domain.step import EncodedRendition, StepReport


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    async with make_pool() as started:
        yield started


async def test_a_picture_yields_its_reports_and_then_its_renditions(pool: DecoderPool) -> None:
    *reports, medium, thumbnail = await outcomes_of(pool, encoded(scene(1600, 1000), "JPEG"))
    assert [(report.step, report.move) for report in reports if isinstance(report, StepReport)] == [
        (step, StepMove.COMPLETED) for step in StepName
    ]
    assert isinstance(medium, EncodedRendition)
    assert isinstance(thumbnail, EncodedRendition)
    assert (medium.size, medium.width, medium.height, medium.format) == ("medium", 800, 500, "jpeg")
    assert (thumbnail.size, thumbnail.width, thumbnail.height) == ("thumbnail", 150, 94)
    for found, expected in zip(quarters(opened(medium.content)), (RED, GREEN, BLUE, WHITE), strict=True):
        assert all(abs(a - b) < 12 for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_any_kind_of_buffer_is_taken(pool: DecoderPool, kind: Callable[[bytes], Any]) -> None:
    assert len(await outcomes_of(pool, kind(SMALL_JPEG))) == ALL_OUTCOMES


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", NotAnImageError),
        (b"not a picture", NotAnImageError),
        (encoded(scene(64, 64), "ICO"), FormatNotAllowedError),
        (encoded(noise(100, 100), "PNG")[:9000], TruncatedError),
    ],
)
async def test_a_refused_picture_keeps_the_child(
    pool: DecoderPool, content: bytes, error: type[RejectedError]
) -> None:
    before = pool.pids
    with pytest.raises(error) as refused:
        await outcomes_of(pool, content)
    assert str(refused.value)
    assert len(await outcomes_of(pool, SMALL_JPEG)) == ALL_OUTCOMES
    assert (pool.pids, pool.restarts) == (before, 0)


async def test_a_child_that_hangs_fails_only_its_picture() -> None:
    async with make_pool(processes=2, step_timeout_s=2.0) as pool:
        async with aclosing(pool.run(HEAVY_PNG, HEAVY)) as outcomes:
            await anext(
                outcomes
            )  # the child cannot finish: its rendition is larger than the connection holds
            stuck = busy_pid(pool)
            watched = os.pidfd_open(stuck)
            os.kill(stuck, signal.SIGSTOP)
            neighbours = [asyncio.create_task(outcomes_of(pool, SMALL_JPEG)) for _ in range(8)]
            with pytest.raises(DecodeTimeoutError) as refused:
                _ = [outcome async for outcome in outcomes]
        assert refused.value.limit_s == 2.0
        assert {len(done) for done in await asyncio.gather(*neighbours)} == {ALL_OUTCOMES}
        await ended(watched)
        await until(lambda: stuck not in pool.pids and pool.alive == 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_child_that_dies_fails_only_its_picture(number: signal.Signals) -> None:
    async with make_pool(processes=2) as pool:
        async with aclosing(pool.run(HEAVY_PNG, HEAVY)) as outcomes:
            await anext(outcomes)
            os.kill(busy_pid(pool), number)
            neighbours = [asyncio.create_task(outcomes_of(pool, SMALL_JPEG)) for _ in range(8)]
            with pytest.raises(DecoderCrashedError) as refused:
                _ = [outcome async for outcome in outcomes]
        assert refused.value.exit_status == f"signal {number.value}"
        assert {len(done) for done in await asyncio.gather(*neighbours)} == {ALL_OUTCOMES}
        assert pool.restarts <= 1


async def test_a_picture_that_needs_too_much_memory_is_refused_and_the_child_lives() -> None:
    async with make_pool(decoder_memory_mb=320) as pool:
        before = only_pid(pool)
        with pytest.raises(DecodeOutOfMemoryError):
            await outcomes_of(pool, encoded(scene(12_000, 8_000), "PNG"))
        assert len(await outcomes_of(pool, SMALL_JPEG)) == ALL_OUTCOMES
        assert only_pid(pool) == before


async def test_closing_the_outcomes_early_replaces_the_child(pool: DecoderPool) -> None:
    before = only_pid(pool)
    async with aclosing(pool.run(HEAVY_PNG, HEAVY)) as outcomes:
        await anext(outcomes)
    assert len(await outcomes_of(pool, SMALL_JPEG)) == ALL_OUTCOMES
    assert only_pid(pool) != before


async def test_a_refused_picture_leaves_its_memory_to_the_next() -> None:
    whole = encoded(scene(8000, 6000), "PNG")
    async with make_pool(decoder_memory_mb=360) as pool:
        for _ in range(3):
            with pytest.raises(TruncatedError):
                await outcomes_of(pool, whole[:-200])
            assert len(await outcomes_of(pool, whole)) == ALL_OUTCOMES
        assert pool.restarts == 0


async def test_cancelling_a_picture_replaces_the_child(pool: DecoderPool) -> None:
    before = only_pid(pool)
    has_begun = asyncio.Event()

    async def work() -> None:
        async with aclosing(pool.run(HEAVY_PNG, HEAVY)) as outcomes:
            async for _ in outcomes:
                has_begun.set()

    task = asyncio.create_task(work())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await outcomes_of(pool, SMALL_JPEG)) == ALL_OUTCOMES
    assert only_pid(pool) != before


async def test_cancelling_a_picture_that_waits_costs_nobody_a_child(pool: DecoderPool) -> None:
    before = pool.pids
    async with aclosing(pool.run(SMALL_JPEG, RECIPE)) as outcomes:
        await anext(outcomes)
        waiting = [asyncio.create_task(outcomes_of(pool, SMALL_JPEG)) for _ in range(4)]
        await until(lambda: pool.waiting == len(waiting))
        waiting[0].cancel()
        waiting[2].cancel()
        _ = [outcome async for outcome in outcomes]
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [len(result) if isinstance(result, list) else type(result) for result in done] == [
        asyncio.CancelledError,
        ALL_OUTCOMES,
        asyncio.CancelledError,
        ALL_OUTCOMES,
    ]
    assert (pool.pids, pool.waiting) == (before, 0)


def with_logo(colour: str) -> Recipe:
    content = encoded(Image.new("RGB", (100, 100), colour), "PNG")
    return RECIPE.with_logo(Logo(f"s3://bucket/logos/{colour}.png", e_tag=colour, content=content))


async def test_a_logo_reaches_the_child_and_the_next_one_replaces_it(pool: DecoderPool) -> None:
    for colour, band in (("red", 0), ("red", 0), ("blue", 2), ("red", 0)):
        outcomes = await outcomes_of(pool, encoded(Image.new("RGB", (800, 600)), "PNG"), with_logo(colour))
        main = next(outcome for outcome in outcomes if isinstance(outcome, EncodedRendition))
        found = opened(main.content).getpixel((740, 540))
        assert isinstance(found, tuple)
        assert [level > 100 for level in found] == [number == band for number in range(3)]


async def test_a_kept_animation_may_weigh_more_than_one_frame(pool: DecoderPool) -> None:
    recipe = Recipe(sizes=(Size("small", 200, 200),), watermark=None, animation=Animation.KEEP)
    content = animation("GIF", frames=12, width=200, height=200)
    outcomes = await outcomes_of(pool, content, recipe)
    assert isinstance(outcomes[-1], EncodedRendition)
    assert len(outcomes[-1].content) > 5 * 200 * 200 + 65_536


async def test_pictures_are_served_in_the_order_in_which_they_came(pool: DecoderPool) -> None:
    order: list[int] = []

    async def work(number: int) -> None:
        await outcomes_of(pool, SMALL_JPEG)
        order.append(number)

    await asyncio.gather(*(work(number) for number in range(12)))
    assert order == list(range(12))
