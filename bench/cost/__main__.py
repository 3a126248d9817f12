"""
AWS cost of processing a million images: `python -m bench.cost [--images N]`.

image-worker processes a backlog on an embedded AWS. Requests are counted by its own `/metrics`, DynamoDB
units are calculated from every write and the table's indexes, and CPU time is that of all its processes. The
result is compared with the record as first specified; see `bench.cost.baseline_record`.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import astuple, fields
from typing import Final

import aiohttp

from bench.common import report
from bench.common.aws import provisioned, upload
from bench.common.photographs import encoded, photograph
from bench.cost import baseline_record
from bench.cost.bill import Bill, Usage, baseline_bill, own_bill
from bench.cost.metering import RequestMeter
from bench.cost.prices import BUSY_SHARE
from tests.support.emulators import a_free_port
from tests.support.scrape import Scrape, scrape
from worker.bootstrap import open_clients, open_consumer

MILLION: Final = 1_000_000
_USERS: Final = 25
_DISTINCT_IMAGES: Final = 8
_MIN_REQUESTS: Final = 0.001
"""Operations with fewer requests per image are not shown."""
_POLL_INTERVAL_S: Final = 0.5
_COMPACT: Final = "image-worker, compact history"


async def measure(images: int) -> tuple[Usage, Usage]:
    """Return what a backlog of images uses, by default and with `WORKER_COMPACT_HISTORY`."""
    return await _usage(images), await _usage(images, compact_history=True)


async def _usage(images: int, **changes: object) -> Usage:
    """
    Process a backlog of images with changed settings, and return what was used.

    Raises:
        RuntimeError: Not every image was completed.
    """
    files = [
        encoded(photograph(1920, 1080, seed=seed), "JPEG", quality=88) for seed in range(_DISTINCT_IMAGES)
    ]
    uploads = [
        (f"uploads/user_{number % _USERS:036d}/img_{number:016x}.jpg", files[number % _DISTINCT_IMAGES])
        for number in range(images)
    ]
    port = a_free_port()
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(
            provisioned(http_host="127.0.0.1", http_port=port, **changes)
        )
        clients = await stack.enter_async_context(open_clients(settings))
        await upload(clients.s3, settings, uploads)
        meter = RequestMeter()
        meter.attach(clients.dynamodb)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        before = os.times()
        async with open_consumer(settings, clients) as consumer, asyncio.TaskGroup() as group:
            group.create_task(consumer.run())
            metrics = Scrape()
            while metrics.total("images_total") < images or metrics.value("in_flight"):
                await asyncio.sleep(_POLL_INTERVAL_S)
                metrics = await scrape(session, port)
            consumer.stop()
        after = os.times()  # includes the decoder processes, which have ended
    if metrics.value("images_total", status="completed", code="") != images:
        message = f"not every image was completed: {list(metrics.of('images_total'))}"
        raise RuntimeError(message)
    requests: Counter[tuple[str, str]] = Counter()
    for labels, count in metrics.of("aws_calls_total"):
        requests[labels["service"], labels["operation"]] += round(count)
    await meter.calculate()
    return Usage(
        images=images,
        requests=requests,
        meter=meter,
        cpu_s=sum(after[:4]) - sum(before[:4]),
        bytes_in=round(metrics.value("bytes_total", direction="in")),
        bytes_out=round(metrics.value("bytes_total", direction="out")),
    )


def section(measured: tuple[Usage, Usage]) -> str:
    """Return the section of `docs/performance.md`, and save its plot."""
    usage, compact = measured
    bills = {
        "image-worker": own_bill(usage),
        _COMPACT: own_bill(compact),
        "baseline": baseline_bill(usage, has_trail=True),
        "baseline without audit trail": baseline_bill(usage, has_trail=False),
    }
    write_units = {
        "image-worker": usage.write_units,
        _COMPACT: compact.write_units,
        "baseline": baseline_record.write_units(has_trail=True),
        "baseline without audit trail": baseline_record.write_units(has_trail=False),
    }
    costs = [
        (name, *(f"{usd * MILLION:.2f}" for usd in (*astuple(bill), bill.total)))
        for name, bill in bills.items()
    ]
    units = [
        (name, f"{count:.1f}", f"{usage.write_units / count:.2f}") for name, count in write_units.items()
    ]
    requests = [
        (f"{service} {operation}", f"{count / usage.images:.3f}")
        for (service, operation), count in sorted(usage.requests.items(), key=lambda item: -item[1])
        if count / usage.images >= _MIN_REQUESTS
    ]
    table = report.markdown_table
    return f"""## Cost
Cost of a million images in us-east-1, at list prices of March 2026: {usage.images} photographs of 1920x1080
({usage.bytes_in / usage.images / 1000:.0f} kB) of {_USERS} owners, processed by image-worker on an embedded
AWS with a text watermark and one size. Excluded are KMS, CloudWatch, the upload itself, free tiers, and data
transfer out of the region. CPU time is that of all processes, {usage.cpu_s / usage.images * 1000:.0f} ms per
image, in Fargate tasks that are {BUSY_SHARE:.0%} busy. Storage is one month of upload, result and record.

{table(("USD per million", *(part.name for part in fields(Bill)), "total"), costs)}
{_plot(bills)}
DynamoDB write units per image, calculated from the size of each item before and after each write and from
the indexes. Of image-worker's, {usage.meter.rejected_write_units / usage.images:.2f} are for writes whose
condition failed, such as the first update of an owner's statistics. With
[`WORKER_COMPACT_HISTORY`](record.md#the-audit-trail), which is off by default because earlier versions cannot
read it, the item of an image is below 2 kB unless its names are long. The target is at most 13 units; the
least that this table allows is 14: 4 to claim an image (its item and three indexes), and 10 to complete it in
a transaction with its owner's statistics (2 x 2 for the item, 4 in the indexes, 2 for the statistics).

{table(("record", "write units", "image-worker / record"), units)}
Read units per image: {usage.read_units:.2f}.

The baseline is the table exactly as first specified: three indexes with all attributes, the item put at the
upload, an unconditional update at the start and end of each step and at the end of the image, and an update
of the owner's statistics. Where the specification does not work as written, its cheapest interpretation is
assumed; it is not correct when two workers process the same image. It requires an audit trail without
defining where it is stored: here it is in the item, as for image-worker; the last row omits it.

Requests per image while there is a backlog; an idle worker polls three times a minute:

{table(("request", "per image"), requests)}
{report.describe_machine("aiobotocore", "ministack")}. `python -m bench.cost [--images N]`
"""


def _plot(bills: Mapping[str, Bill]) -> str:
    figure = report.new_figure(height=2.5)
    axes = figure.subplots()
    left = [0.0] * len(bills)
    for part in fields(Bill):
        costs = [float(getattr(bill, part.name)) * MILLION for bill in bills.values()]
        axes.barh(list(bills), costs, left=left, label=part.name)
        left = [start + cost for start, cost in zip(left, costs, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("USD per million images")
    axes.legend(frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1))
    return report.save_figure(figure, "cost", alt="Cost of a million images, by service")


if __name__ == "__main__":
    report.run_benchmark("cost", measure, section, images=400, description=__doc__)
