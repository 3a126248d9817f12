"""Prometheus metrics of the worker."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from worker.domain.errors import RejectedError

NAMESPACE: Final = "image_worker"

# Metrics of creation times would add a series to each counter and histogram.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client does not type it

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SLOW: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
_LAG: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """
    All metrics of `/metrics`, in a registry of their own. docs/metrics.md describes each.

    Gauges of values that other objects hold (slots, decoders, memory) are set to functions, which are called
    when the gauge is read.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.images = self._counter("images", "Number of attempts that ended.", "status", "code")
        self.step_seconds = self._histogram("step_seconds", "Duration of a step.", _FAST, "step")
        self.event_to_done_seconds = self._histogram(
            "event_to_done_seconds",
            "Time from the sending of the message to the image's final status.",
            _SLOW,
        )
        self.message_age_seconds = self._histogram(
            "message_age_seconds", "Age of a message when it is received.", _SLOW
        )
        self.queue_messages = self._gauge(
            "queue_messages", "Number of messages in the queues, as SQS estimates it.", "state"
        )
        self.in_flight = self._gauge("in_flight", "Number of messages in flight in this worker.")
        self.slots = self._gauge("slots", "Maximum number of messages in flight in this worker.")
        self.decoders = self._gauge("decoders", "Number of running decoder processes.", "state")
        self.decoder_guarantees = self._gauge(
            "decoder_guarantee", "Whether a guarantee of confinement holds for all decoders.", "guarantee"
        )
        self.images_waiting = self._gauge("images_waiting", "Number of images that wait for a decoder.")
        self.resident_bytes = self._gauge(
            "resident_bytes", "Resident memory of the worker process, or of all decoders.", "process"
        )
        self.aws_calls = self._counter(
            "aws_calls", "Number of AWS calls that ended.", "service", "operation", "code"
        )
        self.aws_call_seconds = self._histogram(
            "aws_call_seconds", "Duration of an AWS call.", _FAST, "service", "operation"
        )
        self.aws_retries = self._counter(
            "aws_retries", "Number of AWS calls that were retries.", "service", "operation"
        )
        self.aws_throttles = self._counter(
            "aws_throttles", "Number of AWS calls that were throttled.", "service", "operation"
        )
        self.bytes = self._counter("bytes", "Number of bytes read and stored.", "direction")
        self.loop_lag_seconds = self._histogram("loop_lag_seconds", "Lag of the event loop.", _LAG)
        self.ready = self._gauge("ready", "Whether the dependency has responded recently.", "dependency")

        self._initialise_series()

    def _initialise_series(self) -> None:
        """Start series at zero: `rate` does not count the event with which a series appears."""
        for status, code in (("completed", ""), ("lost", "")):
            self.images.labels(status, code)
        for error in RejectedError.__subclasses__():
            self.images.labels("failed", error.code)
        for direction in ("in", "out"):
            self.bytes.labels(direction)

    def count_decoder_restarts(self, restarts: Callable[[], Mapping[str, int]]) -> None:
        """Add the counter of replaced decoders, whose totals `restarts` returns by reason."""
        self._registry.register(_DecoderRestarts(restarts))

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, namespace=NAMESPACE, registry=self._registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, namespace=NAMESPACE, registry=self._registry)

    def _histogram(
        self, name: str, documentation: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            name, documentation, labels, namespace=NAMESPACE, registry=self._registry, buckets=buckets
        )


class _DecoderRestarts(Collector):
    """A counter whose total is kept elsewhere, which `Counter` does not support."""

    def __init__(self, restarts: Callable[[], Mapping[str, int]]) -> None:
        self._restarts = restarts

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            f"{NAMESPACE}_decoder_restarts",
            "Number of decoder processes that were replaced.",
            labels=("reason",),
        )
        for reason, count in self._restarts().items():
            family.add_metric((reason,), count)
        yield family
