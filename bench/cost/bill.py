"""AWS cost of one image, by service, with image-worker's record and with the baseline record."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.cost import baseline_record
from bench.cost.metering import RequestMeter
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
    S3_WRITE_OPERATIONS,
    SQS_REQUEST,
)
from tests.support.fakes.metered_table import Item, item_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """
    What was used to process all images.

    Attributes:
        images: Number of images.
        requests: Number of requests by service and operation.
        meter: DynamoDB units and items.
        cpu_s: CPU time of the worker and its decoder processes.
        bytes_in: Size of all uploads.
        bytes_out: Size of all results.
    """

    images: int
    requests: Mapping[tuple[str, str], int]
    meter: RequestMeter
    cpu_s: float
    bytes_in: int
    bytes_out: int

    @property
    def write_units(self) -> float:
        """DynamoDB write units per image, including those of rejected writes."""
        return (self.meter.write_units + self.meter.rejected_write_units) / self.images

    @property
    def read_units(self) -> float:
        """DynamoDB read units per image."""
        return self.meter.read_units / self.images


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Cost of one image in US dollars, by service."""

    s3: float
    sqs: float
    dynamodb: float
    fargate: float
    storage: float

    @property
    def total(self) -> float:
        """Sum over all services."""
        return self.s3 + self.sqs + self.dynamodb + self.fargate + self.storage


def own_bill(usage: Usage) -> Bill:
    """Return the cost of one image with image-worker's record."""
    requests = {service: Counter[str]() for service in ("s3", "sqs", "dynamodb")}
    for (service, operation), count in usage.requests.items():
        requests[service][operation] += count
    s3 = sum(
        count * (S3_WRITE if operation in S3_WRITE_OPERATIONS else S3_READ)
        for operation, count in requests["s3"].items()
    )
    sqs_requests = requests["sqs"].total() / usage.images + 1  # S3 sends the notification
    return Bill(
        s3=s3 / usage.images,
        sqs=sqs_requests * SQS_REQUEST,
        dynamodb=_requests_usd(usage.write_units, usage),
        fargate=usage.cpu_s / usage.images / BUSY_SHARE * FARGATE_VCPU_S,
        storage=_objects_usd(usage) + _items_usd(usage.meter.entries()) / usage.images,
    )


def baseline_bill(usage: Usage, *, has_trail: bool) -> Bill:
    """Return the cost of one image with the baseline record; everything else is the same."""
    item = baseline_record.images(has_trail=has_trail)[-1]
    return replace(
        own_bill(usage),
        dynamodb=_requests_usd(baseline_record.write_units(has_trail=has_trail), usage),
        storage=_objects_usd(usage) + _items_usd(baseline_record.entries(item)),
    )


def _requests_usd(write_units: float, usage: Usage) -> float:
    return write_units * DYNAMODB_WRITE_UNIT + usage.read_units * DYNAMODB_READ_UNIT


def _objects_usd(usage: Usage) -> float:
    """Return the cost of storing an upload and its result for a month."""
    return (usage.bytes_in + usage.bytes_out) / usage.images / 1e9 * S3_GB_MONTH


def _items_usd(entries: Sequence[Item]) -> float:
    """Return the cost of storing items and index entries for a month."""
    return sum(item_bytes(entry) + DYNAMODB_ENTRY_BYTES for entry in entries) / 1e9 * DYNAMODB_GB_MONTH
