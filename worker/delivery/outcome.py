"""
Which error means what: what the record says, and what becomes of the message.

| error | the record | the message |
| --- | --- | --- |
| `RejectedError` | failed, with its code | deleted |
| `TransientError` | released: pending again, with the reason | given back, later each time |
| `TransientError` on the last receive | failed, retryable, with the reason | dead letter, then deleted |
| `SupersededError` | released: the newer upload takes it | deleted |
| `LeaseLostError` | nothing: it is another's | left alone |
| cancellation: the worker stops | released | given back at once |
"""

import random
from asyncio import CancelledError
from dataclasses import dataclass
from enum import Enum, auto

from worker.domain.errors import (
    INTERNAL_ERROR,
    LeaseLostError,
    RejectedError,
    SupersededError,
    TransientError,
)
from worker.domain.image import Failure
from worker.domain.message import Abandon, Delete, Disposition, Release
from worker.domain.status import StepName

_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 900.0

GAVE_UP = frozenset({TransientError.code, INTERNAL_ERROR})
"""Codes of failures that come of the last receive, and of no picture: their messages are dead letters."""


class Ending(Enum):
    """How the record's attempt ends."""

    FAIL = auto()
    RELEASE = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What an error means.

    Attributes:
        ending: What the record is told.
        failure: Why; None where the record is told nothing.
        disposition: What becomes of the message.
        is_dead: Whether the message goes to the dead letters before it is deleted.
    """

    ending: Ending
    failure: Failure | None
    disposition: Disposition
    is_dead: bool = False


def outcome_of(
    error: BaseException, *, step: StepName | None, receive_count: int, max_receives: int
) -> Verdict:
    """
    Say what an error that ended an attempt means.

    Args:
        error: What was raised.
        step: The step under way.
        receive_count: How often the message has been handed out.
        max_receives: How often it may be.
    """
    match error:
        case RejectedError():
            failure = Failure(code=error.code, message=str(error), step=step, retryable=error.retryable)
            return Verdict(ending=Ending.FAIL, failure=failure, disposition=Delete())
        case LeaseLostError():
            return Verdict(ending=Ending.NOTHING, failure=None, disposition=Abandon())
        case SupersededError():
            failure = Failure(code="superseded", message=str(error), step=step, retryable=True)
            return Verdict(ending=Ending.RELEASE, failure=failure, disposition=Delete())
        case CancelledError():
            failure = Failure(code="worker_stopped", message="the worker stopped", step=step, retryable=True)
            return Verdict(ending=Ending.RELEASE, failure=failure, disposition=Release(0))
        case TransientError():
            failure = Failure(code=error.code, message=str(error), step=step, retryable=True)
        case _:
            # A bug of ours: the picture keeps its tries, and the trail its name.
            message = f"{type(error).__name__}: {error}"
            failure = Failure(code=INTERNAL_ERROR, message=message, step=step, retryable=True)
    if receive_count >= max_receives:
        return Verdict(ending=Ending.FAIL, failure=failure, disposition=Delete(), is_dead=True)
    later = Release(wait_s(receive_count), is_dependency_failure=isinstance(error, TransientError))
    return Verdict(ending=Ending.RELEASE, failure=failure, disposition=later)


def wait_s(receive_count: int) -> float:
    """Draw the wait before a message is seen again: full jitter, the bound doubled by each receive."""
    bound_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(receive_count - 1, 30))
    return random.uniform(0, bound_s)  # noqa: S311 - spreads load, hides nothing
