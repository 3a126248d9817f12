"""The bounded history: what is kept, what the summary contains, and which writes are recognised."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builders import NOON, a_claimant, a_job, a_rendition, a_report, a_requester, after
from worker.domain.claim import (
    Claimed,
    decide,
    image_reprocessed,
    image_requeued,
    image_retried,
    lease_expired,
)
from worker.domain.errors import IllegalMoveError
from worker.domain.history import (
    KEPT_ATTEMPTS,
    MAX_ENTRIES,
    SUMMARISED,
    bounded,
    claim_count,
    entry_count,
    outcomes,
)
from worker.domain.image import Failure, HistoryEntry, Image
from worker.domain.status import ImageStatus, StepName
from worker.domain.transition import (
    Transition,
    apply_all,
    current_step,
    image_completed,
    image_failed,
    image_released,
    step_ended,
    step_started,
)
from worker.dynamodb.attributes import decode_map, encode_map
from worker.dynamodb.image_updates import resume_from, was_applied
from worker.dynamodb.items import from_item, to_item
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TABLE = Table("table", index_shards=8)
FAILURE = Failure(code="unavailable", message="S3 is unreachable", step=None, retryable=True)
ENDS = ("completed", "failed", "released")
REQUESTS = ("requeued", "retried", "reprocessed", "expired")
MOVES = ("claimed", "step", *ENDS, *REQUESTS)
MAX_OF_AN_ATTEMPT = 8
"""Entries that an attempt adds under its lease."""


class Write(NamedTuple):
    """A write that was applied: the states before and after it."""

    before: Image
    after: Image


def new_image() -> Image:
    decision = decide(None, a_job(), a_claimant())
    assert isinstance(decision, Claimed)
    return decision.image


def moved(image: Image, move: str, *, number: int) -> Image | None:
    """Return the image after a move; None if the move is not legal."""
    at = image.updated_at + timedelta(seconds=1)
    if move == "claimed":
        decision = decide(image, a_job(upload=number), a_claimant(f"worker-a/{number}", now=at))
        return decision.image if isinstance(decision, Claimed) else None
    try:
        return requested(image, move, at=at) if move in REQUESTS else worked(image, move, at=at)
    except IllegalMoveError:
        return None


def requested(image: Image, move: str, *, at: datetime) -> Image:
    request: Mapping[str, Callable[..., Image]] = {
        "requeued": image_requeued,
        "retried": image_retried,
        "reprocessed": image_reprocessed,
        "expired": lease_expired,
    }
    return request[move](image, requester=a_requester(), at=at)


def worked(image: Image, move: str, *, at: datetime) -> Image | None:
    step = current_step(image)
    if image.lease is None or (move == "step" and step is None):
        return None
    transitions: dict[str, Transition] = {
        "completed": image_completed({"medium": a_rendition()}, main_size="medium", at=at),
        "failed": image_failed(FAILURE, at=at),
        "released": image_released(FAILURE, at=at),
    }
    if step is not None:
        transitions["step"] = step_ended(a_report(step), at=at)
    following = list(StepName)[list(StepName).index(step) + 1 :][:1] if step and move == "step" else []
    return apply_all(image, [transitions[move], *(step_started(each, at=at) for each in following)])


def ordinary(history: tuple[HistoryEntry, ...]) -> list[HistoryEntry]:
    return [entry for entry in history if entry.status != SUMMARISED]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(MOVES), st.integers(1, 80)),
        max_size=60,
    )
)
def test_any_sequence_of_moves_keeps_the_history_bounded_and_every_write_recognisable(
    moves: list[tuple[str, int]],
) -> None:
    image = new_image()
    everything = list(image.history)
    writes: list[Write] = []
    for number, (move, times) in enumerate(moves, start=2):
        for repeat in range(times if move in {"claimed", "requeued"} else 1):
            later = moved(image, move, number=number * 100 + repeat)
            if later is None:
                break
            added = entry_count(later.history) - len(everything)
            everything += later.history[len(later.history) - added :]
            writes.append(Write(image, later))
            image = later

    history = image.history
    assert len(history) <= MAX_ENTRIES + MAX_OF_AN_ATTEMPT
    assert entry_count(history) == len(everything)
    assert (outcomes(history), claim_count(history)) == (outcomes(everything), claim_count(everything))
    assert history[0] == everything[0]
    kept = ordinary(history)[1:]
    assert kept == everything[len(everything) - len(kept) :]
    assert sum(entry.status == SUMMARISED for entry in history) == (len(kept) + 1 < len(everything))
    assert [entry.at for entry in history] == sorted(entry.at for entry in history)
    assert from_item(decode_map(encode_map(to_item(image, TABLE)))).history == history
    for before, later in writes[-20:]:
        is_of_this_attempt = later.attempt == image.attempt
        assert was_applied(image, before, later) == is_of_this_attempt
    for before, later in writes[-3:]:
        assert not was_applied(before, before, later)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(1, 6))
def test_a_write_of_which_a_part_was_applied_is_resumed_whatever_was_dropped(uploads: int, part: int) -> None:
    image = new_image()
    for number in range(2, uploads + 2):
        ended = moved(image, "failed", number=number)
        assert ended
        claimed = moved(ended, "claimed", number=number)
        assert claimed
        image = claimed
    at = image.updated_at
    transitions: list[Transition] = [
        step_ended(a_report(StepName.VALIDATION), at=at),
        step_started(StepName.RESIZE, at=at),
        step_ended(a_report(StepName.RESIZE), at=at),
        step_started(StepName.WATERMARK, at=at),
        step_ended(a_report(StepName.WATERMARK), at=at),
        image_completed({"medium": a_rendition()}, main_size="medium", at=at),
    ]
    stored, wanted = apply_all(image, transitions[:part]), apply_all(image, transitions)

    resumed = resume_from(stored, image, wanted)

    assert resumed == (stored if part < len(transitions) else None)


def test_a_history_within_the_bounds_is_unchanged() -> None:
    image = new_image()
    for number in range(2, KEPT_ATTEMPTS + 1):
        image = moved(moved(image, "failed", number=number) or image, "claimed", number=number) or image

    assert image.attempt == KEPT_ATTEMPTS
    assert entry_count(image.history) == len(image.history)
    assert bounded(image.history) is image.history


def test_the_summary_counts_what_it_replaces() -> None:
    image = new_image()
    for number, end in enumerate(("completed", "failed", "released", *["failed"] * 4)):
        image = moved(moved(image, end, number=number) or image, "claimed", number=100 + number) or image

    summary = image.history[1]
    assert summary == HistoryEntry(
        at=summary.at,
        status="summarised",
        attempt=3,
        detail={
            "entries": 12,
            "attempts": 3,
            "from": "2024-01-01T12:00:00.000Z",
            "to": "2024-01-01T12:00:06.000Z",
            "completed": 1,
            "failed": 1,
            "released": 1,
            "uploaded_again": 3,
        },
    )


def test_requests_for_an_image_that_no_worker_claims_are_bounded_too() -> None:
    image = moved(new_image(), "released", number=1)
    assert image
    for _ in range(1000):
        image = image_requeued(image, requester=a_requester("reconcile"), at=image.updated_at)

    assert len(image.history) == MAX_ENTRIES
    assert outcomes(image.history) == {"released": 1, "requeued": 1000}


def test_two_requests_in_the_same_millisecond_have_different_times() -> None:
    image = moved(new_image(), "released", number=1)
    assert image

    later = image_requeued(image, requester=a_requester("reconcile"), at=image.updated_at)

    assert later.updated_at > image.updated_at


def test_a_damaged_summary_counts_as_nothing() -> None:
    summary = HistoryEntry(at=NOON, status=SUMMARISED, attempt=1, detail={"entries": "many", "from": 3})
    history = (*new_image().history[:1], summary, *new_image().history[1:])

    assert entry_count(history) == 3
    assert len(bounded(history)) == len(history)
    again = bounded((*history, *(replace(history[-1], attempt=n, at=after(n)) for n in range(2, 9))))
    assert again[1].status == SUMMARISED
    assert ImageStatus.COMPLETED not in outcomes(again)
