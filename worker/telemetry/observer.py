"""What is seen of each picture on its way: for the metrics, the traces, and its one line of the log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from worker.domain.clock import Clock
from worker.domain.errors import INTERNAL_ERROR, TransientError
from worker.domain.job import Job
from worker.domain.message import Message
from worker.domain.step import StepReport
from worker.telemetry.metrics import Metrics
from worker.telemetry.traces import Tracing

log = structlog.get_logger(__name__)


class Observer:
    """
    The observer of `worker.delivery.ports`.

    Args:
        metrics: Where things are counted.
        tracing: Where spans are taken down.
        clock: The time that messages' ages are counted to.
    """

    def __init__(self, metrics: Metrics, tracing: Tracing, *, clock: Clock) -> None:
        self._metrics, self._tracing, self._clock = metrics, tracing, clock

    def received(self, message: Message) -> None:
        """Note how old a message is at its receipt."""
        self._metrics.message_age_seconds.observe(self._age_s(message))

    @contextmanager
    def observing(self, job: Job, message: Message) -> Iterator["Observation"]:
        """Observe a picture while the body takes it on its way."""
        names = {"image_id": job.image_id, "user_id": job.user_id}
        tracing = self._tracing.picture(
            message.trace_header, message_id=message.message_id, receive_count=message.receive_count, **names
        )
        with tracing as trace_id:
            known = {**names, "trace_id": trace_id} if trace_id else names
            with structlog.contextvars.bound_contextvars(**known):
                observation = Observation(self._metrics, self._tracing)
                try:
                    yield observation
                except Exception as error:
                    if not observation.has_ended:
                        observation.released(_code_of(error), reason=str(error))
                    raise
                finally:
                    if observation.is_final:
                        self._metrics.event_to_done_seconds.observe(self._age_s(message))

    def _age_s(self, message: Message) -> float:
        return max(0.0, (self._clock() - message.sent_at).total_seconds())


class Observation:
    """What is seen of one picture; its fields end up in its line of the log."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self.is_final = self.has_ended = False
        self._metrics, self._tracing = metrics, tracing
        self._fields: dict[str, int] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the body."""
        began = time.monotonic()
        try:
            with self._tracing.span(name):
                yield
        finally:
            self._took(name, time.monotonic() - began)

    def step_reported(self, report: StepReport) -> None:
        """Take a step of a child as the child measured it."""
        self._tracing.passed(report.step, elapsed_ms=report.elapsed_ms)
        self._took(report.step, report.elapsed_ms / 1000)

    def read(self, size_bytes: int) -> None:
        """Note the size of the upload."""
        self._metrics.bytes.labels("in").inc(size_bytes)
        self._fields["bytes_in"] = size_bytes

    def stored(self, size_bytes: int) -> None:
        """Note the size of a rendition that is stored."""
        self._metrics.bytes.labels("out").inc(size_bytes)
        self._fields["bytes_out"] = self._fields.get("bytes_out", 0) + size_bytes
        self._fields["renditions"] = self._fields.get("renditions", 0) + 1

    def completed(self) -> None:
        """Say that the record holds the picture's completion."""
        self.is_final = self.has_ended = True
        self._metrics.images.labels("completed", "").inc()
        log.info("image.completed", **self._fields)

    def failed(self, code: str, *, reason: str, step: str | None) -> None:
        """Say that the record holds why the picture failed for good."""
        self.is_final = self.has_ended = True
        self._metrics.images.labels("failed", code).inc()
        self._tracing.failed(code)
        log.info("image.failed", code=code, reason=reason, step=step, **self._fields)

    def released(self, code: str, *, reason: str) -> None:
        """Say that the picture waits to be tried again."""
        self.has_ended = True
        self._metrics.images.labels("released", code).inc()
        self._tracing.failed(code)
        log.info("image.released", code=code, reason=reason, **self._fields)

    def lost(self) -> None:
        """Say that the picture is another worker's now."""
        self.has_ended = True
        self._metrics.images.labels("lost", "").inc()
        self._tracing.failed("lease_lost")
        log.warning("image.lease_lost", **self._fields)

    def _took(self, name: str, seconds: float) -> None:
        self._metrics.step_seconds.labels(name).observe(seconds)
        self._fields[f"{name}_ms"] = round(seconds * 1000)


def _code_of(error: Exception) -> str:
    """Name what kept a delivery from telling the record how it ended."""
    return error.code if isinstance(error, TransientError) else INTERNAL_ERROR
