"""
CPU time of a decoder pool per image, by reuse mode: `python -m bench.reuse [--rounds N]`.

Each mode has a pool with one decoder, and the pools take turns. The CPU time is that of the worker process,
the zygote and the decoders together, without AWS. Images arrive in bursts of one user, as albums do; in the
mode `same-user`, only the first image of a burst needs a fork.
"""

import argparse
import asyncio
import os
import resource
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from bench.common import report
from bench.common.photographs import encoded, photograph
from tests.chaos.processes import children_of
from worker.decoder_pool.pool import DecoderPool
from worker.decoder_pool.supervisor import Reuse, ReusePolicy
from worker.domain.recipe import Limits, Recipe, Size, Watermark
from worker.settings import FONT

BURST: Final = 4
"""Images of one user in a row."""

MIX: Final[Mapping[str, float]] = {
    "12 MP JPEG": 0.50,
    "1920x1080 JPEG": 0.25,
    "1920x1080 PNG": 0.10,
    "640x480 JPEG": 0.10,
    "1920x1080 WebP": 0.05,
}
"""Share of each kind of image in the realistic mix: mostly photographs from phones."""

_RECIPE: Final = Recipe(sizes=(Size("medium", 800, 600),), watermark=Watermark("Processed by Image Platform"))
_SETTLE_S: Final = 0.1
_MIN_IMAGES, _IMAGE_PIXELS = 2 * BURST, 20_000_000

Measurements: TypeAlias = Mapping[str, Mapping[Reuse, Sequence[float]]]
"""CPU time per image in milliseconds, by name of the image, by mode, in each round."""


async def measure(rounds: int) -> Measurements:
    """Measure all kinds of images in all modes, which take turns."""
    images = _images()
    measurements: dict[str, dict[Reuse, list[float]]] = {
        name: {reuse: [] for reuse in Reuse} for name in images
    }
    async with AsyncExitStack() as stack:
        pools = {reuse: await stack.enter_async_context(_pool(reuse)) for reuse in Reuse}
        for number in range(rounds + 1):
            for name, (content, count) in images.items():
                for reuse, pool in pools.items():
                    cpu_ms = await _cpu_ms(pool, content, count)
                    if number:  # the first round is a warm-up
                        measurements[name][reuse].append(cpu_ms)
    return measurements


def section(measurements: Measurements) -> str:
    """Return the section of `docs/performance.md`."""
    rounds = len(next(iter(measurements.values()))[Reuse.BATCH])
    rows = [
        (
            name,
            f"{report.Spread.of(by_mode[Reuse.BATCH]).median:.1f}",
            *(_price(by_mode, reuse) for reuse in (Reuse.SAME_USER, Reuse.NEVER)),
        )
        for name, by_mode in measurements.items()
    ]
    mix = {
        reuse: [
            sum(share * measurements[name][reuse][number] for name, share in MIX.items())
            for number in range(rounds)
        ]
        for reuse in Reuse
    }
    rows.append(
        (
            "realistic mix",
            f"{report.Spread.of(mix[Reuse.BATCH]).median:.1f}",
            *(_price(mix, reuse) for reuse in (Reuse.SAME_USER, Reuse.NEVER)),
        )
    )
    shares = ", ".join(f"{share:.0%} {name}" for name, share in MIX.items())
    return f"""## Reuse of decoders
CPU time per image of the worker process, the zygote and the decoders together, by `WORKER_DECODER_REUSE`,
without AWS: in milliseconds for `batch`, and as the ratio to it for the stricter modes, with quartiles.
Images arrive in bursts of {BURST} of one user; `same-user` forks a decoder for each burst, `never` for each
image. If the images of more users arrive at once than there are kept decoders (`WORKER_PROCESSES` x 2),
`same-user` costs as much as `never`. Medians of {rounds} rounds, modes in turn. The realistic mix is
{shares}.

{report.markdown_table(("image", "batch, ms", "same-user / batch", "never / batch"), rows)}
{report.describe_machine("pillow")}.
`python -m bench.reuse [--rounds N]`
"""


def _images() -> dict[str, tuple[bytes, int]]:
    """Return content and number of images per measurement of each kind, by name."""
    images = {}
    for name, width, height in (("640x480", 640, 480), ("1920x1080", 1920, 1080), ("12 MP", 4032, 3024)):
        picture = photograph(width, height)
        count = max(_MIN_IMAGES, BURST * round(_IMAGE_PIXELS / (width * height) / BURST))
        for image_format in ("JPEG", "PNG", "WebP"):
            options = {} if image_format == "PNG" else {"quality": 88}
            images[f"{name} {image_format}"] = (
                encoded(picture, image_format.upper(), **options),
                min(count, 40) if image_format == "JPEG" else _MIN_IMAGES,
            )
    return images


def _pool(reuse: Reuse) -> DecoderPool:
    return DecoderPool(
        processes=1,
        limits=Limits(),
        step_timeout_s=60,
        decoder_memory_mb=1536,
        policy=ReusePolicy(reuse=reuse),
        font=FONT,
        recipe=_RECIPE,
    )


async def _cpu_ms(pool: DecoderPool, content: bytes, count: int) -> float:
    """Process an image several times, and return the CPU time for each in milliseconds."""
    before_s = await _settled_cpu_s()
    for number in range(count):
        async with aclosing(pool.run(content, _RECIPE, user_id=f"{id(pool)}/{number // BURST}")) as outputs:
            async for _ in outputs:
                pass
    return 1000 * (await _settled_cpu_s() - before_s) / count


async def _settled_cpu_s() -> float:
    """Wait until replaced decoders are reaped; return the CPU time of this process and its children."""
    await asyncio.sleep(_SETTLE_S)
    cpu_s = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        cpu_s += usage.ru_utime + usage.ru_stime
    for pid in children_of(os.getpid()):
        cpu_s += await asyncio.to_thread(_run_time_ns, pid) / 1e9
    return cpu_s


def _run_time_ns(pid: int) -> int:
    """Return the CPU time of a running process with a single thread, in nanoseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def _price(by_mode: Mapping[Reuse, Sequence[float]], reuse: Reuse) -> report.Spread:
    return report.Spread.of_ratios(by_mode[reuse], by_mode[Reuse.BATCH])


def main() -> None:
    """Measure, then print and save the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds (default: %(default)s)")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    text = section(asyncio.run(measure(parser.parse_args().rounds)))
    report.save_section("reuse", text)
    print(text)


if __name__ == "__main__":
    main()
