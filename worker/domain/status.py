"""The statuses of an image and of its steps, and the one table of legal moves between them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from worker.domain.errors import IllegalMoveError


class ImageStatus(StrEnum):
    """Where an image is on its way."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class StepStatus(StrEnum):
    """Where a step of an image is on its way."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class StepName(StrEnum):
    """The steps, in the order in which they are done."""

    VALIDATION = "validation"
    RESIZE = "resize"
    WATERMARK = "watermark"


class ImageMove(StrEnum):
    """The moves of an image."""

    CLAIMED = "claimed"
    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    LEASE_EXPIRED = "lease_expired"
    UPLOADED_AGAIN = "uploaded_again"
    RETRIED = "retried"
    REPROCESSED = "reprocessed"


class StepMove(StrEnum):
    """The moves of a step."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    RELEASED = "released"


TERMINAL_STATUSES: Final = frozenset({ImageStatus.COMPLETED, ImageStatus.FAILED})
"""Where an image stays unless somebody asks for it again, or uploads it again."""

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
}
"""Move -> (the statuses it may start from, the status it leads to)."""

STEP_MOVES: Final[Mapping[StepMove, tuple[frozenset[StepStatus], StepStatus]]] = {
    StepMove.STARTED: (frozenset({_S.PENDING}), _S.PROCESSING),
    StepMove.COMPLETED: (frozenset({_S.PROCESSING}), _S.COMPLETED),
    StepMove.FAILED: (frozenset({_S.PROCESSING}), _S.FAILED),
    StepMove.SKIPPED: (frozenset({_S.PROCESSING}), _S.SKIPPED),
    StepMove.RELEASED: (frozenset({_S.PROCESSING}), _S.PENDING),
}
"""Move -> (the statuses it may start from, the status it leads to); a claim sets all back to pending."""


def image_status_after(move: ImageMove, status: ImageStatus) -> ImageStatus:
    """
    Return the status that a move of the image leads to.

    Raises:
        IllegalMoveError: The move is not legal from this status.
    """
    legal_from, leads_to = IMAGE_MOVES[move]
    if status not in legal_from:
        raise IllegalMoveError(what="the image", move=move, status=status)
    return leads_to


def step_status_after(move: StepMove, step: StepName, status: StepStatus) -> StepStatus:
    """
    Return the status that a move of a step leads to.

    Raises:
        IllegalMoveError: The move is not legal from this status.
    """
    legal_from, leads_to = STEP_MOVES[move]
    if status not in legal_from:
        raise IllegalMoveError(what=f"step {step}", move=move, status=status)
    return leads_to
