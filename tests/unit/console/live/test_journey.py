"""The stages of an image, as the Try page shows them."""

from tests.support.builders import after
from tests.support.image_states import (
    claimed,
    completed,
    expired,
    processing_states,
    rejected,
    released,
    reprocessed,
    retried,
)
from worker.console.live.journey import AttemptStages, stages_of
from worker.domain.image import Image


def shown(attempt: AttemptStages) -> list[tuple[str, str, int | None]]:
    return [(stage.name, stage.status, stage.elapsed_ms) for stage in attempt.stages]


def outcomes(image: Image) -> list[tuple[int, str, int | None]]:
    return [(attempt.number, attempt.outcome, attempt.elapsed_ms) for attempt in stages_of(image)]


def test_an_upload_without_a_record_has_all_its_stages_ahead() -> None:
    (attempt,) = stages_of(None)
    assert (attempt.outcome, attempt.worker) == ("waiting", None)
    assert [status for _, status, _ in shown(attempt)] == ["done", *["waiting"] * 6]


def test_a_completed_image_has_every_stage_with_its_milliseconds() -> None:
    (attempt,) = stages_of(completed())
    assert attempt.worker == "worker-a"
    assert shown(attempt) == [
        ("uploaded", "done", None),
        ("claimed", "done", 9000),
        ("validated", "done", 7),
        ("resized", "done", 7),
        ("watermarked", "done", 7),
        ("stored", "done", 1000),
        ("completed", "done", 14_000),
    ]


def test_the_stages_of_an_image_in_progress_only_grow() -> None:
    names = ["uploaded", "claimed", "validat", "resiz", "watermark", "stored", "completed"]
    done = []
    for image in processing_states():
        (attempt,) = stages_of(image)
        assert len(attempt.stages) == len(names)
        assert all(stage.name.startswith(name) for stage, name in zip(attempt.stages, names, strict=True))
        done.append(sum(stage.status == "done" for stage in attempt.stages))
    assert done == sorted(done)
    assert done[-1] == len(names)


def test_a_step_that_runs_is_named_by_what_it_does() -> None:
    (attempt,) = stages_of(claimed())
    assert ("validating", "processing", None) in shown(attempt)


def test_a_failed_image_ends_with_the_step_that_failed() -> None:
    (attempt,) = stages_of(rejected())
    assert shown(attempt)[2:] == [("validation failed", "failed", 1000), ("failed", "failed", 0)]


def test_a_lost_worker_shows_the_expired_lease_and_the_second_attempt() -> None:
    assert outcomes(expired()) == [(1, "lease expired", 69_000), (0, "waiting", None)]
    again = claimed(expired(), worker="worker-b", at=after(61))
    assert outcomes(again) == [(1, "lease expired", 69_000), (2, "processing", None)]
    first, second = stages_of(again)
    assert first.stages[-1].name == "lease expired"
    assert (second.worker, shown(second)[0]) == ("worker-b", ("claimed", "done", 1000))


def test_a_released_image_waits_for_its_next_attempt() -> None:
    assert outcomes(released()) == [(1, "released", 11_000), (0, "waiting", None)]


def test_the_time_of_a_requested_attempt_counts_from_the_request() -> None:
    again = completed(claimed(retried(rejected(), seconds=-60)))
    assert outcomes(again) == [(1, "failed", 10_000), (2, "completed", 65_000)]
    assert outcomes(reprocessed(completed()))[-1] == (0, "waiting", None)
