"""What a worker tells at `/metrics`, read as Prometheus reads it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from worker.telemetry.metrics import NAMESPACE


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples at one moment; their names are told without the prefix, as in `Metrics.value`."""

    samples: tuple[Sample, ...] = ()

    def of(self, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
        """Yield the labels and the value of each sample of a name."""
        return ((one.labels, one.value) for one in self.samples if one.name == f"{NAMESPACE}_{name}")

    def value(self, name: str, **labels: str) -> float:
        """Return one sample; 0 where nothing has been counted."""
        return next((value for said, value in self.of(name) if said == labels), 0.0)

    def total(self, name: str) -> int:
        """Add up the samples of a name."""
        return round(sum(value for _, value in self.of(name)))


async def scrape(session: aiohttp.ClientSession, port: int) -> Scrape:
    """Read what the worker on this port of 127.0.0.1 tells."""
    async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    return Scrape(tuple(one for family in text_string_to_metric_families(text) for one in family.samples))
