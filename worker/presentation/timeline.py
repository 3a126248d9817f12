"""
Derive the timeline of an image from its record.

The steps of the last attempt are a table. The history is a list of events, and a list of rows: the attempts,
the time between them with its reason, and the summary of the entries that the record has dropped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from worker.domain.history import ATTEMPT_RAISED, REQUEUED, SUMMARISED
from worker.domain.image import Failure, HistoryEntry, Image
from worker.domain.status import TERMINAL_STATUSES, ImageMove, ImageStatus, StepName, StepStatus
from worker.presentation.units import milliseconds
from worker.presentation.words import detail_text, event_text, reason_text, summary_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    A step of the last attempt.

    Attributes:
        elapsed_ms: Its computing time; its duration if that was not recorded; None if it has not ended.
    """

    name: str
    status: str
    started_at: datetime | None
    elapsed_ms: int | None
    detail: str


def steps(image: Image) -> list[Step]:
    """Return the steps of the last attempt, in order; those that a newer version has added come last."""
    computed_ms = image.step_durations_ms()
    result = []
    known = [name for name in StepName if name in image.steps]
    for name in [*known, *sorted(image.steps.keys() - set(known))]:
        record = image.steps[name]
        elapsed_ms = computed_ms.get(name)
        if elapsed_ms is None and record.started_at is not None and record.completed_at is not None:
            elapsed_ms = milliseconds(record.completed_at - record.started_at)
        result.append(
            Step(
                name=str(name),
                status=str(record.status),
                started_at=record.started_at,
                elapsed_ms=elapsed_ms,
                detail=detail_text(record.detail),
            )
        )
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    An entry of the history in words.

    Attributes:
        at: When it happened.
        since_previous: Time since the previous entry that was not dropped; None for the first one.
        attempt: Number of the attempt; 0 before the first one.
        worker: Name of the worker; None if no worker caused the event.
        step: The step, if the event is about one.
        status: Status of the image or the step since the event.
        text: What happened, without the step's name: `claimed`, `started`.
        reason: Details: how long it took, why it happened.
    """

    at: datetime
    since_previous: timedelta | None
    attempt: int
    worker: str | None
    step: str | None
    status: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Entries that the record has dropped, in one sentence."""

    text: str


def events(image: Image) -> list[Event | Summary]:
    """Return the history in words, oldest first."""
    previous: HistoryEntry | None = None
    result: list[Event | Summary] = []
    for entry in image.history:
        if entry.status == SUMMARISED:
            result.append(Summary(text=summary_text(entry)))
        else:
            result.append(
                Event(
                    at=entry.at,
                    since_previous=entry.at - previous.at if previous else None,
                    attempt=entry.attempt,
                    worker=entry.worker,
                    step=entry.step,
                    status=entry.status,
                    text=event_text(entry),
                    reason=reason_text(entry, image.error),
                )
            )
        previous = entry
    return result


class WaitKind(StrEnum):
    """Why no worker processes an image for some time; the values are the words for it."""

    IN_QUEUE = "waiting in queue"
    LEASE_EXPIRED = "lease expired"
    RELEASED = "released"
    FOR_RETRY = "waiting for retry"
    FOR_REPROCESSING = "waiting for reprocessing"
    FOR_DELETION = "being deleted"


_EXPLANATIONS: Final = {
    WaitKind.IN_QUEUE: "",
    WaitKind.LEASE_EXPIRED: "its worker ended without releasing it, and its lease had to expire",
    WaitKind.RELEASED: "its message was released, and the queue delivered it again after a delay",
    WaitKind.FOR_RETRY: "a retry was requested, and its message was in the queue",
    WaitKind.FOR_REPROCESSING: "reprocessing was requested, and its message was in the queue",
    WaitKind.FOR_DELETION: "its deletion began; if it was interrupted, run it again",
}

_WAITS: Final = {
    ImageMove.RETRIED.value: WaitKind.FOR_RETRY,
    ImageMove.REPROCESSED.value: WaitKind.FOR_REPROCESSING,
    ImageMove.UPLOADED_AGAIN.value: WaitKind.IN_QUEUE,
    ImageMove.LEASE_EXPIRED.value: WaitKind.IN_QUEUE,
    ImageMove.DELETION_BEGUN.value: WaitKind.FOR_DELETION,
}

_OUTCOMES: Final = {
    ImageMove.UPLOADED_AGAIN.value: "uploaded again",
    ImageMove.DELETION_BEGUN.value: "deletion begun",
}
"""Reason why an attempt could not end -> its outcome; otherwise, it was released."""


_NOT_RECORDED: Final = "end not recorded"
"""Outcome of an attempt whose end is not in the history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """
    Time in which no worker processed the image.

    Attributes:
        kind: Why.
        since: When it began.
        until: When it ended; None if it lasts.
        reason: Who requested the attempt that is waited for, or the error of the one before.
    """

    kind: WaitKind
    since: datetime
    until: datetime | None = None
    reason: str = ""

    @property
    def explanation(self) -> str:
        """What happened in this time."""
        return _EXPLANATIONS[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBar:
    """
    A step of an attempt.

    Attributes:
        status: Its status at the end of the attempt.
        started_at: When it started.
        ended_at: When it ended; None while it runs, or if its end was not recorded.
        elapsed_ms: Its computing time; its duration if that was not recorded; None if it has not ended.
    """

    name: str
    status: str
    started_at: datetime
    ended_at: datetime | None = None
    elapsed_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """
    One attempt at processing the image.

    Attributes:
        number: Its number, the fencing token.
        worker: Name of the worker; None if the record does not name it.
        started_at: When the image was claimed.
        last_sign_at: When the record was written last during the attempt.
        ended_at: When it ended; None if it has not, or never did.
        outcome: How it ended, in words; `processing` while it has not ended.
        reason: Why, in words.
        steps: Its steps, in the order in which they started.
    """

    number: int
    worker: str | None
    started_at: datetime
    last_sign_at: datetime
    ended_at: datetime | None = None
    outcome: str = ImageStatus.PROCESSING.value
    reason: str = ""
    steps: tuple[StepBar, ...] = ()


Row: TypeAlias = Attempt | Wait | Summary


def rows(image: Image) -> list[Row]:
    """
    Return the attempts, the time between them, and the summary of dropped ones, oldest first.

    The history of a damaged record may be in any order: every entry is shown in an attempt or ends one.
    """
    builder = _Builder(image.error)
    for entry in image.history:
        builder.add(entry)
    return builder.finish(image.status)


def workers(image_rows: Iterable[Row]) -> list[str]:
    """Return the names of the workers of the attempts, in order of appearance."""
    names = (row.worker for row in image_rows if isinstance(row, Attempt))
    return list(dict.fromkeys(name for name in names if name is not None))


class _Builder:
    """Groups the entries of a history into attempts and the time between them."""

    def __init__(self, error: Failure | None) -> None:
        self._error = error
        self._rows: list[Row] = []
        self._wait: Wait | None = None
        self._attempt: Attempt | None = None

    def add(self, entry: HistoryEntry) -> None:
        if entry.status == SUMMARISED:
            self._close_attempt(_NOT_RECORDED)
            self._wait = None  # the attempt that ended it is one of the dropped entries
            self._rows.append(Summary(text=summary_text(entry)))
        elif entry.step is not None:
            self._move_step(entry, entry.step)
        elif entry.status == ImageStatus.PROCESSING:
            self._claim(entry)
        elif entry.status == ImageStatus.PENDING:
            self._move_to_pending(entry)
        elif entry.status in TERMINAL_STATUSES:
            self._end_attempt(entry, outcome=entry.status)

    def finish(self, status: str) -> list[Row]:
        is_processing = status is ImageStatus.PROCESSING
        self._close_attempt(ImageStatus.PROCESSING.value if is_processing else _NOT_RECORDED)
        if self._wait is not None and status is ImageStatus.PENDING:
            self._rows.append(self._wait)
        return self._rows

    def _claim(self, entry: HistoryEntry) -> None:
        if entry.detail.get("reason") != ATTEMPT_RAISED or self._attempt is None:
            self._attempt = self._new_attempt(entry)
            return
        self._attempt = replace(
            self._attempt, number=entry.attempt, last_sign_at=entry.at, reason=reason_text(entry, self._error)
        )

    def _new_attempt(self, entry: HistoryEntry) -> Attempt:
        self._close_attempt(_NOT_RECORDED)
        if self._wait is not None and entry.at > self._wait.since:
            self._rows.append(replace(self._wait, until=entry.at))
        self._wait = None
        return Attempt(number=entry.attempt, worker=entry.worker, started_at=entry.at, last_sign_at=entry.at)

    def _move_step(self, entry: HistoryEntry, name: str) -> None:
        attempt = self._attempt or self._new_attempt(entry)
        started = next((step for step in attempt.steps if step.name == name), None)
        step = started or StepBar(name=name, status=entry.status, started_at=entry.at)
        if entry.status != StepStatus.PROCESSING:
            computed_ms = entry.detail.get("ms")
            step = replace(
                step,
                status=entry.status,
                ended_at=entry.at,
                elapsed_ms=computed_ms
                if isinstance(computed_ms, int)
                else milliseconds(entry.at - step.started_at),
            )
        others = tuple(each for each in attempt.steps if each is not started)
        self._attempt = replace(attempt, last_sign_at=entry.at, steps=(*others, step))

    def _move_to_pending(self, entry: HistoryEntry) -> None:
        reason, text = str(entry.detail.get("reason")), reason_text(entry, self._error)
        if reason == REQUEUED and self._wait is not None:
            return
        if reason == ImageMove.LEASE_EXPIRED and self._attempt is not None:
            last_sign_at = self._attempt.last_sign_at
            self._close_attempt("lease expired")
            self._rows.append(Wait(kind=WaitKind.LEASE_EXPIRED, since=last_sign_at, until=entry.at))
        elif self._attempt is not None:
            self._end_attempt(entry, outcome=_OUTCOMES.get(reason, ImageMove.RELEASED.value))
        kind = WaitKind.RELEASED if "code" in entry.detail else _WAITS.get(reason, WaitKind.IN_QUEUE)
        self._wait = Wait(kind=kind, since=entry.at, reason=text)

    def _end_attempt(self, entry: HistoryEntry, *, outcome: str) -> None:
        attempt = self._attempt or self._new_attempt(entry)
        reasons = (attempt.reason, reason_text(entry, self._error))
        self._attempt = replace(
            attempt, last_sign_at=entry.at, ended_at=entry.at, reason=", ".join(filter(None, reasons))
        )
        self._close_attempt(outcome)

    def _close_attempt(self, outcome: str) -> None:
        if self._attempt is not None:
            self._rows.append(replace(self._attempt, outcome=outcome))
        self._attempt = None
