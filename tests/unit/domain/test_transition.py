from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import (
    NOON,
    a_claimant,
    a_description,
    a_job,
    a_rendition,
    a_report,
    after,
    all_transitions,
)
from worker.domain.claim import Claimed, decide
from worker.domain.errors import IllegalMoveError
from worker.domain.image import Failure, HistoryEntry, Image, StepRecord
from worker.domain.status import (
    IMAGE_MOVES,
    STEP_MOVES,
    ImageMove,
    ImageStatus,
    StepMove,
    StepName,
    StepStatus,
    image_status_after,
    step_status_after,
)
from worker.domain.transition import (
    Transition,
    apply,
    apply_all,
    current_step,
    image_completed,
    image_failed,
    image_released,
    initial_steps,
    source_described,
    step_ended,
    step_failed,
    step_started,
)

FAILURE = Failure(code="truncated", message="incomplete", step=StepName.VALIDATION, retryable=False)


def a_claimed_image() -> Image:
    result = decide(None, a_job(), a_claimant())
    assert isinstance(result, Claimed)
    return result.image


def in_step(step: StepName) -> Image:
    """Return a claimed image that is in this step."""
    image, steps = a_claimed_image(), list(StepName)
    for previous in steps[: steps.index(step)]:
        following = steps[steps.index(previous) + 1]
        image = apply_all(image, [step_ended(a_report(previous), at=NOON), step_started(following, at=NOON)])
    return image


def completed() -> Image:
    return apply_all(a_claimed_image(), all_transitions())


@pytest.mark.parametrize("move", ImageMove)
@pytest.mark.parametrize("status", ImageStatus)
def test_an_image_makes_exactly_the_legal_moves(move: ImageMove, status: ImageStatus) -> None:
    legal_from, leads_to = IMAGE_MOVES[move]

    if status in legal_from:
        assert image_status_after(move, status) is leads_to
    else:
        with pytest.raises(IllegalMoveError, match=f"the image is {status}: it cannot be {move}"):
            image_status_after(move, status)


@pytest.mark.parametrize("move", StepMove)
@pytest.mark.parametrize("status", StepStatus)
def test_a_step_makes_exactly_the_legal_moves(move: StepMove, status: StepStatus) -> None:
    legal_from, leads_to = STEP_MOVES[move]

    if status in legal_from:
        assert step_status_after(move, StepName.RESIZE, status) is leads_to
    else:
        with pytest.raises(IllegalMoveError, match=f"step resize is {status}: it cannot be {move}"):
            step_status_after(move, StepName.RESIZE, status)


def test_the_legal_moves_lead_between_these_statuses() -> None:
    pending, processing, completed, failed = ImageStatus
    moves = {(before, leads_to) for legal_from, leads_to in IMAGE_MOVES.values() for before in legal_from}

    assert moves == {
        (pending, processing),
        (processing, completed),
        (processing, failed),
        (processing, pending),
        (completed, pending),
        (failed, pending),
        (pending, pending),
    }


def test_a_started_step_is_processing() -> None:
    image = apply(
        apply(a_claimed_image(), step_ended(a_report(), at=after(1))),
        step_started(StepName.RESIZE, at=after(2)),
    )

    assert image.steps[StepName.RESIZE] == StepRecord(status=StepStatus.PROCESSING, started_at=after(2))
    assert image.updated_at == after(2)
    assert image.history[-1] == HistoryEntry(
        at=after(2), step=StepName.RESIZE, status="processing", attempt=1, worker="worker-a"
    )


@pytest.mark.parametrize("move", [StepMove.COMPLETED, StepMove.SKIPPED])
def test_a_completed_or_skipped_step_records_its_times_details_and_duration(move: StepMove) -> None:
    report = a_report(move=move)

    image = apply(a_claimed_image(), step_ended(report, at=after(2)))

    assert image.steps[StepName.VALIDATION] == StepRecord(
        status=StepStatus(move.value), started_at=NOON, completed_at=after(2), detail=report.detail
    )
    assert image.metadata == {"camera": "iPhone 12"}
    assert image.history[-1] == HistoryEntry(
        at=after(2),
        step=StepName.VALIDATION,
        status=move.value,
        attempt=1,
        worker="worker-a",
        detail={"ms": 7},
    )


def test_a_failed_step_records_the_code() -> None:
    image = apply(a_claimed_image(), step_failed(FAILURE, step=StepName.VALIDATION, at=after(2)))

    assert image.steps[StepName.VALIDATION] == StepRecord(
        status=StepStatus.FAILED, started_at=NOON, completed_at=after(2), detail={"code": "truncated"}
    )
    assert image.history[-1].detail == {"code": "truncated"}
    assert (image.status, image.error) == (ImageStatus.PROCESSING, None)


def test_the_metadata_of_the_object_is_recorded_without_a_change_of_status() -> None:
    before = a_claimed_image()

    image = apply(before, source_described(a_description(file_size=77), at=after(1)))

    assert image == replace(
        before,
        updated_at=after(1),
        file_name="vacation-photo.jpg",
        file_size=77,
        file_type="image/jpeg",
        tags=("vacation", "family"),
        metadata={"description": "Family vacation photo"},
    )


def test_an_object_without_a_file_name_keeps_the_name_in_its_key() -> None:
    described = source_described(replace(a_description(), file_name=None), at=after(1))

    assert apply(a_claimed_image(), described).file_name == "img_1.jpg"


@pytest.mark.parametrize(
    "transition",
    [
        source_described(
            replace(a_description(), metadata={"camera": "from the file", "place": "here"}), at=after(1)
        ),
        step_ended(replace(a_report(), metadata={"camera": "from the file", "place": "here"}), at=after(1)),
    ],
    ids=["headers", "EXIF"],
)
def test_metadata_of_the_file_does_not_overwrite_the_owners(transition: Transition) -> None:
    before = replace(a_claimed_image(), tags=("beach",), metadata={"camera": "from the owner"})

    image = apply(before, transition)

    assert (image.tags, image.metadata) == (("beach",), {"camera": "from the owner", "place": "here"})


def test_a_completed_image_has_its_results_and_no_lease() -> None:
    renditions = {"medium": a_rendition(), "small": replace(a_rendition(), key="processed/u/i_small.jpg")}
    before = replace(in_step(StepName.WATERMARK), error=FAILURE)

    image = apply(before, image_completed(renditions, main_size="small", at=after(5)))

    assert (image.status, image.lease, image.error) == (ImageStatus.COMPLETED, None, None)
    assert (image.processed_at, image.updated_at) == (after(5), after(5))
    assert (image.renditions, image.processed_key) == (renditions, "processed/u/i_small.jpg")
    assert image.history[-1] == HistoryEntry(at=after(5), status="completed", attempt=1, worker="worker-a")


def test_a_failed_image_has_the_error_and_no_lease() -> None:
    image = apply(a_claimed_image(), image_failed(FAILURE, at=after(5)))

    assert (image.status, image.lease, image.error) == (ImageStatus.FAILED, None, FAILURE)
    assert image.processed_at is None
    assert image.history[-1] == HistoryEntry(
        at=after(5), status="failed", attempt=1, worker="worker-a", detail={"code": "truncated"}
    )


def test_a_released_image_is_pending_with_the_error_and_its_current_step_reset() -> None:
    before = in_step(StepName.RESIZE)

    image = apply(before, image_released(FAILURE, at=after(5)))

    assert (image.status, image.lease, image.error) == (ImageStatus.PENDING, None, FAILURE)
    assert image.steps == {**before.steps, StepName.RESIZE: StepRecord()}
    assert image.history[-1] == HistoryEntry(
        at=after(5), status="pending", attempt=1, worker="worker-a", detail={"code": "truncated"}
    )


@pytest.mark.parametrize(
    "transition",
    [
        image_completed({"medium": a_rendition()}, main_size="medium", at=after(9)),
        image_failed(FAILURE, at=after(9)),
        image_released(FAILURE, at=after(9)),
    ],
    ids=["completed", "failed", "released"],
)
@pytest.mark.parametrize(
    "ended",
    [
        completed(),
        apply(a_claimed_image(), image_failed(FAILURE, at=after(5))),
        apply(a_claimed_image(), image_released(FAILURE, at=after(5))),
    ],
    ids=["a completed image", "a failed image", "a released image"],
)
def test_an_attempt_cannot_end_twice(ended: Image, transition: Transition) -> None:
    with pytest.raises(IllegalMoveError):
        apply(ended, transition)


@pytest.mark.parametrize(
    "transition",
    [
        step_started(StepName.VALIDATION, at=NOON),
        step_ended(a_report(StepName.RESIZE), at=NOON),
        step_failed(FAILURE, step=StepName.WATERMARK, at=NOON),
    ],
    ids=["start the current step", "complete a pending step", "fail a pending step"],
)
def test_a_step_cannot_skip_a_status(transition: Transition) -> None:
    with pytest.raises(IllegalMoveError):
        apply(a_claimed_image(), transition)


@pytest.mark.parametrize("step", StepName)
def test_the_current_step_is_the_one_that_is_processing(step: StepName) -> None:
    assert current_step(in_step(step)) is step


def test_after_the_last_step_there_is_no_current_step() -> None:
    image = apply(in_step(StepName.WATERMARK), step_ended(a_report(StepName.WATERMARK), at=NOON))

    assert current_step(image) is None


def test_a_new_attempt_starts_in_validation_with_the_other_steps_pending() -> None:
    validation = StepRecord(status=StepStatus.PROCESSING, started_at=NOON)
    pending = {step: StepRecord() for step in StepName}
    assert initial_steps({}, validation_started_at=NOON) == {**pending, StepName.VALIDATION: validation}


def test_the_history_contains_every_change_of_status_in_order() -> None:
    image = completed()

    assert [(entry.at, entry.step, entry.status) for entry in image.history] == [
        (a_job().created_at, None, "pending"),
        (NOON, None, "processing"),
        (NOON, StepName.VALIDATION, "processing"),
        (after(2), StepName.VALIDATION, "completed"),
        (after(2), StepName.RESIZE, "processing"),
        (after(3), StepName.RESIZE, "completed"),
        (after(3), StepName.WATERMARK, "processing"),
        (after(4), StepName.WATERMARK, "completed"),
        (after(5), None, "completed"),
    ]


STEPS = st.sampled_from(StepName)
MOVES = st.one_of(
    STEPS.map(lambda step: partial(step_started, step)),
    st.builds(
        lambda step, move: partial(step_ended, a_report(step, move=move)),
        STEPS,
        st.sampled_from([StepMove.COMPLETED, StepMove.SKIPPED]),
    ),
    STEPS.map(lambda step: partial(step_failed, FAILURE, step=step)),
    st.just(partial(source_described, a_description())),
    st.just(partial(image_completed, {"medium": a_rendition()}, main_size="medium")),
    st.just(partial(image_failed, FAILURE)),
    st.just(partial(image_released, FAILURE)),
)
CLAIM = object()
LEGAL_IMAGE_MOVES = {(before, to) for legal_from, to in IMAGE_MOVES.values() for before in legal_from}
LEGAL_STEP_MOVES = {(before, to) for legal_from, to in STEP_MOVES.values() for before in legal_from}


def claimed_again(image: Image, *, at: datetime) -> Image:
    result = decide(image, a_job(), a_claimant(f"worker-b/{at.timestamp()}", now=at))
    return result.image if isinstance(result, Claimed) else image


def changed_steps(before: Image, later: Image) -> Iterable[tuple[StepRecord, StepRecord]]:
    return (
        (before.steps[step], later.steps[step])
        for step in StepName
        if before.steps[step].status is not later.steps[step].status
    )


@given(st.lists(MOVES | st.just(CLAIM), max_size=25))
def test_every_sequence_of_moves_keeps_the_image_consistent(moves: list[object]) -> None:
    image = a_claimed_image()
    for seconds, move in enumerate(moves, start=1):
        if move is CLAIM:
            image = claimed_again(image, at=after(seconds))
            continue
        assert callable(move)
        try:
            later = apply(image, move(at=after(seconds)))
        except IllegalMoveError:
            continue

        assert image.status is later.status or (image.status, later.status) in LEGAL_IMAGE_MOVES
        for before, now in changed_steps(image, later):
            assert (before.status, now.status) in LEGAL_STEP_MOVES
        for record in later.steps.values():
            assert record.completed_at is None or (record.started_at or NOON) <= record.completed_at
            assert (record.status is StepStatus.PENDING) == (record.started_at is None)
        assert later.history[: len(image.history)] == image.history
        assert [entry.at for entry in later.history] == sorted(entry.at for entry in later.history)
        assert later.updated_at == after(seconds)
        assert (later.lease is None) == (later.status is not ImageStatus.PROCESSING)
        assert later.attempt == image.attempt
        image = later


@given(MOVES)
def test_applying_a_move_does_not_modify_the_original_image(move: partial[Transition]) -> None:
    image = a_claimed_image()
    before = replace(image, steps=dict(image.steps), metadata=dict(image.metadata))

    with suppress(IllegalMoveError):
        apply(image, move(at=after(1)))

    assert image == before
