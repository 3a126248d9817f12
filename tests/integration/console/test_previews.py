"""Previews of uploads, rendered by real decoder processes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from io import BytesIO

import pillow_heif
import pytest

from tests.support.builders import a_claimant, a_description, a_job
from tests.support.pictures import encoded, noise, opened, quadrants
from tests.support.pools import (
    HEAVY,
    HEAVY_PNG,
    MEDIUM,
    RECIPE,
    SMALL_JPEG,
    make_pool,
    process_exists,
    until,
)
from worker.console.previews import Previews, PreviewsBusyError
from worker.decoder_pool.pool import DecoderPool
from worker.domain.claim import Claimed, decide
from worker.domain.confinement import Guarantee
from worker.domain.errors import NotAnImageError, TransientError
from worker.domain.image import Image, Source
from worker.domain.job import Job
from worker.domain.recipe import Recipe, Size
from worker.domain.status import StepName
from worker.domain.step import NONCE_BYTES
from worker.settings import FONT

FAST = Recipe(sizes=(Size("thumbnail", 40, 40),), watermark=None)


class Uploads:
    """Uploads by image id, and the ids of those that have been read."""

    def __init__(self, **contents: bytes) -> None:
        self.contents = contents
        self.read: list[str] = []
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def fetch(self, job: Job) -> Source:
        self.read.append(job.image_id)
        await self.is_open.wait()
        content = self.contents[job.image_id]
        return Source(content=content, description=a_description(file_size=len(content)))


def image_of(image_id: str) -> Image:
    claimed = decide(None, a_job(image_id), a_claimant())
    assert isinstance(claimed, Claimed)
    return claimed.image


class Pools:
    """Builds pools, and keeps them for the test."""

    def __init__(self, *build: Callable[[], DecoderPool]) -> None:
        self.built: list[DecoderPool] = []
        self._build = list(build)

    def __call__(self) -> DecoderPool:
        self.built.append(self._build.pop(0)() if self._build else make_pool())
        return self.built[-1]


@asynccontextmanager
async def previews_of(
    uploads: Uploads, pools: Pools | None = None, *, max_waiting: int = 16, timeout_s: float = 30.0
) -> AsyncIterator[Previews]:
    previews = Previews(
        build_pool=pools or Pools(), fetch=uploads.fetch, max_waiting=max_waiting, timeout_s=timeout_s
    )
    try:
        yield previews
    finally:
        await previews.close()


async def test_a_preview_is_what_the_worker_would_store() -> None:
    uploads = Uploads(photo=encoded(quadrants(1600, 1000), "JPEG"))
    async with previews_of(uploads) as previews:
        preview = await previews.render(image_of("photo"), RECIPE)
    medium = preview.renditions["medium"]
    assert (medium.width, medium.height, medium.format) == (800, 500, "jpeg")
    assert opened(medium.content).size == (800, 500)
    assert preview.renditions.keys() == {"medium", "thumbnail"}
    assert [*preview.steps_ms] == [*StepName]
    assert preview.elapsed_ms == sum(preview.steps_ms.values())
    async with make_pool() as pool:
        stored = [output async for output in pool.run(uploads.contents["photo"], RECIPE, user_id="user")]
    assert 0 < len(medium.content) - len(getattr(stored[3], "content", b"")) <= NONCE_BYTES


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tiff", encoded(quadrants(2000, 1000), "TIFF")),
        ("bmp", encoded(quadrants(2000, 1000), "BMP")),
        ("transparent", encoded(quadrants(2000, 1000, "RGBA"), "PNG")),
    ],
)
async def test_any_upload_is_displayable_as_webp_of_a_bounded_size(name: str, content: bytes) -> None:
    async with previews_of(Uploads(**{name: content})) as previews:
        shown = await previews.displayable(image_of(name))
    assert (shown.format, shown.width, shown.height) == ("webp", 1600, 800)
    assert opened(shown.content).format == "WEBP"


async def test_a_heic_photograph_is_displayable() -> None:
    file = BytesIO()
    pillow_heif.from_pillow(quadrants(64, 48)).save(file)
    async with previews_of(Uploads(photo=file.getvalue())) as previews:
        shown = await previews.displayable(image_of("photo"))
    assert (shown.format, shown.width, shown.height) == ("webp", 64, 48)


async def test_the_decoder_is_started_for_the_first_preview_and_killed_at_the_end() -> None:
    pools = Pools()
    async with previews_of(Uploads(photo=SMALL_JPEG), pools) as previews:
        assert not pools.built
        await previews.render(image_of("photo"), FAST)
        (pool,) = pools.built
        pids = [*pool.pids, pool.zygote_pid]
    assert not any(pid and process_exists(pid) for pid in pids)
    with pytest.raises(TransientError, match="shutting down"):
        await previews.render(image_of("other"), FAST)


async def test_a_console_without_previews_starts_no_decoder() -> None:
    pools = Pools()
    async with previews_of(Uploads(), pools):
        pass
    assert not pools.built


async def test_a_preview_is_rendered_once() -> None:
    uploads = Uploads(photo=SMALL_JPEG)
    async with previews_of(uploads) as previews:
        first, second = await asyncio.gather(*(previews.render(image_of("photo"), FAST) for _ in range(2)))
        assert first is second is await previews.render(image_of("photo"), FAST)
        assert uploads.read == ["photo"]
        await previews.render(image_of("photo"), RECIPE)
        assert uploads.read == ["photo", "photo"]


async def test_a_preview_of_an_upload_whose_version_is_unknown_is_not_kept() -> None:
    uploads, image = Uploads(photo=SMALL_JPEG), image_of("photo")
    image = replace(image, version=replace(image.version, e_tag=None))
    async with previews_of(uploads) as previews:
        await previews.render(image, FAST)
        await previews.render(image, FAST)
    assert uploads.read == ["photo", "photo"]


async def test_the_previews_that_are_kept_have_a_bounded_size() -> None:
    photo = encoded(noise(400, 300), "PNG")
    uploads = Uploads(a=photo, b=photo, c=photo)
    recipe = Recipe(sizes=(MEDIUM,), watermark=None)
    previews = Previews(build_pool=Pools(), fetch=uploads.fetch, max_kept_bytes=2 * len(photo) + 100_000)
    try:
        for name in "abac":
            await previews.render(image_of(name), recipe)
        assert uploads.read == ["a", "b", "c"]
        await previews.render(image_of("a"), recipe)  # used more recently than b
        assert uploads.read == ["a", "b", "c"]
        await previews.render(image_of("b"), recipe)
        assert uploads.read == ["a", "b", "c", "b"]
    finally:
        await previews.close()


async def test_a_hostile_image_harms_only_the_decoder() -> None:
    pools = Pools()
    uploads = Uploads(hostile=HEAVY_PNG, text=b"not an image", photo=SMALL_JPEG)
    async with previews_of(uploads, pools) as previews:
        await previews.render(image_of("photo"), FAST)
        (pool,) = pools.built
        with pytest.raises(NotAnImageError):
            await previews.render(image_of("text"), FAST)
        rendering = asyncio.create_task(previews.render(image_of("hostile"), HEAVY))
        while not rendering.done():
            for pid in pool.busy_pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0)
        with pytest.raises(TransientError):
            await rendering
        assert (await previews.render(image_of("photo"), RECIPE)).renditions
    assert len(pools.built) == 1


async def test_more_previews_than_may_wait_are_rejected_at_once() -> None:
    uploads = Uploads(photo=SMALL_JPEG)
    uploads.is_open.clear()
    async with previews_of(uploads, max_waiting=2) as previews:
        waiting = [asyncio.create_task(previews.render(image_of("photo"), FAST)) for _ in range(2)]
        await until(lambda: bool(uploads.read))
        with pytest.raises(PreviewsBusyError, match="2 previews wait"):
            await previews.render(image_of("photo"), FAST)
        uploads.is_open.set()
        await asyncio.gather(*waiting)
        await previews.render(image_of("photo"), RECIPE)


async def test_a_preview_that_takes_too_long_is_stopped_and_the_next_one_has_its_turn() -> None:
    uploads = Uploads(slow=SMALL_JPEG, other=SMALL_JPEG)
    uploads.is_open.clear()
    async with previews_of(uploads, max_waiting=1, timeout_s=0.2) as previews:
        for name in ("slow", "other"):
            with pytest.raises(PreviewsBusyError, match=r"longer than 0\.2 s"):
                await previews.render(image_of(name), FAST)
    assert uploads.read == ["slow", "other"]


async def test_a_preview_that_nobody_waits_for_any_more_is_not_rendered() -> None:
    uploads = Uploads(first=SMALL_JPEG, second=SMALL_JPEG)
    uploads.is_open.clear()
    wanted = {"second"}
    async with previews_of(uploads) as previews:
        first = asyncio.create_task(previews.render(image_of("first"), FAST))
        await until(lambda: bool(uploads.read))
        second = asyncio.create_task(
            previews.render(image_of("second"), FAST, is_wanted=lambda: "second" in wanted)
        )
        await asyncio.sleep(0)
        wanted.clear()
        uploads.is_open.set()
        await first
        with pytest.raises(PreviewsBusyError, match="any more"):
            await second
    assert uploads.read == ["first"]


async def test_a_decoder_that_does_not_start_is_tried_again_for_the_next_preview() -> None:
    def broken() -> DecoderPool:
        return make_pool(font=FONT.with_name("missing.ttf"))

    pools = Pools(broken)
    async with previews_of(Uploads(photo=SMALL_JPEG), pools) as previews:
        with pytest.raises(TransientError, match="did not start"):
            await previews.render(image_of("photo"), FAST)
        assert (await previews.render(image_of("photo"), FAST)).renditions
    assert len(pools.built) == 2


async def test_the_guarantees_are_those_of_the_decoder() -> None:
    async with previews_of(Uploads()) as previews:
        assert Guarantee.NON_DUMPABLE in await previews.guarantees()


def test_the_console_loads_no_code_that_decodes_images() -> None:
    program = (
        "import sys, worker.console.app, worker.cli.support.console, worker.cli.console\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'PIL', 'pillow_heif', 'kornia_rs'}"
        " or name.startswith('worker.imaging')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
