"""Pools of real children for tests, and how to watch processes from outside."""

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from tests.support.pictures import encoded, noise, scene
from worker.decoder_pool.pool import DecoderPool
from worker.delivery.ports import Pool
from worker.domain.recipe import Limits, Recipe, Size, Watermark
from worker.domain.status import StepName
from worker.domain.step import DecoderOutput
from worker.settings import FONT

MEDIUM, THUMBNAIL = Size("medium", 800, 600), Size("thumbnail", 150, 150)
RECIPE = Recipe(sizes=(MEDIUM, THUMBNAIL), watermark=Watermark("Processed by Image Platform"))
ALL_OUTCOMES = len(StepName) + len(RECIPE.sizes)
"""What a picture that goes through yields: a report for each step, and a rendition for each size."""

HEAVY = Recipe(sizes=(Size("large", 1920, 1920),), watermark=None, quality=95)
"""With HEAVY_PNG, a rendition larger than a connection holds: the child cannot finish while nobody reads."""

SMALL_JPEG = encoded(scene(320, 200), "JPEG")
HEAVY_PNG = encoded(noise(1200, 900), "PNG", compress_level=1)


def make_pool(**changes: Any) -> DecoderPool:  # noqa: ANN401 - its arguments are of any kind
    """Return a pool of one child, not yet started."""
    arguments: dict[str, Any] = {
        "processes": 1,
        "limits": Limits(),
        "step_timeout_s": 20.0,
        "decoder_memory_mb": 1024,
        "decoder_max_images": 500,
        "font": FONT,
    }
    return DecoderPool(**(arguments | changes))


async def outcomes_of(pool: Pool, content: bytes, recipe: Recipe = RECIPE) -> list[DecoderOutput]:
    async with aclosing(pool.run(content, recipe)) as outcomes:
        return [outcome async for outcome in outcomes]


def only_pid(pool: DecoderPool) -> int:
    (pid,) = pool.pids
    return pid


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def busy_pid(pool: DecoderPool) -> int:
    """Return the one child that has a picture."""
    (pid,) = pool.busy_pids
    return pid


async def until(is_so: Callable[[], bool]) -> None:
    """Let everything else run until something is so."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0)


async def ended(descriptor: int) -> None:
    """Wait until the process of a descriptor has ended, and close it."""
    loop = asyncio.get_running_loop()
    has_ended = asyncio.Event()
    loop.add_reader(descriptor, has_ended.set)
    try:
        async with asyncio.timeout(20):
            await has_ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def files_of(pid: int) -> list[str]:
    """Return what a process has open, in order of name, without the numbers of sockets and pipes."""
    return sorted(str(entry.readlink()).partition(":")[0] for entry in Path(f"/proc/{pid}/fd").iterdir())


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
