"""What the service counts and measures, as Prometheus reads it."""

from collections.abc import Callable, Iterator
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

# Half as many series again, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SLOW: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
_LAG: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """
    Everything that `/metrics` tells, in a registry of its own.

    Gauges of what something else knows (slots, children, memory) are given a function by whoever builds that,
    asked when they are read; they cost nothing in between.

    Attributes:
        images: Deliveries of pictures that have ended, by `status` and `code`. `completed` and `failed` are
            what the record says; `released` pictures are tried again; `lost` ones are another worker's.
        step_seconds: How long each `step` took; fetch, compute (with the wait for a child), store and settle
            among them.
        event_to_done_seconds: From the message's sending to the record of the picture's end.
        message_age_seconds: How old messages are when they are received.
        queue_messages: How many there are, by `state`; as SQS estimates it.
        in_hand: Messages that this worker has.
        slots: Messages that it may have.
        decoders: Its children, by `state`: busy or idle.
        images_waiting: Pictures that wait for a child.
        resident_bytes: Memory, by `process`: parent, or children together.
        aws_calls: Calls that ended, by `service`, `operation` and `code`: `OK`, AWS's own, or the name of
            the exception; `Abandoned` where nobody waited any longer.
        aws_call_seconds: How long they took; long polls among them.
        aws_retries: Calls made again after one that failed.
        aws_throttles: Calls that were told to slow down.
        bytes: Of pictures, by `direction`: in or out.
        loop_lag_seconds: How late the event loop is with what is due.
        ready: Whether queue, table and bucket have answered lately, by `dependency`: 1 or 0.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.images = self._counter("images", "MessageHandler of pictures that ended.", "status", "code")
        self.step_seconds = self._histogram("step_seconds", "Time that a step took.", _FAST, "step")
        self.event_to_done_seconds = self._histogram(
            "event_to_done_seconds", "From the message's sending to the picture's end.", _SLOW
        )
        self.message_age_seconds = self._histogram("message_age_seconds", "Age at receipt.", _SLOW)
        self.queue_messages = self._gauge("queue_messages", "Messages, as SQS estimates them.", "state")
        self.in_flight = self._gauge("in_flight", "Messages in flight.")
        self.slots = self._gauge("slots", "Messages in hand at the most.")
        self.decoders = self._gauge("decoders", "DecoderProcess children that are up.", "state")
        self.images_waiting = self._gauge("images_waiting", "Pictures that wait for a decoder child.")
        self.resident_bytes = self._gauge("resident_bytes", "Resident memory.", "process")
        self.aws_calls = self._counter("aws_calls", "Calls of AWS.", "service", "operation", "code")
        self.aws_call_seconds = self._histogram(
            "aws_call_seconds", "Time that a call of AWS took.", _FAST, "service", "operation"
        )
        self.aws_retries = self._counter("aws_retries", "Calls made again.", "service", "operation")
        self.aws_throttles = self._counter("aws_throttles", "Calls turned away.", "service", "operation")
        self.bytes = self._counter("bytes", "Bytes of pictures.", "direction")
        self.loop_lag_seconds = self._histogram("loop_lag_seconds", "Lateness of the event loop.", _LAG)
        self.ready = self._gauge("ready", "Whether it answered lately.", "dependency")

        self._begin()

    def _begin(self) -> None:
        """Begin at zero: of a series that begins with its first event, rates miss that event."""
        for status, code in (("completed", ""), ("lost", "")):
            self.images.labels(status, code)
        for kind in RejectedError.__subclasses__():
            self.images.labels("failed", kind.code)
        for direction in ("in", "out"):
            self.bytes.labels(direction)

    def count_restarts(self, restarts: Callable[[], int]) -> None:
        """Tell of the decoder children that were replaced, as `restarts` counts them."""
        self._registry.register(_Restarts(restarts))

    def exposition(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self._registry)

    def value(self, name: str, **labels: str) -> float:
        """Return one sample by its name without the prefix; 0 where nothing has been counted."""
        return self._registry.get_sample_value(f"{NAMESPACE}_{name}", labels) or 0.0

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


class _Restarts(Collector):
    """A total that somebody else counts: `Counter` can only count by itself."""

    def __init__(self, restarts: Callable[[], int]) -> None:
        self._restarts = restarts

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            f"{NAMESPACE}_decoder_restarts", "DecoderProcess children replaced.", value=self._restarts()
        )
