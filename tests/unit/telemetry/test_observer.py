"""What is told of a picture on its way: counted, measured, and in one line of the log."""

import pytest
from structlog.testing import capture_logs

from tests.support.builders import a_job, a_message, a_report, after, an_observer
from worker.domain.errors import TransientError
from worker.domain.status import StepName
from worker.telemetry.metrics import Metrics
from worker.telemetry.observer import Observation

AWAY = TransientError("it is away")


def test_a_completed_picture_is_counted_once_with_its_bytes_and_its_latency() -> None:
    metrics = Metrics()
    observer = an_observer(metrics, clock=lambda: after(3))

    with observer.observing(a_job(), a_message()) as seen:
        seen.read(500)
        seen.stored(70)
        seen.stored(30)
        seen.completed()

    assert metrics.value("images_total", status="completed", code="") == 1
    assert metrics.value("bytes_total", direction="in") == 500
    assert metrics.value("bytes_total", direction="out") == 100
    assert metrics.value("event_to_done_seconds_count") == 1
    assert metrics.value("event_to_done_seconds_sum") == 3


def test_a_released_picture_is_not_done() -> None:
    metrics = Metrics()

    with an_observer(metrics).observing(a_job(), a_message()) as seen:
        seen.released("unavailable", reason="the bucket is away")

    assert metrics.value("images_total", status="released", code="unavailable") == 1
    assert metrics.value("event_to_done_seconds_count") == 0


def test_the_one_line_holds_the_timings_and_sizes() -> None:
    with capture_logs() as lines, an_observer().observing(a_job(), a_message()) as seen:
        with seen.step("fetch"):
            seen.read(500)
        seen.step_reported(a_report(StepName.RESIZE))
        seen.stored(70)
        seen.completed()

    (line,) = lines
    assert line["event"] == "image.completed"
    assert {name: line[name] for name in ("resize_ms", "bytes_in", "bytes_out", "renditions")} == {
        "resize_ms": 7,
        "bytes_in": 500,
        "bytes_out": 70,
        "renditions": 1,
    }
    assert line["fetch_ms"] >= 0


def test_a_step_that_fails_is_measured_too() -> None:
    metrics = Metrics()

    with an_observer(metrics).observing(a_job(), a_message()) as seen:
        with pytest.raises(ConnectionError), seen.step("fetch"):
            raise ConnectionError
        seen.failed("source_missing", reason="it is gone", step=None)

    assert metrics.value("step_seconds_count", step="fetch") == 1
    assert metrics.value("images_total", status="failed", code="source_missing") == 1


def test_a_picture_whose_end_the_record_could_not_be_told_is_counted_all_the_same() -> None:
    metrics = Metrics()

    with pytest.raises(TransientError), an_observer(metrics).observing(a_job(), a_message()):
        raise AWAY

    assert metrics.value("images_total", status="released", code="unavailable") == 1
    assert metrics.value("event_to_done_seconds_count") == 0


def fail_and_find_the_queue_away(seen: Observation) -> None:
    seen.failed("unavailable", reason="the bucket is away", step=None)
    raise AWAY


def test_a_failed_picture_whose_dead_letter_is_not_taken_counts_once_and_has_its_latency() -> None:
    metrics = Metrics()

    with pytest.raises(TransientError), an_observer(metrics).observing(a_job(), a_message()) as seen:
        fail_and_find_the_queue_away(seen)

    assert metrics.value("images_total", status="failed", code="unavailable") == 1
    assert metrics.value("images_total", status="released", code="unavailable") == 0
    assert metrics.value("event_to_done_seconds_count") == 1


def test_what_can_be_counted_begins_at_zero_so_that_its_first_event_is_an_increase() -> None:
    told = Metrics().exposition().decode()

    assert 'image_worker_images_total{code="",status="completed"} 0.0' in told
    assert 'image_worker_images_total{code="truncated",status="failed"} 0.0' in told
