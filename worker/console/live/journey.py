"""The way of an image from its upload to its end, as the stages that the Try page shows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from worker.domain.image import Image
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.presentation.timeline import Attempt, StepBar, Wait, WaitKind, rows

WAITING: Final = "waiting"
"""Status of a stage ahead, and outcome of an attempt that no worker has begun."""

_UPLOADED, _CLAIMED, _STORED, _COMPLETED = "uploaded", "claimed", "stored", "completed"
_DONE: Final[Mapping[str, str]] = {
    StepName.VALIDATION: "validated",
    StepName.RESIZE: "resized",
    StepName.WATERMARK: "watermarked",
}
_DOING: Final[Mapping[str, str]] = {
    StepName.VALIDATION: "validating",
    StepName.RESIZE: "resizing",
    StepName.WATERMARK: "watermarking",
}
_STAGES: Final[Mapping[str, str]] = {
    _UPLOADED: _UPLOADED,
    _CLAIMED: _CLAIMED,
    **_DONE,
    _STORED: _STORED,
    _COMPLETED: _COMPLETED,
}
"""Key of each stage of an attempt that completes the image -> what has happened when it is done."""

_SAME_ROUND: Final = frozenset({"released", "lease expired"})
"""Outcomes of an attempt after which the image is processed for the same upload or request."""

_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """
    One stage of an attempt.

    Attributes:
        key: `uploaded`, `claimed`, the name of a step, `stored`, or how the attempt ended.
        name: The stage in words: `claimed`, `resizing`, `watermark skipped`.
        status: `done`, `processing`, `waiting`, `skipped` or `failed`.
        elapsed_ms: Computing time of a step; otherwise the time since the stage before. None until it ends.
    """

    key: str
    name: str
    status: str
    elapsed_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStages:
    """
    The stages of one attempt.

    Attributes:
        number: Number of the attempt; 0 while no worker has begun it.
        worker: The worker that claimed the image; None if no worker has.
        outcome: How the attempt ended, in words; `processing` or `waiting` while it has not.
        elapsed_ms: Milliseconds from the upload, or the request to process it again, to this end.
        stages: The stages, in order; those ahead of it are waiting.
    """

    number: int
    worker: str | None
    outcome: str
    elapsed_ms: int | None
    stages: tuple[Stage, ...]


def stages_of(image: Image | None) -> list[AttemptStages]:
    """
    Return the attempts at an image that its history still has, oldest first; the last may lie ahead.

    Args:
        image: The image; None for an upload that no worker has claimed yet, so that it has no record.
    """
    if image is None:
        return [_waiting(is_first=True)]
    attempts: list[AttemptStages] = []
    round_began_at = pending_at = image.created_at
    for row in rows(image):
        match row:
            case Attempt():
                if attempts and attempts[-1].outcome not in _SAME_ROUND:
                    round_began_at = pending_at
                attempts.append(_stages(row, pending_at=pending_at, round_began_at=round_began_at))
            case Wait(kind=WaitKind.LEASE_EXPIRED, until=datetime() as until) if attempts:
                attempts[-1] = replace(attempts[-1], elapsed_ms=_ms(until - round_began_at))
                pending_at = until
            case Wait():
                pending_at = row.since
    if image.status is ImageStatus.PENDING or not attempts:
        attempts.append(_waiting(is_first=not attempts))
    return attempts


def _waiting(*, is_first: bool) -> AttemptStages:
    stages = _ahead(_STAGES)[1:]
    if is_first:
        stages = (_UPLOADED_STAGE, *stages)
    return AttemptStages(number=0, worker=None, outcome=WAITING, elapsed_ms=None, stages=stages)


_UPLOADED_STAGE: Final = Stage(key=_UPLOADED, name=_UPLOADED, status="done")


def _ahead(keys: Iterable[str]) -> tuple[Stage, ...]:
    return tuple(Stage(key=key, name=_STAGES[key], status=WAITING) for key in keys)


def _stages(attempt: Attempt, *, pending_at: datetime, round_began_at: datetime) -> AttemptStages:
    elapsed_ms = None if attempt.ended_at is None else _ms(attempt.ended_at - round_began_at)
    stages = [_UPLOADED_STAGE] if attempt.number == 1 else []
    waited_ms = _ms(attempt.started_at - pending_at)
    stages.append(Stage(key=_CLAIMED, name=_CLAIMED, status="done", elapsed_ms=waited_ms))
    steps = [_step(step) for step in attempt.steps]
    if attempt.outcome == ImageStatus.PROCESSING:
        reached = {_UPLOADED, _CLAIMED, *(step.key for step in steps)}
        stages += [*steps, *_ahead(key for key in _STAGES if key not in reached)]
    else:
        stages += [step for step in steps if step.status != "processing"]
        last_at = max(
            (step.ended_at or step.started_at for step in attempt.steps), default=attempt.started_at
        )
        since_last_ms = None if attempt.ended_at is None else _ms(attempt.ended_at - last_at)
        if attempt.outcome == ImageStatus.COMPLETED:
            stages.append(Stage(key=_STORED, name=_STORED, status="done", elapsed_ms=since_last_ms))
            stages.append(Stage(key=_COMPLETED, name=_COMPLETED, status="done", elapsed_ms=elapsed_ms))
        else:
            end = Stage(key="ended", name=attempt.outcome, status="failed", elapsed_ms=since_last_ms)
            stages.append(end)
    return AttemptStages(
        number=attempt.number,
        worker=attempt.worker,
        outcome=attempt.outcome,
        elapsed_ms=elapsed_ms,
        stages=tuple(stages),
    )


def _step(step: StepBar) -> Stage:
    match step.status:
        case StepStatus.COMPLETED:
            name, status = _DONE.get(step.name, f"{step.name} completed"), "done"
        case StepStatus.PROCESSING:
            name, status = _DOING.get(step.name, f"{step.name} processing"), "processing"
        case _:
            name, status = f"{step.name} {step.status}", step.status
    return Stage(key=step.name, name=name, status=status, elapsed_ms=step.elapsed_ms)


def _ms(span: timedelta) -> int:
    return max(0, round(span / _MILLISECOND))
