import asyncio
import os
import random
import socket
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.builders import a_job, a_message, a_report, after
from worker.domain.errors import TransientError
from worker.domain.status import StepName
from worker.telemetry.metrics import Metrics
from worker.telemetry.observer import Observer
from worker.telemetry.traces import NoTracing, OpenTelemetryTracing

HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def observer_of(tracing: OpenTelemetryTracing) -> Observer:
    return Observer(Metrics(), tracing, clock=lambda: after(1))


async def test_the_spans_of_concurrent_images_are_kept_apart(
    exporter: InMemorySpanExporter,
) -> None:
    tracing = OpenTelemetryTracing(exporter)
    observer = observer_of(tracing)

    async def process(number: int) -> None:
        with observer.observing(a_job(f"img_{number}"), a_message()) as observation:
            with observation.step("fetch"):
                await asyncio.sleep(0)
                with tracing.span("s3.GetObject"):
                    await asyncio.sleep(0)
            observation.step_reported(a_report(StepName.RESIZE))
            observation.completed()

    await asyncio.gather(*(process(number) for number in range(20)))
    await tracing.close()

    spans = exporter.get_finished_spans()
    named = {span.context.span_id: span.name for span in spans}
    assert len({span.context.trace_id for span in spans if span.name == "image"}) == 20
    parents = {(span.name, span.parent and named[span.parent.span_id]) for span in spans}
    assert parents == {("image", None), ("fetch", "image"), ("s3.GetObject", "fetch"), ("resize", "image")}


async def test_the_span_of_a_failed_attempt_has_the_error_code(exporter: InMemorySpanExporter) -> None:
    tracing = OpenTelemetryTracing(exporter)
    message = "the table is unreachable, and this is a secret"
    with pytest.raises(TransientError), observer_of(tracing).observing(a_job(), a_message()):
        raise TransientError(message)
    await tracing.close()

    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "unavailable")
    assert span.events == ()


async def test_a_call_outside_of_an_attempt_has_no_span(exporter: InMemorySpanExporter) -> None:
    tracing = OpenTelemetryTracing(exporter)
    with tracing.span("sqs.ReceiveMessage"):
        pass
    await tracing.close()

    assert exporter.get_finished_spans() == ()


def test_without_opentelemetry_the_trace_id_of_the_upload_is_still_returned() -> None:
    with NoTracing().image(HEADER) as trace_id:
        assert trace_id == "1-5759e988-bd862e3fe1be46a994272793"
    with NoTracing().image(None) as trace_id:
        assert trace_id is None


def test_a_malformed_trace_header_is_ignored(exporter: InMemorySpanExporter) -> None:
    dice, tracing = random.Random(1), OpenTelemetryTracing(exporter)
    alphabet = "Root=1-;Parent=Sampled=0123456789abcdef_+- \x00é²"
    for _ in range(2000):
        header = list(HEADER)
        for _ in range(dice.randrange(1, 6)):
            header[dice.randrange(len(header))] = dice.choice(alphabet)
        with tracing.image("".join(header)), NoTracing().image("".join(header)):
            pass


def test_a_collector_that_does_not_respond_does_not_delay_the_exit() -> None:
    program = """
import asyncio
from worker.telemetry import traces

traces._FLUSH_TIMEOUT_S = 0.5

async def main() -> None:
    tracing = traces.OpenTelemetryTracing()
    with tracing.image(None):
        pass
    await tracing.close()

asyncio.run(main())
"""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        # The program waits half a second for the export, which would take ten.
        finished = subprocess.run(
            [sys.executable, "-c", program],
            env={"PATH": os.environ["PATH"], "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
            capture_output=True,
            timeout=9,
            check=False,
        )

    assert finished.returncode == 0
    assert b"traces.flush_timed_out" in finished.stdout + finished.stderr
