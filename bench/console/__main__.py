"""
The web console over a record of 100,000 images: `python -m bench.console [--images N]`.

The record is written into the table of an embedded AWS in batches. `image-worker console` then serves every
view a number of times, one request at a time, and the time to the first byte of each is measured, including
what the embedded AWS takes. Finally, twenty event streams are opened, and the resident memory of the console
is read from `/proc` while they are open.
"""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from html import unescape
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from bench.common import report
from bench.common.aws import provisioned
from bench.common.processes import resident_mib
from bench.console.record import images
from tests.support.console import signed_in
from tests.support.console_process import ConsoleProcess, console_process
from worker.aws.retry import RetryPolicy
from worker.bootstrap import open_client, queue_url, table_of
from worker.domain.clock import utc_now
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.dynamodb.batches import put_items
from worker.dynamodb.items import to_item

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_sqs import SQSClient

    from worker.settings import Settings

_BATCH: Final = 2500
_ROUNDS: Final = 20
_STREAMS: Final = 20
_STREAM_S: Final = 20.0
_DEAD_LETTERS: Final = 100
_MILLISECONDS: Final = 1000
_RETRY: Final = RetryPolicy(attempts=10, timeout_s=300.0, attempt_timeout_s=60.0)
"""For filling the table, which keeps the embedded AWS busy."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Images of each kind that the views show."""

    completed: Image
    failed: Image
    processing: Sequence[Image]


@dataclass(frozen=True, slots=True)
class Results:
    """
    What was measured.

    Attributes:
        images: Number of images in the record.
        first_byte_ms: Times to the first byte of each view, by its name.
        memory_mib: Resident memory of the console by what it has done, in order.
    """

    images: int
    first_byte_ms: Mapping[str, Sequence[float]]
    memory_mib: Mapping[str, float]


async def measure(count: int) -> Results:
    """Write the record, and measure the console over it."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        settings = await stack.enter_async_context(provisioned())
        dynamodb: DynamoDBClient = await stack.enter_async_context(open_client("dynamodb", settings))
        sqs: SQSClient = await stack.enter_async_context(open_client("sqs", settings))
        samples = await _write_record(dynamodb, settings, count)
        await _send_dead_letters(sqs, settings)
        endpoint_url = str(settings.endpoint_url)
        console = await stack.enter_async_context(
            console_process(settings, folder, endpoint_url=endpoint_url)
        )
        session = await stack.enter_async_context(signed_in(str(console.link)))
        memory = {"started": resident_mib(console.pid)}
        first_byte = {
            name: [await _first_byte_ms(session, path) for _ in range(_ROUNDS)]
            for name, path in _views(samples).items()
        }
        memory["every view requested"] = resident_mib(console.pid)
        memory[f"{_STREAMS} streams open"] = await _memory_with_streams(session, console, samples)
    return Results(count, first_byte, memory)


async def _write_record(dynamodb: "DynamoDBClient", settings: "Settings", count: int) -> Samples:
    """Write the images; return some of them."""
    table, found = table_of(settings), images(count, until=utc_now())
    kept: dict[str, list[Image]] = {status: [] for status in ImageStatus}
    while batch := list(islice(found, _BATCH)):
        for image in batch:
            kept[image.status] = [*kept[image.status], image][-_STREAMS:]
        await put_items(dynamodb, table, _RETRY, [to_item(image, table) for image in batch])
    waiting = [*kept[ImageStatus.PROCESSING], *kept[ImageStatus.PENDING], *kept[ImageStatus.COMPLETED]]
    return Samples(kept[ImageStatus.COMPLETED][-1], kept[ImageStatus.FAILED][-1], waiting[:_STREAMS])


async def _send_dead_letters(sqs: "SQSClient", settings: "Settings") -> None:
    url = await queue_url(sqs, settings.dead_letter_queue_name)
    for number in range(_DEAD_LETTERS):
        await sqs.send_message(QueueUrl=url, MessageBody=f"not a notification {number}")


def _views(samples: Samples) -> Mapping[str, str]:
    """Return the path of each view, by its name."""
    image, failed = samples.completed, samples.failed
    day = (utc_now() - timedelta(days=1)).date()
    user = quote(image.user_id, safe="")
    return {
        "Try": "/try",
        "Images": "/images",
        "Images with a status": "/images?status=failed",
        "Images of a day": f"/images?day={day}",
        "Images of a user": f"/images?user={user}",
        "Image": f"/images/{image.image_id}?user={user}",
        "Image that failed": f"/images/{failed.image_id}?user={quote(failed.user_id, safe='')}",
        "Search by image id": f"/search?q={image.image_id}",
        "User": f"/users/{user}",
        "Failures": "/failures",
        "Failure group": f"/failures/{failed.error.code if failed.error else ''}",
        "Dead letters": "/dead-letters",
        "Queue and fleet": "/queue",
        "Recipe preview": "/preview",
        "Operations": "/operations",
        "Checks": "/checks",
    }


async def _first_byte_ms(session: aiohttp.ClientSession, path: str) -> float:
    began = time.perf_counter()
    async with session.get(URL(path, encoded=True)) as response:
        elapsed = time.perf_counter() - began
        response.raise_for_status()
        await response.read()
    return elapsed * _MILLISECONDS


async def _memory_with_streams(
    session: aiohttp.ClientSession, console: ConsoleProcess, samples: Samples
) -> float:
    """Open the event streams of the pages of some images and of the queue; return the largest memory."""
    paths = [
        f"/images/{quote(image.image_id, safe='')}?user={quote(image.user_id, safe='')}"
        for image in samples.processing
    ]
    urls = [url for path in ["/queue", *paths] for url in await _streams_of(session, path)][:_STREAMS]
    urls += urls[: _STREAMS - len(urls)]
    async with AsyncExitStack() as stack:
        responses = [
            await stack.enter_async_context(
                session.get(URL(url, encoded=True), headers={"Accept": "text/event-stream"})
            )
            for url in urls
        ]
        assert {response.status for response in responses} == {200}  # noqa: S101 - a failed measurement
        largest, until = 0.0, time.monotonic() + _STREAM_S
        while time.monotonic() < until:
            largest = max(largest, resident_mib(console.pid))
            await asyncio.sleep(0.5)
    return largest


async def _streams_of(session: aiohttp.ClientSession, path: str) -> Sequence[str]:
    """Return the URLs of the event streams that a page connects to."""
    async with session.get(URL(path, encoded=True)) as response:
        response.raise_for_status()
        text = await response.text()
    return [unescape(url) for url in re.findall(r'sse-connect="([^"]+)"', text)]


def section(results: Results) -> str:
    """Return the section of `docs/performance.md`."""
    rows = [
        (
            name,
            f"{report.percentile(times, 0.5):.0f}",
            f"{report.percentile(times, 0.95):.0f}",
            f"{max(times):.0f}",
        )
        for name, times in results.first_byte_ms.items()
    ]
    slowest = max(report.percentile(times, 0.95) for times in results.first_byte_ms.values())
    memory = "\n".join(f"- {what}: {mib:.0f} MiB" for what, mib in results.memory_mib.items())
    return f"""## Web console
`image-worker console` over a record of {results.images:,} images of 5,000 users in 30 days, 2 % of them
failed, and {_DEAD_LETTERS} dead letters. Milliseconds from the request to the first byte of the page,
{_ROUNDS} requests one after the other, with the time of the embedded AWS, which is a Python process on the
same machine. In the slowest view, 19 of 20 requests take at most {slowest:.0f} ms. The slowest request of
Failures and of Queue and fleet is the first, which reads up to 1,000 records and is then cached for seconds.
The list of all completed images takes seconds here: for each query, the embedded AWS sorts the 12,000 items
of an index partition, which DynamoDB reads in order.

{report.markdown_table(("view", "median, ms", "95 %, ms", "slowest, ms"), rows)}
Resident memory of the console, without its decoder process:

{memory}

{report.describe_machine("aiobotocore", "aiohttp", "jinja2", "ministack")}.
`python -m bench.console [--images N]`
"""


if __name__ == "__main__":
    report.run_benchmark("console", measure, section, images=100_000, description=__doc__)
