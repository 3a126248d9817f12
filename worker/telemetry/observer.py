"""Record metrics, traces and the log line of each attempt to process an image."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from worker.domain.clock import Clock
from worker.domain.errors import INTERNAL_ERROR, RecordError, TransientError
from worker.domain.job import Job
from worker.domain.message import Message
from worker.domain.step import StepReport
from worker.telemetry.metrics import Metrics
from worker.telemetry.traces import Tracing

log = structlog.get_logger(__name__)


class Observer:
    """
    Observes messages and attempts: the implementation of `worker.delivery.ports.Observer`.

    Args:
        metrics: Metrics to update.
        tracing: Records the spans.
        clock: Returns the current time, from which the age of a message is computed.
    """

    def __init__(self, metrics: Metrics, tracing: Tracing, *, clock: Clock) -> None:
        self._metrics, self._tracing, self._clock = metrics, tracing, clock

    def received(self, message: Message) -> None:
        """Record the age of a message when it is received."""
        self._metrics.message_age_seconds.observe(self._age_s(message))

    @contextmanager
    def observing(self, job: Job, message: Message) -> Iterator["Observation"]:
        """Observe an attempt while the body runs; the image's ids are in each log line of the body."""
        ids = {"image_id": job.image_id, "user_id": job.user_id}
        tracing = self._tracing.image(
            message.trace_header, message_id=message.message_id, receive_count=message.receive_count, **ids
        )
        with tracing as trace_id:
            fields = {**ids, "trace_id": trace_id} if trace_id else ids
            with structlog.contextvars.bound_contextvars(**fields):
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
    """Records metrics and trace of one attempt, and collects the fields of its log line."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self.is_final = self.has_ended = False
        self._metrics, self._tracing = metrics, tracing
        self._fields: dict[str, int] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the duration of a step."""
        started = time.monotonic()
        try:
            with self._tracing.span(name):
                yield
        finally:
            self._record_duration(name, time.monotonic() - started)

    def step_reported(self, report: StepReport) -> None:
        """Record the duration of a step that a decoder measured."""
        self._tracing.add_finished_span(report.step, elapsed_ms=report.elapsed_ms)
        self._record_duration(report.step, report.elapsed_ms / 1000)

    def read(self, size_bytes: int) -> None:
        """Record the size of the upload."""
        self._metrics.bytes.labels("in").inc(size_bytes)
        self._fields["bytes_in"] = size_bytes

    def stored(self, size_bytes: int) -> None:
        """Record the size of a stored rendition."""
        self._metrics.bytes.labels("out").inc(size_bytes)
        self._fields["bytes_out"] = self._fields.get("bytes_out", 0) + size_bytes
        self._fields["renditions"] = self._fields.get("renditions", 0) + 1

    def completed(self) -> None:
        """Record that the image is completed."""
        self.is_final = self.has_ended = True
        self._metrics.images.labels("completed", "").inc()
        log.info("image.completed", **self._fields)

    def failed(self, code: str, *, reason: str, step: str | None) -> None:
        """Record that the image has failed permanently."""
        self.is_final = self.has_ended = True
        self._metrics.images.labels("failed", code).inc()
        self._tracing.set_error(code)
        log.info("image.failed", code=code, reason=reason, step=step, **self._fields)

    def released(self, code: str, *, reason: str) -> None:
        """Record that the image will be retried."""
        self.has_ended = True
        self._metrics.images.labels("released", code).inc()
        self._tracing.set_error(code)
        log.info("image.released", code=code, reason=reason, **self._fields)

    def lost(self) -> None:
        """Record that another worker owns the image."""
        self.has_ended = True
        self._metrics.images.labels("lost", "").inc()
        self._tracing.set_error("lease_lost")
        log.warning("image.lease_lost", **self._fields)

    def _record_duration(self, name: str, seconds: float) -> None:
        self._metrics.step_seconds.labels(name).observe(seconds)
        self._fields[f"{name}_ms"] = round(seconds * 1000)


def _code_of(error: Exception) -> str:
    """Return the code of an error that prevented the end of the attempt from being recorded."""
    return error.code if isinstance(error, TransientError | RecordError) else INTERNAL_ERROR
