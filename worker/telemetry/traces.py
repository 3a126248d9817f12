"""
Traces: a span per picture, with spans for what is done to it, linked to whoever uploaded it.

Off, nothing of OpenTelemetry is imported. On (`WORKER_TRACES`), spans go out by OTLP as the variables
`OTEL_EXPORTER_OTLP_*`, `OTEL_TRACES_SAMPLER` and `OTEL_SERVICE_NAME` say.
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

_ROOT: Final = re.compile(r"(?:^|;)\s*Root=([\w-]+)")
_FLUSH_S: Final = 5.0

log = structlog.get_logger(__name__)


class Tracing(Protocol):
    """Takes down what is done, and when."""

    def picture(self, header: str | None, **attributes: str | int) -> AbstractContextManager[str | None]:
        """
        Hold the span of one picture; the body gets the trace's id, if there is a trace.

        Args:
            header: `AWSTraceHeader` of the message: the trace of the uploader, which this one goes on with.
            attributes: Of the span.
        """
        ...

    def span(self, name: str) -> AbstractContextManager[None]:
        """Hold a span inside the one that is open; what belongs to no picture has none."""
        ...

    def passed(self, name: str, *, elapsed_ms: int) -> None:
        """Take down a span that has ended just now."""
        ...

    def failed(self, code: str) -> None:
        """Say that what the open span is of has failed, and with which code."""
        ...

    async def close(self) -> None:
        """Send what is not sent yet."""
        ...


class Untraced:
    """Takes nothing down."""

    def picture(
        self,
        header: str | None,
        **attributes: str | int,  # noqa: ARG002 - as in the protocol
    ) -> AbstractContextManager[str | None]:
        """Return the id of the uploader's trace, for the log."""
        root = _ROOT.search(header or "")
        return nullcontext(root[1] if root else None)

    def span(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002 - as in the protocol
        """Do nothing."""
        return nullcontext()

    def passed(self, name: str, *, elapsed_ms: int) -> None:
        """Do nothing."""

    def failed(self, code: str) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class Traced:
    """
    Takes spans down with OpenTelemetry.

    Args:
        exporter: Where they go; OTLP over HTTP if None.

    Raises:
        ConfigurationError: The extra `otel` is not installed.
    """

    def __init__(self, exporter: "SpanExporter | None" = None) -> None:
        try:
            from opentelemetry import trace  # noqa: PLC0415 - an extra, and slow to import
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )
            from opentelemetry.propagators.aws import AwsXRayPropagator  # noqa: PLC0415
            from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError as error:
            message = (
                "WORKER_TRACES is on, but OpenTelemetry is not installed: pip install 'image-worker[otel]', "
                "or turn it off"
            )
            raise ConfigurationError(message) from error
        named = Resource({SERVICE_NAME: "image-worker"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("image-worker")
        self._trace, self._propagator = trace, AwsXRayPropagator()

    @contextmanager
    def picture(self, header: str | None, **attributes: str | int) -> Iterator[str | None]:
        """Hold the span of one picture, as a part of the uploader's trace if there is one."""
        parent = self._propagator.extract({"X-Amzn-Trace-Id": header}) if header else None
        with self._tracer.start_as_current_span(
            "image",
            context=parent,
            kind=self._trace.SpanKind.CONSUMER,
            attributes=_named(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield self._trace.format_trace_id(span.get_span_context().trace_id)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Hold a span inside the one that is open, if one is; an exception marks it with its type alone."""
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

    def passed(self, name: str, *, elapsed_ms: int) -> None:
        """Take down a span that has ended just now."""
        end_ns = time.time_ns()
        self._tracer.start_span(name, start_time=end_ns - elapsed_ms * 1_000_000).end(end_ns)

    def failed(self, code: str) -> None:
        """Say that what the open span is of has failed, and with which code."""
        status = self._trace.Status(self._trace.StatusCode.ERROR, code)
        self._trace.get_current_span().set_status(status)

    async def close(self) -> None:
        """Send what is not sent yet, as long as that takes no longer than a moment."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any longer
                loop.call_soon_threadsafe(sent.set)

        # Not of the loop's executor, whose threads the process waits for at its end, however long they take.
        threading.Thread(target=send, name="send traces", daemon=True).start()
        try:
            async with asyncio.timeout(_FLUSH_S):
                await sent.wait()
        except TimeoutError:
            log.warning("traces.not_flushed", after_s=_FLUSH_S)


def _named(attributes: Mapping[str, str | int]) -> "dict[str, AttributeValue]":
    return {f"image_worker.{name}": value for name, value in attributes.items()}
