"""
Map an error to the outcome of the attempt and the disposition of its message.

An outcome is what happens to the image, a disposition (`worker.domain.message`) what happens to the message.

| error | outcome: the image's record | disposition: the message |
| --- | --- | --- |
| `RejectedError` | `Failed`: failed, with its code | deleted |
| `DecoderKilledError` of an image processed alone | `Failed`: failed, with its code | deleted |
| `TransientError` or a bug | `Released`: pending again, with the reason | released, with a growing delay |
| the same on the last receive | `RetriesExhausted`: failed, with the reason | dead letter, then deleted |
| `SupersededError` | `Released`: the newer upload's event processes it | deleted |
| `LeaseLostError` | `LeaseLost`: nothing is written, another worker owns it | abandoned |
| cancellation: the worker shuts down | `Released` | released without a delay |
| `NewerRecordError`, `NewerMessageError` | none: nothing is written | released, with a long growing delay |
| the same on the last receive | none: nothing is written | dead letter, then deleted |
| none: the worker is killed | processing, until the next claim after the lease | redelivered |
"""

import random
from asyncio import CancelledError
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

from worker.domain.errors import (
    INTERNAL_ERROR,
    WORKER_KILLED,
    ConfigurationError,
    DecoderKilledError,
    LeaseLostError,
    NotScannedError,
    RejectedError,
    SupersededError,
    TransientError,
)
from worker.domain.image import Failure
from worker.domain.message import Abandon, Delete, Disposition, Release

_FIRST_RETRY_DELAY_S: Final = 5.0
_MAX_RETRY_DELAY_S: Final = 900.0
_FIRST_UPGRADE_DELAY_S: Final = 60.0
_MAX_UPGRADE_DELAY_S: Final = 3600.0

WORKER_STOPPED: Final = "worker_stopped"
"""Code of images that were released because the worker was shut down."""

RETRIES_EXHAUSTED_CODES: Final = frozenset(
    {
        TransientError.code,
        NotScannedError.code,
        INTERNAL_ERROR,
        WORKER_KILLED,
        "access_denied",
        "result_rejected",
        "source_unreadable",
    }
)
"""Codes of failed images whose message may have gone to the dead-letter queue."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The image is failed: it cannot be processed."""

    failure: Failure
    disposition: ClassVar[Disposition] = Delete()


@dataclass(frozen=True, slots=True)
class RetriesExhausted:
    """The image is failed, because its message was received for the last time; it becomes a dead letter."""

    failure: Failure
    disposition: ClassVar[Disposition] = Delete()


@dataclass(frozen=True, slots=True)
class Released:
    """The image is pending again, for another attempt."""

    failure: Failure
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """Nothing is written: another worker owns the image."""

    disposition: ClassVar[Disposition] = Abandon()


Outcome: TypeAlias = Failed | RetriesExhausted | Released | LeaseLost


def outcome_of(
    error: BaseException,
    *,
    step: str | None,
    receive_count: int,
    max_receives: int,
    is_alone: bool = False,
) -> Outcome:
    """
    Map the error that ended an attempt to the image's outcome and the message's disposition.

    Args:
        error: The error.
        step: The step that was processing.
        receive_count: How often the message has been received, this time included.
        max_receives: How often it may be received.
        is_alone: Whether the image was processed alone, because an earlier attempt was killed.
    """

    def failure(code: str, message: str, *, retryable: bool = True) -> Failure:
        return Failure(code=code, message=message, step=step, retryable=retryable)

    match error:
        case DecoderKilledError() if is_alone:
            return Failed(failure(error.code, str(error)))
        case RejectedError():
            return Failed(failure(error.code, str(error), retryable=error.retryable))
        case LeaseLostError():
            return LeaseLost()
        case SupersededError():
            return Released(failure("superseded", str(error)), Delete())
        case CancelledError():
            return Released(failure(WORKER_STOPPED, "the worker was shut down"), Release(0))
        case TransientError():
            retryable_failure = failure(error.code, str(error))
        case ConfigurationError():  # found out while it ran, such as a proxy that responds in place of AWS
            retryable_failure = failure(TransientError.code, str(error))
        case _:  # a bug of the worker
            retryable_failure = failure(INTERNAL_ERROR, f"{type(error).__name__}: {error}")
    if receive_count >= max_receives:
        return RetriesExhausted(retryable_failure)
    is_dependency_failure = isinstance(error, ConfigurationError) or (
        isinstance(error, TransientError) and error.is_dependency_failure
    )
    return Released(retryable_failure, Release(retry_delay_s(receive_count), is_dependency_failure))


def retry_delay_s(receive_count: int) -> float:
    """Return a random delay in seconds before the next receive: full jitter, doubling with each receive."""
    bound_s = min(_MAX_RETRY_DELAY_S, _FIRST_RETRY_DELAY_S * 2.0 ** min(receive_count - 1, 30))
    return random.uniform(0, bound_s)  # noqa: S311 - not for cryptography


def upgrade_delay_s(receive_count: int) -> float:
    """
    Return a random delay in seconds before the next receive of what only a newer version can process.

    A rolling deployment takes minutes, and the next receive may be another old worker's: the delay is longer
    than for a retry, and grows four times with each receive. Five receives span 40 to 81 minutes.
    """
    bound_s = min(_MAX_UPGRADE_DELAY_S, _FIRST_UPGRADE_DELAY_S * 4.0 ** min(receive_count - 1, 30))
    return random.uniform(bound_s / 2, bound_s)  # noqa: S311 - not for cryptography
