"""
What a million pictures cost on AWS: `python -m bench.cost [--pictures N]`.

The real service works off a backlog on an embedded AWS. Its requests are those of its own `/metrics`; write
units are reckoned from every write that it makes and the table's indexes; CPU is that of all its processes.
Beside it stands the record that was first described, to the letter; see `bench.literal_record`.
"""

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass, field, fields, replace
from math import ceil
from typing import Any, Final

import aiohttp

from bench.common import report
from bench.common.aws import provisioned, upload
from bench.common.photographs import encoded, photograph
from bench.cost import baseline_record as literal_record
from bench.cost.prices import (
    BUSY_SHARE,
    DYNAMODB_ENTRY_BYTES,
    DYNAMODB_GB_MONTH,
    DYNAMODB_READ_UNIT,
    DYNAMODB_WRITE_UNIT,
    FARGATE_VCPU_S,
    S3_GB_MONTH,
    S3_READ,
    S3_WRITE,
    SQS_REQUEST,
    WRITES_OF_S3,
    Bill,
)
from tests.support.emulators import a_free_port
from tests.support.fakes.metered_table import Item, MeteredTable, item_bytes, item_write_units
from tests.support.scrape import Scrape, scrape
from worker.bootstrap import open_clients, open_consumer
from worker.telemetry import logs

MILLION: Final = 1_000_000
_USERS: Final = 25
_DIFFERENT: Final = 8
_READ_UNIT_BYTES: Final = 4096
_SHOWN: Final = 0.001


@dataclass(eq=False)
class Meter:
    """
    Hears of every call of DynamoDB, and reckons afterwards what it would be charged.

    Attributes:
        write_units: Of all writes that were made.
        refused_units: Of writes whose condition was refused: they cost as much.
        read_units: Of all reads.
        tables: What each owner's items are, so that sizes are known before and after a write.
    """

    write_units: int = 0
    refused_units: int = 0
    read_units: float = 0
    tables: defaultdict[str, MeteredTable] = field(default_factory=lambda: defaultdict(MeteredTable))
    _heard: list[tuple[str, dict[str, Any], Any]] = field(default_factory=list)

    def listen_to(self, client: Any) -> None:  # noqa: ANN401 - any client of botocore
        """Hear of the calls of this client."""
        make = client._make_api_call  # noqa: SLF001 - where every call passes

        async def heard(operation: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - as botocore has it
            answer = None
            try:
                answer = await make(operation, parameters)
            finally:
                self._heard.append((operation, parameters, answer))
            return answer

        client._make_api_call = heard  # noqa: SLF001 - as above

    async def reckon(self) -> None:
        """Charge for all that was heard."""
        for operation, parameters, answer in self._heard:
            if operation == "GetItem":
                units = max(1, ceil(item_bytes(answer.get("Item", {})) / _READ_UNIT_BYTES))
                self.read_units += units if parameters.get("ConsistentRead") else units / 2
            elif operation in {"UpdateItem", "TransactWriteItems"}:
                await self._charge_write(operation, parameters, is_refused=answer is None)

    @property
    def entries(self) -> list[Item]:
        """Every image's item, and what the indexes hold of it."""
        return [
            entry
            for table in self.tables.values()
            for image_id, item in table.items.items()
            if image_id != "user_profile"
            for entry in (item, *(index.entry(item) for index in table.indexes))
        ]

    async def _charge_write(self, operation: str, parameters: dict[str, Any], *, is_refused: bool) -> None:
        in_transaction = operation == "TransactWriteItems"
        updates = [one["Update"] for one in parameters["TransactItems"]] if in_transaction else [parameters]
        table = self.tables[updates[0]["Key"]["userId"]["S"]]
        if is_refused:
            keys = [update["Key"] for update in updates]
            units = sum(item_write_units(table.items.get(key["imageId"]["S"], key)) for key in keys)
            self.refused_units += units * (2 if in_transaction else 1)
            return
        before = table.units
        await (table.transact_write_items if in_transaction else table.update_item)(**parameters)
        self.write_units += table.units - before


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was counted, for all pictures together."""

    pictures: int
    calls: Mapping[tuple[str, str], int]
    meter: Meter
    cpu_s: float
    bytes_in: int
    bytes_out: int

    @property
    def write_units(self) -> float:
        """Of one picture, refused writes among them."""
        return (self.meter.write_units + self.meter.refused_units) / self.pictures


async def measure(pictures: int) -> Figures:
    """Have a backlog worked off."""
    logs.configure(format="console", level="warning")
    files = [encoded(photograph(1920, 1080, seed=seed), "JPEG", quality=88) for seed in range(_DIFFERENT)]
    uploads = [
        (f"uploads/user_{number % _USERS:036d}/img_{number:016x}.jpg", files[number % _DIFFERENT])
        for number in range(pictures)
    ]
    port = a_free_port()
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(provisioned(http_host="127.0.0.1", http_port=port))
        clients = await stack.enter_async_context(open_clients(settings))
        await upload(clients.s3, settings, uploads)
        meter = Meter()
        meter.listen_to(clients.dynamodb)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        began = os.times()
        async with open_consumer(settings, clients) as service, asyncio.TaskGroup() as group:
            group.create_task(service.run())
            told = Scrape()
            while told.total("images_total") < pictures or told.value("in_flight"):
                await asyncio.sleep(0.5)  # nobody tells when a backlog has been worked off
                told = await scrape(session, port)
            service.stop()
        ended = os.times()  # the children have ended, so that their time is known
    if told.value("images_total", status="completed", code="") != pictures:
        message = f"not all pictures were completed: {list(told.of('images_total'))}"
        raise RuntimeError(message)
    calls: Counter[tuple[str, str]] = Counter()
    for labels, count in told.of("aws_calls_total"):
        calls[labels["service"], labels["operation"]] += round(count)
    await meter.reckon()
    return Figures(
        pictures=pictures,
        calls=calls,
        meter=meter,
        cpu_s=sum(ended[:4]) - sum(began[:4]),
        bytes_in=round(told.value("bytes_total", direction="in")),
        bytes_out=round(told.value("bytes_total", direction="out")),
    )


def bill(figures: Figures) -> Bill:
    """Return what one picture costs."""
    calls = {service: Counter[str]() for service in ("s3", "sqs", "dynamodb")}
    for (service, operation), count in figures.calls.items():
        calls[service][operation] += count
    each = 1 / figures.pictures
    s3 = sum(count * (S3_WRITE if name in WRITES_OF_S3 else S3_READ) for name, count in calls["s3"].items())
    sqs = (calls["sqs"].total() * each + 1) * SQS_REQUEST  # one more: S3 sends the announcement
    record = _dynamodb(figures.write_units, figures)
    stored = (figures.bytes_in + figures.bytes_out) * each / 1e9 * S3_GB_MONTH
    fargate = figures.cpu_s * each / BUSY_SHARE * FARGATE_VCPU_S
    kept = _stored(figures.meter.entries) * each
    return Bill(s3=s3 * each, sqs=sqs, dynamodb=record, fargate=fargate, storage=stored + kept)


def literal_bill(figures: Figures, *, has_trail: bool) -> Bill:
    """Return what it would cost with the literal record; all else as it is."""
    units = literal_record.write_units(has_trail=has_trail)
    item = literal_record.images(has_trail=has_trail)[-1]
    stored = (figures.bytes_in + figures.bytes_out) / figures.pictures / 1e9 * S3_GB_MONTH
    return replace(
        bill(figures),
        dynamodb=_dynamodb(units, figures),
        storage=stored + _stored(literal_record.entries(item)),
    )


def section(figures: Figures) -> str:
    """Write the section of `docs/performance.md`; draw its plot."""
    each = 1 / figures.pictures
    names = ("image-worker", "the literal record", "the same without its audit trail")
    bills = [
        bill(figures),
        literal_bill(figures, has_trail=True),
        literal_bill(figures, has_trail=False),
    ]
    units = [
        figures.write_units,
        *(literal_record.write_units(has_trail=has_trail) for has_trail in (True, False)),
    ]
    costs = [
        (name, *(f"{one * MILLION:.2f}" for one in (*astuple(cost), cost.total)))
        for name, cost in zip(names, bills, strict=True)
    ]
    records = [(name, f"{one:.1f}", f"{units[0] / one:.2f}") for name, one in zip(names, units, strict=True)]
    called = [
        (f"{service} {operation}", f"{count * each:.3f}")
        for (service, operation), count in sorted(figures.calls.items(), key=lambda call: -call[1])
        if count * each >= _SHOWN
    ]
    return f"""## Cost
What a million pictures cost in us-east-1, at list prices of March 2026: {figures.pictures} photographs of
1920x1080 ({figures.bytes_in * each / 1000:.0f} kB) of {_USERS} owners, worked off by the real service on an
embedded AWS, with a text as mark and one size. Not counted: KMS, CloudWatch, the upload itself, free tiers,
data that leaves the region. CPU is that of all processes of the worker,
{figures.cpu_s * each * 1000:.0f} ms a picture, in Fargate tasks that are busy for three quarters of their
time. Storage is one month of both pictures and the record.

{report.table(("USD a million", *(part.name for part in fields(Bill)), "total"), costs)}
{_plot(dict(zip(names, bills, strict=True)))}
Write units of one picture, reckoned from the size of each item before and after each write and the
definitions of the indexes; of ours, {figures.meter.refused_units * each:.2f} are for writes whose condition
was refused, as the first statistics of an owner are:

{report.table(("record", "write units", "worker / it"), records)}
Read units of one picture: {figures.meter.read_units * each:.2f}.

The literal record is the original description of the table to the letter: three indexes with all attributes,
the item put at the upload, an unconditional update at the start and end of each step and at the end of the
picture, and one of the owner's statistics. It cannot be written exactly so, and promises nothing when two
workers meet. The description asks for an audit trail without saying where it is: here it is in the item, as
the worker has it; the last line leaves it out.

Requests of one picture, while there is a backlog; an idle worker polls three times a minute:

{report.table(("call", "a picture"), called)}
{report.machine("aiobotocore", "ministack")}. `python -m bench.cost [--pictures N]`
"""


def _dynamodb(write_units: float, figures: Figures) -> float:
    read = figures.meter.read_units / figures.pictures
    return write_units * DYNAMODB_WRITE_UNIT + read * DYNAMODB_READ_UNIT


def _stored(entries: Sequence[Item]) -> float:
    """Return what a month of items and entries of indexes costs."""
    return sum(item_bytes(entry) + DYNAMODB_ENTRY_BYTES for entry in entries) / 1e9 * DYNAMODB_GB_MONTH


def _plot(bills: Mapping[str, Bill]) -> str:
    figure = report.figure(height=2.5)
    axes = figure.subplots()
    left = [0.0] * len(bills)
    for part in fields(Bill):
        costs = [getattr(one, part.name) * MILLION for one in bills.values()]
        axes.barh(list(bills), costs, left=left, label=part.name)
        left = [before + cost for before, cost in zip(left, costs, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("USD a million pictures")
    axes.legend(frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1))
    return report.save(figure, "cost", says="What a million pictures cost, by service")


if __name__ == "__main__":
    report.run("cost", measure, section, pictures=400, description=__doc__)
