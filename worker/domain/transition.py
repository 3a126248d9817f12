"""
Transitions of an image under a lease: one constructor per legal move, and its effect on the image.

A transition contains when it happened and what it changes. `apply` raises an error for a move that the tables
in `status` do not allow, so that an invalid combination of fields cannot be written.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import TypeAlias

from worker.domain.bounds import (
    bounded_description,
    bounded_detail,
    bounded_failure,
    bounded_leftovers,
    with_metadata,
)
from worker.domain.history import ATTEMPT_RAISED
from worker.domain.image import Description, Failure, HistoryEntry, Image, Leftover, Rendition, StepRecord
from worker.domain.requester import Requester
from worker.domain.status import (
    ImageMove,
    StepMove,
    StepName,
    StepStatus,
    image_status_after,
    step_status_after,
)
from worker.domain.step import Json, StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMoved:
    """A step started, completed, failed or was skipped."""

    at: datetime
    step: str
    move: StepMove
    detail: Mapping[str, Json]
    history_detail: Mapping[str, Json]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDescribed:
    """The metadata of the uploaded object is known."""

    at: datetime
    description: Description


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCompleted:
    """All steps are completed and the results are stored."""

    at: datetime
    renditions: Mapping[str, Rendition]
    main_size: str
    counted_before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFailed:
    """The image cannot be processed; `requester` is None if a worker found that out."""

    at: datetime
    failure: Failure
    requester: Requester | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReleased:
    """The worker releases the image for another attempt."""

    at: datetime
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRaised:
    """The attempt gets a higher number than its claim gave it; its lease stays."""

    at: datetime
    attempt: int


Transition: TypeAlias = (
    StepMoved | SourceDescribed | ImageCompleted | ImageFailed | ImageReleased | AttemptRaised
)


def step_started(step: str, *, at: datetime) -> StepMoved:
    """Move a step from pending to processing."""
    return StepMoved(at=at, step=step, move=StepMove.STARTED, detail={}, history_detail={}, metadata={})


def step_ended(report: StepReport, *, at: datetime) -> StepMoved:
    """Move a step from processing to completed or skipped, as the decoder reported it."""
    return StepMoved(
        at=at,
        step=report.step,
        move=report.move,
        detail=bounded_detail(report.detail),
        history_detail={"ms": report.elapsed_ms},
        metadata=report.metadata,
    )


def step_failed(failure: Failure, *, step: str, at: datetime) -> StepMoved:
    """Move a step from processing to failed; the message is recorded with the image."""
    detail: dict[str, Json] = {"code": failure.code}
    return StepMoved(
        at=at, step=step, move=StepMove.FAILED, detail=detail, history_detail=detail, metadata={}
    )


def source_described(description: Description, *, at: datetime) -> SourceDescribed:
    """Record the metadata of the uploaded object; no status changes."""
    return SourceDescribed(at=at, description=bounded_description(description))


def image_completed(renditions: Mapping[str, Rendition], *, main_size: str, at: datetime) -> ImageCompleted:
    """Move the image from processing to completed; it counts for what a deleted record of it counted for."""
    counted = {size: each.counted_bytes for size, each in renditions.items()}
    return ImageCompleted(
        at=at,
        renditions={size: replace(each, counted_bytes=None) for size, each in renditions.items()},
        main_size=main_size,
        counted_before=None if counted.get(main_size) is None else sum(filter(None, counted.values())),
    )


def image_failed(failure: Failure, *, at: datetime, requester: Requester | None = None) -> ImageFailed:
    """Move the image from processing to failed; a repair tool names its requester."""
    return ImageFailed(at=at, failure=bounded_failure(failure), requester=requester)


def failed(failure: Failure, *, at: datetime, requester: Requester | None = None) -> list[Transition]:
    """Move the failure's step, if it has one, and the image from processing to failed."""
    steps: list[Transition] = [step_failed(failure, step=failure.step, at=at)] if failure.step else []
    return [*steps, image_failed(failure, at=at, requester=requester)]


def image_released(failure: Failure, *, at: datetime) -> ImageReleased:
    """Move the image from processing to pending, for another attempt."""
    return ImageReleased(at=at, failure=bounded_failure(failure))


def attempt_raised(*, above: int, at: datetime) -> AttemptRaised:
    """Raise the number of the attempt above that of a stored result; no status changes."""
    return AttemptRaised(at=at, attempt=above + 1)


def apply_all(image: Image, transitions: Iterable[Transition]) -> Image:
    """Return the image after the transitions, applied in order."""
    return reduce(apply, transitions, image)


def apply(image: Image, transition: Transition) -> Image:
    """
    Return the image after the transition.

    Raises:
        IllegalMoveError: The move is not legal from the status of the image or its step.
    """
    match transition:
        case StepMoved():
            return _move_step(image, transition)
        case SourceDescribed(at=at, description=description):
            return replace(
                image,
                updated_at=at,
                file_name=description.file_name or image.file_name,
                file_size=description.file_size,
                file_type=description.file_type,
                tags=image.tags or description.tags,
                metadata=with_metadata(image.metadata, description.metadata),
            )
        case AttemptRaised(at=at, attempt=attempt):
            detail: dict[str, Json] = {"reason": ATTEMPT_RAISED, "claimedAs": image.attempt}
            raised = replace(image, attempt=max(attempt, image.attempt), updated_at=at)
            entry = _entry(raised, at, image.status, detail=detail)
            return replace(raised, history=(*image.history, entry))
        case ImageCompleted(at=at, counted_before=counted):
            return replace(
                _move_image(image, ImageMove.COMPLETED, at=at),
                lease=None,
                error=None,
                processed_at=at,
                renditions=transition.renditions,
                leftovers=_leftovers(image, transition.renditions),
                counted_bytes=counted if image.counted_bytes is None else image.counted_bytes,
                processed_key=transition.renditions[transition.main_size].key,
            )
        case ImageFailed(at=at, failure=failure, requester=requester):
            detail = {"code": failure.code, **(requester.detail() if requester else {})}
            moved = _move_image(image, ImageMove.FAILED, at=at, detail=detail)
            return replace(moved, lease=None, error=failure)
        case ImageReleased(at=at, failure=failure):
            moved = _move_image(image, ImageMove.RELEASED, at=at, detail={"code": failure.code})
            return replace(moved, lease=None, error=failure, steps=_released_steps(image.steps))


def current_step(image: Image) -> StepName | None:
    """Return the step that is processing, of those that this version runs; None after the last one."""
    return next(
        (
            step
            for step in StepName
            if step in image.steps and image.steps[step].status is StepStatus.PROCESSING
        ),
        None,
    )


def _released_steps(steps: Mapping[str, StepRecord]) -> Mapping[str, StepRecord]:
    return {
        step: StepRecord(status=step_status_after(StepMove.RELEASED, step, record.status))
        if record.status is StepStatus.PROCESSING
        else record
        for step, record in steps.items()
    }


def _leftovers(image: Image, renditions: Mapping[str, Rendition]) -> tuple[Leftover, ...]:
    """Return the stored results that an image has no more: what is stored under another key than its own."""
    replaced = [Leftover(key=each.key, e_tag=each.e_tag) for each in image.renditions.values()]
    keys = {rendition.key for rendition in renditions.values()}
    return bounded_leftovers([each for each in (*image.leftovers, *replaced) if each.key not in keys])


def _move_step(image: Image, moved: StepMoved) -> Image:
    before = image.steps[moved.step]
    status = step_status_after(moved.move, moved.step, before.status)
    if moved.move is StepMove.STARTED:
        after = replace(before, status=status, started_at=moved.at)
    else:
        after = replace(before, status=status, completed_at=moved.at, detail=moved.detail)
    return replace(
        image,
        updated_at=moved.at,
        steps={**image.steps, moved.step: after},
        metadata=with_metadata(image.metadata, moved.metadata),
        history=(
            *image.history,
            _entry(image, moved.at, status, step=moved.step, detail=moved.history_detail),
        ),
    )


def _move_image(
    image: Image, move: ImageMove, *, at: datetime, detail: Mapping[str, Json] | None = None
) -> Image:
    status = image_status_after(move, image.status)
    history = (*image.history, _entry(image, at, status, detail=detail))
    return replace(image, status=status, updated_at=at, history=history)


def _entry(
    image: Image,
    at: datetime,
    status: str,
    *,
    step: str | None = None,
    detail: Mapping[str, Json] | None = None,
) -> HistoryEntry:
    worker = image.lease.worker if image.lease else None
    return HistoryEntry(
        at=at, status=status, step=step, attempt=image.attempt, worker=worker, detail=detail or {}
    )


def initial_steps(
    before: Mapping[str, StepRecord], *, validation_started_at: datetime
) -> dict[str, StepRecord]:
    """
    Return the steps of a new attempt: validation processing, the others pending.

    A step that only a newer version runs stays as its last attempt left it, but none is processing it now.

    Args:
        before: Steps of the attempt before.
        validation_started_at: When the new attempt starts.
    """
    first = StepRecord(status=StepStatus.PROCESSING, started_at=validation_started_at)
    steps: dict[str, StepRecord] = {
        step: first if step is StepName.VALIDATION else StepRecord() for step in StepName
    }
    for step, record in before.items():
        if step not in steps:
            is_running = record.status is StepStatus.PROCESSING
            steps[step] = replace(record, status=StepStatus.PENDING) if is_running else record
    return steps
