"""
Export traces: a span for each attempt to process an image, with child spans for its steps and AWS calls.

An attempt continues the trace of its upload. Unless `WORKER_TRACES` is set, OpenTelemetry is not imported.
`OTEL_EXPORTER_OTLP_*`, `OTEL_TRACES_SAMPLER` and `OTEL_SERVICE_NAME` configure the export.
"""

import asyncio
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from worker.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.util.types import AttributeValue

_TRACE_ID: Final = re.compile(r"(?:^|;)\s*Root=([\w-]+)")
_FLUSH_TIMEOUT_S: Final = 5.0

log = structlog.get_logger(__name__)


class Tracing(Protocol):
    """Records spans."""

    def image(self, header: str | None, **attributes: str | int) -> AbstractContextManager[str | None]:
        """
        Open the span of an attempt to process an image while the body runs.

        Args:
            header: `AWSTraceHeader` of the message, whose trace the span continues.
            attributes: Attributes of the span.

        Returns:
            Context manager that returns the trace id, or None if there is no trace.
        """
        ...

    def span(self, name: str) -> AbstractContextManager[None]:
        """Open a child of the current span while the body runs; without a current span, do nothing."""
        ...

    def add_finished_span(self, name: str, *, elapsed_ms: int) -> None:
        """Add a child span of this duration, which ends now, to the current span."""
        ...

    def set_error(self, code: str) -> None:
        """Set the status of the current span to an error with this code."""
        ...

    async def close(self) -> None:
        """Export the remaining spans."""
        ...


class NoTracing:
    """Records nothing."""

    def image(
        self,
        header: str | None,
        **attributes: str | int,  # noqa: ARG002 - part of the protocol
    ) -> AbstractContextManager[str | None]:
        """Return the trace id of the upload, for the log."""
        trace_id = _TRACE_ID.search(header or "")
        return nullcontext(trace_id[1] if trace_id else None)

    def span(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002 - part of the protocol
        """Do nothing."""
        return nullcontext()

    def add_finished_span(self, name: str, *, elapsed_ms: int) -> None:
        """Do nothing."""

    def set_error(self, code: str) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class OpenTelemetryTracing:
    """
    Records spans with OpenTelemetry.

    Args:
        exporter: Exporter of the spans; OTLP over HTTP if None.

    Raises:
        ConfigurationError: The extra `otel` is not installed.
    """

    def __init__(self, exporter: "SpanExporter | None" = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
                OTLPSpanExporter,
            )
            from opentelemetry.propagators.aws import AwsXRayPropagator
            from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            message = (
                "WORKER_TRACES is on, but OpenTelemetry is not installed: pip install 'image-worker[otel]', "
                "or set WORKER_TRACES=false"
            )
            raise ConfigurationError(message) from error
        resource = Resource({SERVICE_NAME: "image-worker"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("image-worker")
        self._trace, self._propagator = trace, AwsXRayPropagator()

    @contextmanager
    def image(self, header: str | None, **attributes: str | int) -> Iterator[str | None]:
        """Open the span of an attempt to process an image, in the trace of the upload if there is one."""
        parent = self._propagator.extract({"X-Amzn-Trace-Id": header}) if header else None
        with self._tracer.start_as_current_span(
            "image",
            context=parent,
            kind=self._trace.SpanKind.CONSUMER,
            attributes=_with_prefix(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield self._trace.format_trace_id(span.get_span_context().trace_id)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Open a child of the current span, if there is one; an exception adds only its type to the span."""
        if not self._trace.get_current_span().get_span_context().is_valid:
            yield
            return
        with self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, type(error).__name__))
                raise

    def add_finished_span(self, name: str, *, elapsed_ms: int) -> None:
        """Add a child span of this duration, which ends now, to the current span."""
        end_ns = time.time_ns()
        self._tracer.start_span(name, start_time=end_ns - elapsed_ms * 1_000_000).end(end_ns)

    def set_error(self, code: str) -> None:
        """Set the status of the current span to an error with this code."""
        status = self._trace.Status(self._trace.StatusCode.ERROR, code)
        self._trace.get_current_span().set_status(status)

    async def close(self) -> None:
        """Export the remaining spans, for at most a few seconds."""
        loop, exported = asyncio.get_running_loop(), asyncio.Event()

        def export() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed after the timeout
                loop.call_soon_threadsafe(exported.set)

        # Not in the loop's executor: at exit, the process would wait for its threads without a limit.
        threading.Thread(target=export, name="export traces", daemon=True).start()
        try:
            async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                await exported.wait()
        except TimeoutError:
            log.warning("traces.flush_timed_out", after_s=_FLUSH_TIMEOUT_S)


def _with_prefix(attributes: Mapping[str, str | int]) -> "dict[str, AttributeValue]":
    return {f"image_worker.{name}": value for name, value in attributes.items()}
