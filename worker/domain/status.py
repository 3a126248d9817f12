"""The statuses of an image and of its steps, and the tables of legal moves between them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from worker.domain.errors import IllegalMoveError


class ImageStatus(StrEnum):
    """Status of an image."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class StepStatus(StrEnum):
    """Status of a step of an image."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class StepName(StrEnum):
    """The steps, in order of execution."""

    VALIDATION = "validation"
    RESIZE = "resize"
    WATERMARK = "watermark"


Known = TypeVar("Known", bound=StrEnum)


def known_or_text(kind: type[Known], text: str) -> Known | str:
    """Return a status or step by its name; the name itself if a newer version has added it."""
    try:
        return kind(text)
    except ValueError:
        return text


class ImageMove(StrEnum):
    """Moves of an image from one status to another."""

    CLAIMED = "claimed"
    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    LEASE_EXPIRED = "lease_expired"
    UPLOADED_AGAIN = "uploaded_again"
    RETRIED = "retried"
    REPROCESSED = "reprocessed"
    DELETION_BEGUN = "deletion_begun"


class StepMove(StrEnum):
    """Moves of a step from one status to another."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    RELEASED = "released"


TERMINAL_STATUSES: Final = frozenset({ImageStatus.COMPLETED, ImageStatus.FAILED})
"""Statuses that an image leaves only when it is retried, reprocessed or uploaded again."""

_I, _S = ImageStatus, StepStatus

IMAGE_MOVES: Final[Mapping[ImageMove, tuple[frozenset[ImageStatus], ImageStatus]]] = {
    ImageMove.CLAIMED: (frozenset({_I.PENDING}), _I.PROCESSING),
    ImageMove.COMPLETED: (frozenset({_I.PROCESSING}), _I.COMPLETED),
    ImageMove.FAILED: (frozenset({_I.PROCESSING}), _I.FAILED),
    ImageMove.RELEASED: (frozenset({_I.PROCESSING}), _I.PENDING),
    ImageMove.LEASE_EXPIRED: (frozenset({_I.PROCESSING}), _I.PENDING),
    ImageMove.UPLOADED_AGAIN: (frozenset(_I), _I.PENDING),
    ImageMove.RETRIED: (frozenset({_I.FAILED}), _I.PENDING),
    ImageMove.REPROCESSED: (frozenset({_I.COMPLETED, _I.FAILED}), _I.PENDING),
    ImageMove.DELETION_BEGUN: (frozenset(_I), _I.PENDING),
}
"""Move -> (statuses it may start from, status it leads to)."""

STEP_MOVES: Final[Mapping[StepMove, tuple[frozenset[StepStatus], StepStatus]]] = {
    StepMove.STARTED: (frozenset({_S.PENDING}), _S.PROCESSING),
    StepMove.COMPLETED: (frozenset({_S.PROCESSING}), _S.COMPLETED),
    StepMove.FAILED: (frozenset({_S.PROCESSING}), _S.FAILED),
    StepMove.SKIPPED: (frozenset({_S.PROCESSING}), _S.SKIPPED),
    StepMove.RELEASED: (frozenset({_S.PROCESSING}), _S.PENDING),
}
"""Move -> (statuses it may start from, status it leads to); a claim resets all steps to pending."""


def image_status_after(move: ImageMove, status: str) -> ImageStatus:
    """
    Return the status of an image after a move.

    Raises:
        IllegalMoveError: The move is not legal from this status.
    """
    legal_from, leads_to = IMAGE_MOVES[move]
    if status not in legal_from:
        raise IllegalMoveError(what="the image", move=move, status=status)
    return leads_to


def step_status_after(move: StepMove, step: str, status: str) -> StepStatus:
    """
    Return the status of a step after a move.

    Raises:
        IllegalMoveError: The move is not legal from this status.
    """
    legal_from, leads_to = STEP_MOVES[move]
    if status not in legal_from:
        raise IllegalMoveError(what=f"step {step}", move=move, status=status)
    return leads_to
