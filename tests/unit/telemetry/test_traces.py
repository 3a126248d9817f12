"""Spans: whose they are, what they say, and that they hold nobody up."""

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
from worker.telemetry.traces import Traced, Untraced

UPLOADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def observer_of(tracing: Traced) -> Observer:
    return Observer(Metrics(), tracing, clock=lambda: after(1))


async def test_pictures_that_are_worked_on_at_once_keep_their_spans_apart(
    exporter: InMemorySpanExporter,
) -> None:
    tracing = Traced(exporter)
    observer = observer_of(tracing)

    async def process(number: int) -> None:
        with observer.observing(a_job(f"img_{number}"), a_message()) as seen:
            with seen.step("fetch"):
                await asyncio.sleep(0)
                with tracing.span("s3.GetObject"):
                    await asyncio.sleep(0)
            seen.step_reported(a_report(StepName.RESIZE))
            seen.completed()

    await asyncio.gather(*(process(number) for number in range(20)))
    await tracing.close()

    spans = exporter.get_finished_spans()
    named = {span.context.span_id: span.name for span in spans}
    assert len({span.context.trace_id for span in spans if span.name == "image"}) == 20
    parents = {(span.name, span.parent and named[span.parent.span_id]) for span in spans}
    assert parents == {("image", None), ("fetch", "image"), ("s3.GetObject", "fetch"), ("resize", "image")}


async def test_the_span_of_a_delivery_that_fails_says_with_which_code(exporter: InMemorySpanExporter) -> None:
    tracing = Traced(exporter)
    message = "the table is away, and here is a secret"
    with pytest.raises(TransientError), observer_of(tracing).observing(a_job(), a_message()):
        raise TransientError(message)
    await tracing.close()

    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "unavailable")
    assert span.events == ()


async def test_a_call_that_belongs_to_no_picture_has_no_span(exporter: InMemorySpanExporter) -> None:
    tracing = Traced(exporter)
    with tracing.span("sqs.ReceiveMessage"):
        pass
    await tracing.close()

    assert exporter.get_finished_spans() == ()


def test_without_opentelemetry_the_log_has_the_uploader_s_trace_all_the_same() -> None:
    with Untraced().picture(UPLOADER) as trace_id:
        assert trace_id == "1-5759e988-bd862e3fe1be46a994272793"
    with Untraced().picture(None) as trace_id:
        assert trace_id is None


def test_no_trace_header_can_stop_a_picture(exporter: InMemorySpanExporter) -> None:
    dice, tracing = random.Random(1), Traced(exporter)
    alphabet = "Root=1-;Parent=Sampled=0123456789abcdef_+- \x00é²"
    for _ in range(2000):
        header = list(UPLOADER)
        for _ in range(dice.randrange(1, 6)):
            header[dice.randrange(len(header))] = dice.choice(alphabet)
        with tracing.picture("".join(header)), Untraced().picture("".join(header)):
            pass


def test_a_collector_that_takes_and_never_answers_does_not_keep_the_worker_from_its_end() -> None:
    program = """
import asyncio
from worker.telemetry import traces

traces._FLUSH_S = 0.5

async def main() -> None:
    tracing = traces.Traced()
    with tracing.picture(None):
        pass
    await tracing.close()

asyncio.run(main())
"""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        # It waits half a second for the traces; the thread that sends them would wait ten.
        ended = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program],
            env={"PATH": os.environ["PATH"], "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
            capture_output=True,
            timeout=9,
            check=False,
        )

    assert ended.returncode == 0
    assert b"traces.not_flushed" in ended.stdout + ended.stderr
