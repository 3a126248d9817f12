"""Pools of real decoder processes for tests, and helpers to observe processes."""

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from tests.support.pictures import encoded, noise, quadrants
from worker.decoder_pool.pool import DecoderPool
from worker.decoder_pool.supervisor import ReusePolicy
from worker.delivery.ports import Pool
from worker.domain.recipe import Limits, Recipe, Size, Watermark
from worker.domain.status import StepName
from worker.domain.step import DecoderOutput
from worker.settings import FONT

MEDIUM, THUMBNAIL = Size("medium", 800, 600), Size("thumbnail", 150, 150)
RECIPE = Recipe(sizes=(MEDIUM, THUMBNAIL), watermark=Watermark("Processed by Image Platform"))
ALL_OUTPUTS = len(StepName) + len(RECIPE.sizes)
"""Number of outputs of a completed image: a report for each step and a rendition for each size."""

HEAVY = Recipe(sizes=(Size("large", 1920, 1920),), watermark=None, quality=95)
"""With HEAVY_PNG, a rendition larger than the socket buffers: the decoder cannot finish until it is read."""

SMALL_JPEG = encoded(quadrants(320, 200), "JPEG")
HEAVY_PNG = encoded(noise(1200, 900), "PNG", compress_level=1)


def make_pool(**changes: Any) -> DecoderPool:
    """Return a pool of one decoder that is not started yet."""
    arguments: dict[str, Any] = {
        "processes": 1,
        "limits": Limits(),
        "step_timeout_s": 20.0,
        "decoder_memory_mb": 1024,
        "policy": ReusePolicy(),
        "font": FONT,
    }
    return DecoderPool(**(arguments | changes))


async def outputs_of(
    pool: Pool, content: bytes, recipe: Recipe = RECIPE, *, user_id: str = "user"
) -> list[DecoderOutput]:
    async with aclosing(pool.run(content, recipe, user_id=user_id)) as outputs:
        return [output async for output in outputs]


def only_pid(pool: DecoderPool) -> int:
    (pid,) = pool.pids
    return pid


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def busy_pid(pool: DecoderPool) -> int:
    """Return the process id of the only decoder that is assigned to an image."""
    (pid,) = pool.busy_pids
    return pid


async def until(condition: Callable[[], bool]) -> None:
    """Run the event loop until a condition is true."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def wait_for_exit(pidfd: int) -> None:
    """Wait until the process of a pidfd has ended, and close the pidfd."""
    loop = asyncio.get_running_loop()
    has_ended = asyncio.Event()
    loop.add_reader(pidfd, has_ended.set)
    try:
        async with asyncio.timeout(20):
            await has_ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def files_of(pid: int) -> list[str]:
    """Return the open files of a process by name, without the numbers of sockets and pipes."""
    return sorted(str(entry.readlink()).partition(":")[0] for entry in Path(f"/proc/{pid}/fd").iterdir())


def process_exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
