"""Metrics parsed from Prometheus's text format."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from worker.telemetry.metrics import NAMESPACE, Metrics


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples of one scrape. The methods take names without the prefix `image_worker_`."""

    samples: tuple[Sample, ...] = ()

    def of(self, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
        """Yield the labels and the value of each sample with this name."""
        return ((one.labels, one.value) for one in self.samples if one.name == f"{NAMESPACE}_{name}")

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the sample with this name and exactly these labels; 0 if there is none."""
        return next((value for found, value in self.of(name) if found == labels), 0.0)

    def total(self, name: str) -> int:
        """Return the sum of all samples with this name."""
        return round(sum(value for _, value in self.of(name)))


async def scrape(session: aiohttp.ClientSession, port: int) -> Scrape:
    """Scrape the worker that listens on this port of 127.0.0.1."""
    async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
        return _parsed(await response.text())


def value_of(metrics: Metrics, name: str, **labels: str) -> float:
    """Return the current value of one metric; 0 if nothing has been counted."""
    return _parsed(metrics.exposition().decode()).value(name, **labels)


def _parsed(text: str) -> Scrape:
    return Scrape(tuple(one for family in text_string_to_metric_families(text) for one in family.samples))
