"""
What the worker keeps in memory over thousands of pictures: `python -m bench.memory [--pictures N]`.

One `image-worker run` works off uploads of mixed sizes and formats on an embedded AWS; after each hundred,
the resident memory of the process and of its decoder children is read from `/proc`.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from bench.common import report
from bench.common.aws import provisioned, upload
from bench.common.photographs import encoded, photograph
from tests.chaos.processes import memories_of
from tests.support.watched import watched_worker
from worker.bootstrap import open_client

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

BATCH: Final = 100
MB: Final = 1_000_000
_KEPT: Final = 3
"""Batches whose objects stay in the bucket: the embedded AWS has all of them in its memory."""
_PROCESSES: Final = 2
_MIX: Final = (
    (640, 480, "JPEG", 4),
    (1280, 853, "JPEG", 4),
    (1920, 1080, "JPEG", 6),
    (3000, 2000, "JPEG", 3),
    (4032, 3024, "JPEG", 2),
    (1000, 750, "PNG", 2),
    (2000, 1500, "PNG", 1),
    (1600, 1200, "WEBP", 2),
)
"""Width, height, format, and how often."""


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One look, in bytes.

    Attributes:
        pictures: Done until then.
        parent: Resident memory of the service.
        children: Of each of its decoder children.
    """

    pictures: int
    parent: int
    children: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was seen, how many pictures were completed, and how many children were replaced meanwhile."""

    samples: Sequence[Sample]
    completed: int
    replaced: int

    @property
    def warm(self) -> Sequence[Sample]:
        """Without the first fifth."""
        return self.samples[len(self.samples) // 5 :]

    @property
    def parent_slope(self) -> float:
        """Bytes that each picture adds to the parent, once it is warm."""
        return linear_regression([one.pictures for one in self.warm], [one.parent for one in self.warm]).slope


async def measure(pictures: int) -> Figures:
    """Have so many pictures processed, and look after each hundred."""
    dice = random.Random(1)  # noqa: S311 - no cryptography
    files = [
        file
        for width, height, picture_format, weight in _MIX
        for file in weight * [encoded(photograph(width, height), picture_format)]
    ]
    seen: list[Sample] = []
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="bench-"))
        settings = await stack.enter_async_context(provisioned())
        s3: S3Client = await stack.enter_async_context(open_client("s3", settings))
        worker = await stack.enter_async_context(
            watched_worker(
                settings,
                Path(folder),
                endpoint_url=str(settings.endpoint_url),
                WORKER_PROCESSES=str(_PROCESSES),
            )
        )
        batches = [range(first, min(first + BATCH, pictures)) for first in range(0, pictures, BATCH)]
        for number, batch in enumerate(batches):
            await upload(s3, settings, [(_key(picture), dice.choice(files)) for picture in batch])
            while (told := await worker.scrape()).total("images_total") < batch.stop:  # noqa: ASYNC110
                await asyncio.sleep(0.2)  # nobody tells when a backlog has been worked off
            parent, children = memories_of(worker.pid)
            seen.append(Sample(batch.stop, parent.rss, tuple(child.rss for child in children.values())))
            if number >= _KEPT:
                await _delete(s3, settings.bucket, batches[number - _KEPT])
        await worker.drain()
    completed = round(told.value("images_total", status="completed", code=""))
    return Figures(seen, completed, told.total("decoder_restarts_total"))


def section(figures: Figures) -> str:
    """Write the section of `docs/performance.md`; draw its plot."""
    every = max(1, len(figures.samples) // 10)
    rows = [
        (f"{one.pictures:,}", f"{one.parent / MB:.1f}", f"{sum(one.children) / MB:.0f}")
        for one in figures.samples[every - 1 :: every]
    ]
    parents = [one.parent / MB for one in figures.warm]
    children = [child / MB for one in figures.warm for child in one.children]
    return f"""## Memory
Resident memory of one `image-worker run` with {_PROCESSES} decoder children over
{figures.samples[-1].pictures:,} pictures ({figures.completed:,} completed) of mixed sizes and formats, from
640x480 to 12 megapixels, JPEG, PNG and WebP, on an embedded AWS; read after every {BATCH} pictures. After the
first fifth the service holds between {min(parents):.1f} and {max(parents):.1f} MB, and each picture adds
{figures.parent_slope:+,.0f} bytes by the line through all samples. A child holds {median(children):.0f} MB in
the median and {max(children):.0f} MB at the most; {figures.replaced} were replaced, each after 500 pictures.

{_plot(figures)}
{report.table(("pictures", "service, MB", "children together, MB"), rows)}
{report.machine("aiobotocore", "aiohttp", "pillow")}. `python -m bench.memory [--pictures N]`
"""


async def _delete(s3: "S3Client", bucket: str, batch: range) -> None:
    keys = [_key(picture) for picture in batch]
    results = [
        key.replace("uploads/", "processed/").replace("jpg", extension)
        for key in keys
        for extension in ("jpg", "png", "webp")
    ]
    for part in (keys, results):
        await s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in part]})


def _key(picture: int) -> str:
    return f"uploads/user_{picture % 20}/img_{picture:016x}.jpg"


def _plot(figures: Figures) -> str:
    figure = report.figure()
    axes = figure.subplots()
    pictures = [one.pictures for one in figures.samples]
    axes.plot(pictures, [one.parent / MB for one in figures.samples], label="service")
    axes.plot(pictures, [sum(one.children) / MB for one in figures.samples], label="its children together")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("pictures")
    axes.set_ylabel("resident MB")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return report.save(figure, "memory", says="Resident memory over the pictures done")


if __name__ == "__main__":
    report.run("memory", measure, section, pictures=5000, description=__doc__)
