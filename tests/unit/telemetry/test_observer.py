import pytest
from structlog.testing import capture_logs

from tests.support.builders import a_job, a_message, a_report, after, an_observer
from tests.support.scrape import value_of
from worker.domain.errors import TransientError
from worker.domain.status import StepName
from worker.telemetry.metrics import Metrics
from worker.telemetry.observer import Observation

UNAVAILABLE = TransientError("the queue is unreachable")


def test_a_completed_image_is_counted_once_with_its_bytes_and_its_latency() -> None:
    metrics = Metrics()
    observer = an_observer(metrics, clock=lambda: after(3))

    with observer.observing(a_job(), a_message()) as observation:
        observation.read(500)
        observation.stored(70)
        observation.stored(30)
        observation.completed()

    assert value_of(metrics, "images_total", status="completed", code="") == 1
    assert value_of(metrics, "bytes_total", direction="in") == 500
    assert value_of(metrics, "bytes_total", direction="out") == 100
    assert value_of(metrics, "event_to_done_seconds_count") == 1
    assert value_of(metrics, "event_to_done_seconds_sum") == 3


def test_a_released_image_has_no_final_latency() -> None:
    metrics = Metrics()

    with an_observer(metrics).observing(a_job(), a_message()) as observation:
        observation.released("unavailable", reason="the bucket is unreachable")

    assert value_of(metrics, "images_total", status="released", code="unavailable") == 1
    assert value_of(metrics, "event_to_done_seconds_count") == 0


def test_the_log_line_has_durations_and_sizes() -> None:
    with capture_logs() as lines, an_observer().observing(a_job(), a_message()) as observation:
        with observation.step("fetch"):
            observation.read(500)
        observation.step_reported(a_report(StepName.RESIZE))
        observation.stored(70)
        observation.completed()

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

    with an_observer(metrics).observing(a_job(), a_message()) as observation:
        with pytest.raises(ConnectionError), observation.step("fetch"):
            raise ConnectionError
        observation.failed("source_missing", reason="the upload does not exist", step=None)

    assert value_of(metrics, "step_seconds_count", step="fetch") == 1
    assert value_of(metrics, "images_total", status="failed", code="source_missing") == 1


def test_an_attempt_whose_end_could_not_be_recorded_is_counted_as_released() -> None:
    metrics = Metrics()

    with pytest.raises(TransientError), an_observer(metrics).observing(a_job(), a_message()):
        raise UNAVAILABLE

    assert value_of(metrics, "images_total", status="released", code="unavailable") == 1
    assert value_of(metrics, "event_to_done_seconds_count") == 0


def fail_while_the_queue_is_unreachable(observation: Observation) -> None:
    observation.failed("unavailable", reason="the bucket is unreachable", step=None)
    raise UNAVAILABLE


def test_a_failed_image_whose_dead_letter_cannot_be_sent_counts_once_with_its_latency() -> None:
    metrics = Metrics()

    with pytest.raises(TransientError), an_observer(metrics).observing(a_job(), a_message()) as observation:
        fail_while_the_queue_is_unreachable(observation)

    assert value_of(metrics, "images_total", status="failed", code="unavailable") == 1
    assert value_of(metrics, "images_total", status="released", code="unavailable") == 0
    assert value_of(metrics, "event_to_done_seconds_count") == 1


def test_series_start_at_zero_so_that_their_first_event_is_an_increase() -> None:
    text = Metrics().exposition().decode()

    assert 'image_worker_images_total{code="",status="completed"} 0.0' in text
    assert 'image_worker_images_total{code="truncated",status="failed"} 0.0' in text
