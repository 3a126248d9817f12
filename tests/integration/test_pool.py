"""Images in a pool of real decoder processes, and what happens to them when a decoder fails."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from tests.support.pictures import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    animation,
    encoded,
    noise,
    opened,
    quadrant_colours,
    quadrants,
)
from tests.support.pools import (
    ALL_OUTPUTS,
    HEAVY,
    HEAVY_PNG,
    MEDIUM,
    RECIPE,
    SMALL_JPEG,
    THUMBNAIL,
    busy_pid,
    make_pool,
    only_pid,
    outputs_of,
    until,
    wait_for_exit,
)
from worker.decoder_pool.pool import DecoderPool
from worker.decoder_pool.supervisor import Replacement
from worker.domain.errors import (
    DecodeOutOfMemoryError,
    DecoderCrashedError,
    DecoderKilledError,
    DecodeTimeoutError,
    FormatNotAllowedError,
    NotAnImageError,
    RejectedError,
    TruncatedError,
)
from worker.domain.recipe import Animation, Logo, Recipe, Size, Watermark
from worker.domain.status import StepMove, StepName
from worker.domain.step import EncodedRendition, StepReport

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    """A pool of one decoder, which each test leaves idle."""
    async with make_pool() as started:
        yield started


async def test_an_image_yields_its_step_reports_and_then_its_renditions(pool: DecoderPool) -> None:
    *reports, medium, thumbnail = await outputs_of(pool, encoded(quadrants(1600, 1000), "JPEG"))
    assert [(report.step, report.move) for report in reports if isinstance(report, StepReport)] == [
        (step, StepMove.COMPLETED) for step in StepName
    ]
    assert isinstance(medium, EncodedRendition)
    assert isinstance(thumbnail, EncodedRendition)
    assert (medium.size, medium.width, medium.height, medium.format) == ("medium", 800, 500, "jpeg")
    assert (thumbnail.size, thumbnail.width, thumbnail.height) == ("thumbnail", 150, 94)
    for found, expected in zip(
        quadrant_colours(opened(medium.content)), (RED, GREEN, BLUE, WHITE), strict=True
    ):
        assert all(abs(a - b) < 12 for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_any_type_of_buffer_is_accepted(pool: DecoderPool, kind: Callable[[bytes], Any]) -> None:
    assert len(await outputs_of(pool, kind(SMALL_JPEG))) == ALL_OUTPUTS


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", NotAnImageError),
        (b"not an image", NotAnImageError),
        (encoded(quadrants(64, 64), "ICO"), FormatNotAllowedError),
        (encoded(noise(100, 100), "PNG")[:9000], TruncatedError),
    ],
)
async def test_the_decoder_of_a_rejected_image_is_replaced_by_a_fork(
    pool: DecoderPool, content: bytes, error: type[RejectedError]
) -> None:
    before, replacements = only_pid(pool), Counter(pool.replacements)
    with pytest.raises(error) as rejected:
        await outputs_of(pool, content)
    assert str(rejected.value)
    assert len(await outputs_of(pool, SMALL_JPEG)) == ALL_OUTPUTS
    assert only_pid(pool) != before
    assert Counter(pool.replacements) - replacements == {Replacement.NOT_INTACT: 1}
    assert pool.interpreter_starts == 1


async def test_a_decoder_that_hangs_fails_only_its_image() -> None:
    async with make_pool(processes=2, step_timeout_s=2.0) as pool:
        async with aclosing(pool.run(HEAVY_PNG, HEAVY, user_id="user")) as outputs:
            await anext(
                outputs
            )  # the decoder cannot finish: its rendition does not fit into the socket buffers
            hanging = busy_pid(pool)
            watched = os.pidfd_open(hanging)
            os.kill(hanging, signal.SIGSTOP)
            neighbours = [asyncio.create_task(outputs_of(pool, SMALL_JPEG)) for _ in range(8)]
            with pytest.raises(DecodeTimeoutError) as rejected:
                _ = [output async for output in outputs]
        assert rejected.value.limit_s == 2.0
        assert {len(done) for done in await asyncio.gather(*neighbours)} == {ALL_OUTPUTS}
        await wait_for_exit(watched)
        await until(lambda: hanging not in pool.pids and pool.alive == 2)


async def test_an_image_whose_decoder_is_killed_as_for_lack_of_memory_can_be_tried_again() -> None:
    async with make_pool() as pool:
        async with aclosing(pool.run(HEAVY_PNG, HEAVY, user_id="user")) as outputs:
            await anext(outputs)
            os.kill(busy_pid(pool), signal.SIGKILL)
            with pytest.raises(DecoderKilledError) as killed:
                _ = [output async for output in outputs]
        assert not killed.value.is_dependency_failure
        assert len(await outputs_of(pool, SMALL_JPEG)) == ALL_OUTPUTS


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
async def test_a_decoder_that_crashes_fails_only_its_image(number: signal.Signals) -> None:
    async with make_pool(processes=2) as pool:
        async with aclosing(pool.run(HEAVY_PNG, HEAVY, user_id="user")) as outputs:
            await anext(outputs)
            os.kill(busy_pid(pool), number)
            neighbours = [asyncio.create_task(outputs_of(pool, SMALL_JPEG)) for _ in range(8)]
            with pytest.raises(DecoderCrashedError) as rejected:
                _ = [output async for output in outputs]
        assert rejected.value.exit_status == f"signal {number.value}"
        assert {len(done) for done in await asyncio.gather(*neighbours)} == {ALL_OUTPUTS}
        assert pool.restarts <= 1


async def test_an_image_that_needs_too_much_memory_is_rejected_and_the_decoder_replaced() -> None:
    # Whether the pixels of an upload fit is known before, but not what all enlarged frames of it take.
    huge = Recipe(sizes=(Size("huge", 2000, 2000, enlarge=True),), watermark=None, animation=Animation.KEEP)
    async with make_pool(decoder_memory_mb=340) as pool:
        before = only_pid(pool)
        with pytest.raises(DecodeOutOfMemoryError):
            await outputs_of(pool, animation("GIF", frames=60), huge)
        assert len(await outputs_of(pool, SMALL_JPEG)) == ALL_OUTPUTS
        assert only_pid(pool) != before


async def test_closing_the_generator_early_replaces_the_decoder(pool: DecoderPool) -> None:
    before = only_pid(pool)
    async with aclosing(pool.run(HEAVY_PNG, HEAVY, user_id="user")) as outputs:
        await anext(outputs)
    assert len(await outputs_of(pool, SMALL_JPEG)) == ALL_OUTPUTS
    assert only_pid(pool) != before


async def test_the_memory_of_a_rejected_image_is_free_for_the_next() -> None:
    whole = encoded(quadrants(6000, 4000), "PNG")
    async with make_pool(decoder_memory_mb=400) as pool:
        for _ in range(2):
            with pytest.raises(TruncatedError):
                await outputs_of(pool, whole[:-200])
            assert len(await outputs_of(pool, whole)) == ALL_OUTPUTS
        assert pool.restarts == 2


async def test_cancelling_an_image_replaces_the_decoder(pool: DecoderPool) -> None:
    before = only_pid(pool)
    has_begun = asyncio.Event()

    async def work() -> None:
        async with aclosing(pool.run(HEAVY_PNG, HEAVY, user_id="user")) as outputs:
            async for _ in outputs:
                has_begun.set()

    task = asyncio.create_task(work())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await outputs_of(pool, SMALL_JPEG)) == ALL_OUTPUTS
    assert only_pid(pool) != before


async def test_cancelling_a_waiting_image_does_not_restart_a_decoder(pool: DecoderPool) -> None:
    before = pool.pids
    async with aclosing(pool.run(SMALL_JPEG, RECIPE, user_id="user")) as outputs:
        await anext(outputs)
        waiting = [asyncio.create_task(outputs_of(pool, SMALL_JPEG)) for _ in range(4)]
        await until(lambda: pool.waiting == len(waiting))
        waiting[0].cancel()
        waiting[2].cancel()
        _ = [output async for output in outputs]
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [len(result) if isinstance(result, list) else type(result) for result in done] == [
        asyncio.CancelledError,
        ALL_OUTPUTS,
        asyncio.CancelledError,
        ALL_OUTPUTS,
    ]
    assert (pool.pids, pool.waiting) == (before, 0)


def with_logo(colour: str) -> Recipe:
    content = encoded(Image.new("RGB", (100, 100), colour), "PNG")
    return RECIPE.with_logo(Logo(f"s3://bucket/logos/{colour}.png", e_tag=colour, content=content))


async def test_a_logo_is_sent_to_the_decoder_and_replaced_by_the_next(pool: DecoderPool) -> None:
    for colour, band in (("red", 0), ("red", 0), ("blue", 2), ("red", 0)):
        outputs = await outputs_of(pool, encoded(Image.new("RGB", (800, 600)), "PNG"), with_logo(colour))
        main = next(output for output in outputs if isinstance(output, EncodedRendition))
        found = opened(main.content).convert("RGB").getpixel((740, 540))
        assert isinstance(found, tuple)
        assert [level > 100 for level in found] == [number == band for number in range(3)]


async def test_an_animation_can_be_larger_than_the_limit_of_a_single_frame(pool: DecoderPool) -> None:
    recipe = Recipe(sizes=(Size("small", 200, 200),), watermark=None, animation=Animation.KEEP)
    content = animation("GIF", frames=12, width=200, height=200)
    outputs = await outputs_of(pool, content, recipe)
    assert isinstance(outputs[-1], EncodedRendition)
    assert len(outputs[-1].content) > 5 * 200 * 200 + 65_536


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF"])
async def test_every_animation_is_kept_in_a_confined_decoder(pool: DecoderPool, image_format: str) -> None:
    recipe = Recipe(sizes=(MEDIUM, THUMBNAIL), watermark=Watermark("Mark"), animation=Animation.KEEP)
    content = animation(image_format, frames=4, width=300, height=200)
    *_, main, thumbnail = await outputs_of(pool, content, recipe)
    for rendition in (main, thumbnail):
        assert isinstance(rendition, EncodedRendition)
        assert rendition.format == image_format.lower()
        assert getattr(opened(rendition.content), "n_frames", 1) == 4


async def test_images_are_processed_in_order_of_arrival(pool: DecoderPool) -> None:
    order: list[int] = []

    async def work(number: int) -> None:
        await outputs_of(pool, SMALL_JPEG)
        order.append(number)

    await asyncio.gather(*(work(number) for number in range(12)))
    assert order == list(range(12))
