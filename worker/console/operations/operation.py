r"""
A bulk repair that the console runs, and its states.

```
counting -> ready -> running <-> paused
                  \-> discarded
counting, running, paused -> stopping -> stopped
counting, running -> completed | failed
```

An operation first counts, in a dry run, what it would do. A person confirms it, and it runs. The console that
runs it owns it, and writes its progress every few seconds; when it no longer does, the operation has stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

from worker.domain import clock
from worker.domain.bounds import bounded_text
from worker.domain.errors import ImageWorkerError
from worker.domain.requester import one_line
from worker.domain.status import ImageStatus

LOST_AFTER: Final = timedelta(seconds=30)
"""Age of the last progress after which an operation counts as stopped."""

TYPED_ABOVE: Final = 100
"""The number of images has to be typed to confirm an operation on more than this many."""

KEPT_DAYS: Final = 90
MAX_ERRORS: Final = 20
"""Errors that an operation keeps; its counts include them all."""

_MAX_ERROR_BYTES: Final = 400
_MAX_EVENTS: Final = 50
_MAX_COUNTS: Final = 30

_LOST: Final = "the console that ran it restarted, or lost its connection to the table"

Time = Annotated[datetime, PlainSerializer(clock.to_text)]


class Action(StrEnum):
    """What an operation does with the images or dead letters that it selects."""

    RETRY = "retry"
    REPROCESS = "reprocess"
    REDRIVE = "redrive"
    RECONCILE = "reconcile"
    DELETE = "delete"
    FORGET = "forget"


DELETING: Final = frozenset({Action.DELETE, Action.FORGET})
"""Actions that cannot be undone."""


class State(StrEnum):
    """State of an operation."""

    COUNTING = "counting"
    READY = "ready"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    DISCARDED = "discarded"


ACTIVE: Final = frozenset({State.COUNTING, State.RUNNING, State.PAUSED, State.STOPPING})
"""States in which a console works on the operation."""

COMMANDS: Final[Mapping[Action, str]] = {
    Action.RETRY: "images retry",
    Action.REPROCESS: "images reprocess",
    Action.REDRIVE: "queue redrive",
    Action.RECONCILE: "reconcile",
    Action.DELETE: "images delete",
    Action.FORGET: "users forget",
}
"""Action -> the command that does the same, which the history of the images names."""


class OperationStateError(ImageWorkerError):
    """Raised when an operation cannot be changed in this way in its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """
    What an operation works on: everything that matches all values that are given.

    Attributes:
        code: Error code of the failed images, or of the dead letters.
        user_id: Owner of the images.
        image_id: Id of the image to delete, of the owner.
        status: Status of the images to reprocess.
        message_id: SQS message id of one dead letter.
        recipe_changed: Only images whose recipe has changed since they were processed.
        objects: Compare the results in the bucket as well, for `reconcile`.
    """

    __pydantic_config__: ClassVar = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    code: str | None = None
    user_id: str | None = None
    image_id: str | None = None
    status: ImageStatus | None = None
    message_id: str | None = None
    recipe_changed: bool = False
    objects: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An entry of the audit trail: what a person, or the console, did with the operation."""

    at: Time
    what: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """
    A bulk repair.

    Attributes:
        operation_id: Begins with the time of the request, so that ids sort by time.
        by: Who requested it.
        requested_at: When it was requested.
        before: Images that changed after this time are skipped, such as those that it has requeued.
        expected: Number of images that the dry run would have changed; None until it ends.
        counted: Results of the dry run by name.
        started_at: When a person confirmed it; None until then.
        counts: Results so far by name, `failed` among them.
        errors: The first errors.
        ended_at: When it ended.
        outcome: Why it ended, in a sentence.
        owner: The console that works on it.
        heartbeat_at: When its owner last wrote its progress.
        events: Who did what, oldest first.
        revision: Number of the write; each write is conditional on the one before.
        ttl: When the item expires, in seconds since 1970.
    """

    __pydantic_config__: ClassVar = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, extra="ignore"
    )

    operation_id: str
    action: Action
    selection: Selection
    state: State
    by: str
    requested_at: Time
    before: Time
    expected: int | None = None
    counted: Mapping[str, int] = field(default_factory=dict)
    started_at: Time | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    ended_at: Time | None = None
    outcome: str | None = None
    owner: str | None = None
    heartbeat_at: Time | None = None
    events: tuple[Event, ...] = ()
    revision: int = 0
    ttl: int

    @property
    def is_active(self) -> bool:
        """Whether a console works on it, as far as is recorded."""
        return self.state in ACTIVE

    @property
    def needs_typing(self) -> bool:
        """Whether the number of images has to be typed to confirm it."""
        return self.action is Action.FORGET or (self.expected or 0) > TYPED_ABOVE

    @property
    def handled(self) -> int:
        """Number of images handled so far: changed, skipped or failed."""
        return sum(self.counts.values())

    def as_seen_at(self, now: datetime) -> "Operation":
        """Return the operation as it is: stopped, if its console has not written its progress for long."""
        if not self.is_active or (self.heartbeat_at and now - self.heartbeat_at <= LOST_AFTER):
            return self
        return replace(self, state=State.STOPPED, outcome=_LOST, ended_at=self.heartbeat_at)


def requested(
    action: Action,
    selection: Selection,
    *,
    operation_id: str,
    by: str,
    owner: str,
    at: datetime,
    before: datetime | None = None,
) -> Operation:
    """Return a new operation, which its owner is about to count."""
    by = one_line(by, 128) or "unknown"
    return Operation(
        operation_id=operation_id,
        action=action,
        selection=selection,
        state=State.COUNTING,
        by=by,
        requested_at=at,
        before=before or at,
        owner=owner,
        heartbeat_at=at,
        events=(Event(at=at, what="requested", by=by),),
        ttl=int((at + timedelta(days=KEPT_DAYS)).timestamp()),
    )


def confirmed(operation: Operation, *, by: str, owner: str, at: datetime) -> Operation:
    """Return the operation running, by the console that received the confirmation."""
    _require(operation, {State.READY}, "confirmed")
    return replace(
        _with_event(operation, "confirmed", by=by, at=at),
        state=State.RUNNING,
        started_at=at,
        owner=owner,
        heartbeat_at=at,
    )


def discarded(operation: Operation, *, by: str, at: datetime) -> Operation:
    """Return an operation that is not confirmed as ended."""
    _require(operation, {State.READY}, "discarded")
    ended = replace(operation, state=State.DISCARDED, ended_at=at, outcome="it was not confirmed")
    return _with_event(ended, "discarded", by=by, at=at)


def paused(operation: Operation, *, by: str, at: datetime) -> Operation:
    """Return the operation paused."""
    _require(operation.as_seen_at(at), {State.RUNNING}, "paused")
    return replace(_with_event(operation, "paused", by=by, at=at), state=State.PAUSED)


def resumed(operation: Operation, *, by: str, at: datetime) -> Operation:
    """Return the operation running again."""
    _require(operation.as_seen_at(at), {State.PAUSED}, "resumed")
    return replace(_with_event(operation, "resumed", by=by, at=at), state=State.RUNNING)


def stop_requested(operation: Operation, *, by: str, at: datetime) -> Operation:
    """Return the operation about to stop: its owner ends it after the current batch."""
    _require(operation.as_seen_at(at), {State.COUNTING, State.RUNNING, State.PAUSED}, "stopped")
    return replace(_with_event(operation, "stopped", by=by, at=at), state=State.STOPPING)


def stop_reason(operation: Operation) -> str:
    """Return why an operation that is about to stop does so."""
    return f"stopped by {operation.events[-1].by}" if operation.events else "stopped"


def lost(operation: Operation, *, at: datetime) -> Operation:
    """Return an operation whose console no longer writes its progress as stopped, so that it stays so."""
    seen = operation.as_seen_at(at)
    _require(seen, {State.STOPPED}, "marked stopped")
    return seen


def with_progress(
    operation: Operation, counts: Mapping[str, int], errors: tuple[str, ...], *, owner: str, at: datetime
) -> Operation:
    """
    Return the operation with its progress, as its owner writes it.

    Raises:
        OperationStateError: Another console has ended the operation.
    """
    if operation.owner != owner or not operation.is_active:
        message = f"operation {operation.operation_id} is {operation.state}, and not of this console"
        raise OperationStateError(message)
    counts = dict(list(counts.items())[:_MAX_COUNTS])
    errors = tuple(one_line(error, _MAX_ERROR_BYTES) for error in errors[:MAX_ERRORS])
    if operation.started_at is None:
        return replace(operation, counted=counts, errors=errors, heartbeat_at=at)
    return replace(operation, counts=counts, errors=errors, heartbeat_at=at)


def counted(operation: Operation, *, expected: int, at: datetime) -> Operation:
    """Return the operation after its dry run: ready, completed if there is nothing to do, or stopped."""
    _require(operation, ACTIVE, "counted")
    if operation.state is State.STOPPING:
        return ended(operation, State.STOPPED, outcome=stop_reason(operation), at=at)
    if not expected:
        return ended(
            replace(operation, expected=0), State.COMPLETED, outcome="there was nothing to do", at=at
        )
    return replace(operation, state=State.READY, expected=expected)


def ended(operation: Operation, state: State, *, outcome: str, at: datetime) -> Operation:
    """Return the operation as its owner ends it."""
    _require(operation, ACTIVE, "ended")
    return replace(operation, state=state, outcome=bounded_text(outcome, _MAX_ERROR_BYTES), ended_at=at)


def _require(operation: Operation, states: frozenset[State] | set[State], what: str) -> None:
    if operation.state not in states:
        message = f"the operation is {operation.state} and cannot be {what}: see its page for what happened"
        raise OperationStateError(message)


def _with_event(operation: Operation, what: str, *, by: str, at: datetime) -> Operation:
    event = Event(at=at, what=what, by=one_line(by, 128) or "unknown")
    return replace(operation, events=(*operation.events[: _MAX_EVENTS - 1], event))
