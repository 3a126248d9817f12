"""
Memory of the worker over thousands of images: `python -m bench.memory [--images N]`.

`image-worker run` processes uploads of mixed sizes and formats on an embedded AWS. After every 100 images,
the resident memory of the worker process and of its decoder processes is read from `/proc`.
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
from tests.chaos.processes import memory_of_tree
from tests.support.watched import watched_worker
from worker.bootstrap import open_client

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

BATCH: Final = 100
MB: Final = 1_000_000
_KEPT_BATCHES: Final = 3
"""Number of batches whose objects stay in the bucket: the embedded AWS keeps objects in memory."""
_PROCESSES: Final = 2
_POLL_INTERVAL_S: Final = 0.2
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
"""Width, height, format, and relative frequency."""


@dataclass(frozen=True, slots=True)
class Sample:
    """
    Resident memory at one moment, in bytes.

    Attributes:
        images: Number of images processed so far.
        worker: Memory of the worker process.
        decoders: Memory of each decoder process.
    """

    images: int
    worker: int
    decoders: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """All samples, and the number of completed images and of replaced decoder processes."""

    samples: Sequence[Sample]
    completed: int
    replaced: int

    @property
    def warm(self) -> Sequence[Sample]:
        """The samples without the first fifth."""
        return self.samples[len(self.samples) // 5 :]

    @property
    def growth_per_image(self) -> float:
        """Bytes that the warm worker process grows by for each image, by linear regression."""
        images, memory = zip(*((sample.images, sample.worker) for sample in self.warm), strict=True)
        return linear_regression(images, memory).slope


async def measure(images: int) -> Results:
    """Let a worker process images, and sample its memory after each batch."""
    rng = random.Random(1)
    files = [
        file
        for width, height, image_format, frequency in _MIX
        for file in frequency * [encoded(photograph(width, height), image_format)]
    ]
    samples: list[Sample] = []
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
        batches = [range(first, min(first + BATCH, images)) for first in range(0, images, BATCH)]
        for number, batch in enumerate(batches):
            await upload(s3, settings, [(_key(image), rng.choice(files)) for image in batch])
            while (metrics := await worker.scrape()).total("images_total") < batch.stop:  # noqa: ASYNC110 - no event
                await asyncio.sleep(_POLL_INTERVAL_S)
            memory, decoders = memory_of_tree(worker.pid)
            samples.append(Sample(batch.stop, memory.rss, tuple(each.rss for each in decoders.values())))
            if number >= _KEPT_BATCHES:
                await _delete(s3, settings.bucket, batches[number - _KEPT_BATCHES])
        await worker.drain()
    completed = round(metrics.value("images_total", status="completed", code=""))
    return Results(samples, completed, metrics.total("decoder_restarts_total"))


def section(results: Results) -> str:
    """Return the section of `docs/performance.md`, and save its plot."""
    interval = max(1, len(results.samples) // 10)
    rows = [
        (f"{sample.images:,}", f"{sample.worker / MB:.1f}", f"{sum(sample.decoders) / MB:.0f}")
        for sample in results.samples[interval - 1 :: interval]
    ]
    worker = [sample.worker / MB for sample in results.warm]
    decoders = [memory / MB for sample in results.warm for memory in sample.decoders]
    return f"""## Memory
Resident memory of `image-worker run` with {_PROCESSES} decoder processes over {results.samples[-1].images:,}
images ({results.completed:,} completed) of mixed sizes and formats, from 640x480 to 12 megapixels, JPEG, PNG
and WebP, on an embedded AWS; read after every {BATCH} images. After the first fifth, the worker process uses
{min(worker):.1f} to {max(worker):.1f} MB, and linear regression gives a growth of
{results.growth_per_image:+,.0f} bytes per image. The median decoder process uses {median(decoders):.0f} MB,
the largest {max(decoders):.0f} MB; {results.replaced:,} were replaced, by the image of another user or after
500 images. The target for the worker process is at most 120 MB without growth; it holds up to eight uploads.

{_plot(results)}
{report.markdown_table(("images", "worker process, MB", "decoder processes together, MB"), rows)}
{report.describe_machine("aiobotocore", "aiohttp", "pillow")}. `python -m bench.memory [--images N]`
"""


async def _delete(s3: "S3Client", bucket: str, batch: range) -> None:
    keys = [_key(image) for image in batch]
    results = [
        key.replace("uploads/", "processed/").replace("jpg", extension)
        for key in keys
        for extension in ("jpg", "png", "webp")
    ]
    for part in (keys, results):
        await s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in part]})


def _key(image: int) -> str:
    return f"uploads/user_{image % 20}/img_{image:016x}.jpg"


def _plot(results: Results) -> str:
    figure = report.new_figure()
    axes = figure.subplots()
    images = [sample.images for sample in results.samples]
    axes.plot(images, [sample.worker / MB for sample in results.samples], label="worker process")
    axes.plot(
        images,
        [sum(sample.decoders) / MB for sample in results.samples],
        label="decoder processes together",
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("images")
    axes.set_ylabel("resident MB")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return report.save_figure(figure, "memory", alt="Resident memory over the number of processed images")


if __name__ == "__main__":
    report.run_benchmark("memory", measure, section, images=5000, description=__doc__)
