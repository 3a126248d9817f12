"""The timeline of an image as data."""

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import a_claimant, a_job, a_report, a_requester, after, all_transitions
from worker.domain.claim import Claimed, decide, image_reprocessed, image_requeued, image_retried
from worker.domain.history import SUMMARISED
from worker.domain.image import Failure, HistoryEntry, Image
from worker.domain.status import ImageStatus, StepName
from worker.domain.step import Json
from worker.domain.transition import apply_all, failed, image_released, step_ended
from worker.presentation.timeline import Attempt, Event, Row, Summary, Wait, WaitKind, events, rows, workers

UNAVAILABLE = Failure(code="unavailable", message="S3 did not respond", step=None, retryable=True)
CORRUPT = Failure(code="corrupt", message="odd bytes", step=StepName.VALIDATION, retryable=False)


def claimed(existing: Image | None = None, *, owner: str = "worker-a/1", seconds: float = 0) -> Image:
    decision = decide(existing, a_job(), a_claimant(owner, now=after(seconds)))
    assert isinstance(decision, Claimed)
    return decision.image


def entry(status: str, seconds: float = 0, **more: Json) -> HistoryEntry:
    step = more.pop("step", None)
    return HistoryEntry(
        at=after(seconds),
        status=status,
        step=StepName(step) if isinstance(step, str) else None,
        attempt=1,
        detail=more,
    )


def times(row: Row) -> tuple[datetime | None, datetime | None]:
    assert isinstance(row, Wait)
    return row.since, row.until


def kinds(image: Image) -> list[str]:
    return [
        row.outcome if isinstance(row, Attempt) else row.kind if isinstance(row, Wait) else "summary"
        for row in rows(image)
    ]


def test_a_completed_image_waited_in_the_queue_and_had_one_attempt_with_its_steps() -> None:
    image = apply_all(claimed(), all_transitions())
    wait, attempt = rows(image)
    assert times(wait) == (image.created_at, after(0))
    assert isinstance(attempt, Attempt)
    assert (attempt.number, attempt.worker, attempt.outcome) == (1, "worker-a", "completed")
    assert (attempt.started_at, attempt.ended_at) == (after(0), after(5))
    assert [(step.name, step.status, step.elapsed_ms) for step in attempt.steps] == [
        (StepName.VALIDATION, "completed", 7),
        (StepName.RESIZE, "completed", 7),
        (StepName.WATERMARK, "completed", 7),
    ]
    assert [(step.started_at, step.ended_at) for step in attempt.steps] == [
        (after(0), after(2)),
        (after(2), after(3)),
        (after(3), after(4)),
    ]


def test_an_expired_lease_is_a_gap_since_the_last_sign_of_its_worker() -> None:
    first = apply_all(claimed(), [step_ended(a_report(), at=after(2))])
    image = claimed(first, owner="worker-b/9", seconds=120)
    assert kinds(image) == ["waiting in queue", "lease expired", "lease expired", "processing"]
    _, lost, gap, second = rows(image)
    assert isinstance(lost, Attempt)
    assert isinstance(second, Attempt)
    assert lost.ended_at is None
    assert times(gap) == (after(2), after(120))
    assert workers(rows(image)) == ["worker-a", "worker-b"]


def test_a_released_image_is_a_gap_until_its_next_claim() -> None:
    released = apply_all(claimed(), [image_released(UNAVAILABLE, at=after(3))])
    assert kinds(released) == ["waiting in queue", "released", "released"]
    waiting = rows(released)[-1]
    assert times(waiting) == (after(3), None)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "unavailable: S3 did not respond"
    again = claimed(released, owner="worker-b/9", seconds=75)
    assert times(rows(again)[2]) == (after(3), after(75))


def test_the_time_between_a_failure_and_its_retry_is_not_a_wait() -> None:
    image = apply_all(claimed(), failed(CORRUPT, at=after(1)))
    assert kinds(image) == ["waiting in queue", "failed"]
    retried = image_requeued(
        image_retried(image, requester=a_requester("images retry"), at=after(500)),
        requester=a_requester("x"),
        at=after(501),
    )
    assert kinds(retried) == ["waiting in queue", "failed", "waiting for retry"]
    assert times(rows(claimed(retried, seconds=510))[2]) == (after(500), after(510))


def test_a_wait_for_reprocessing_is_labelled() -> None:
    done = apply_all(claimed(), all_transitions())
    assert (
        kinds(image_reprocessed(done, requester=a_requester("images reprocess"), at=after(60)))[-1]
        == WaitKind.FOR_REPROCESSING
    )


def test_a_newer_upload_ends_an_attempt_in_progress() -> None:
    decision = decide(claimed(), a_job(upload=2), a_claimant("worker-b/9", now=after(7)))
    assert isinstance(decision, Claimed)
    assert kinds(decision.image) == ["waiting in queue", "uploaded again", "processing"]


def test_dropped_entries_are_one_row_without_the_wait_before_them() -> None:
    image = apply_all(claimed(), all_transitions())
    first, *rest = image.history
    summary = entry(SUMMARISED, 1, entries=12_980, attempts=1_445, completed=1_440)
    summarised = replace(image, history=(first, summary, *rest))
    assert kinds(summarised) == ["summary", "completed"]
    (row, _) = rows(summarised)
    assert isinstance(row, Summary)
    assert row.text.endswith("12,980 entries of 1,445 attempts are summarised: 1,440 completed")


def test_an_attempt_whose_claim_was_dropped_begins_with_its_first_step() -> None:
    image = replace(
        apply_all(claimed(), all_transitions()),
        history=(entry("processing", 1, step="resize"), entry("completed", 2, step="resize", ms=9)),
        status=ImageStatus.PENDING,
    )
    (attempt,) = rows(image)
    assert isinstance(attempt, Attempt)
    assert attempt.outcome == "end not recorded"
    assert [step.elapsed_ms for step in attempt.steps] == [9]


ENTRIES = st.builds(
    HistoryEntry,
    at=st.integers(-(10**6), 10**6).map(after),
    status=st.sampled_from(
        ["pending", "processing", "completed", "failed", "skipped", "summarised", "paused"]
    ),
    step=st.none() | st.sampled_from(StepName),
    attempt=st.integers(0, 10**37),
    worker=st.none() | st.text(max_size=5),
    detail=st.dictionaries(
        st.sampled_from(["reason", "code", "ms", "entries", "attempts", "from", "dimensions"]),
        st.none()
        | st.integers(-(10**37), 10**37)
        | st.text(max_size=5)
        | st.sampled_from(["lease_expired", "requeued", "retried", "attempt_raised"])
        | st.lists(st.integers(), max_size=2),
        max_size=3,
    ),
)


@given(st.lists(ENTRIES, max_size=20), st.sampled_from(ImageStatus))
def test_any_history_has_a_timeline(history: list[HistoryEntry], status: ImageStatus) -> None:
    image = replace(claimed(), history=tuple(history), status=status)
    result = rows(image)
    assert len(result) <= 2 * len(history) + 1
    assert len(events(image)) == len(history)
    assert all(
        row.until is None or isinstance(row.since, datetime) for row in result if isinstance(row, Wait)
    )


def test_events_have_the_time_since_the_entry_before() -> None:
    image = apply_all(claimed(), all_transitions())
    first, second, *_ = events(image)
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert (first.text, first.since_previous) == ("uploaded", None)
    assert (second.text, second.since_previous) == ("claimed", timedelta(seconds=9))
