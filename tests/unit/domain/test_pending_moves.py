"""The moves that make an image pending again."""

from dataclasses import replace

import pytest

from tests.support.builders import a_claimant, a_job, a_requester, after, all_transitions
from worker.domain.claim import (
    AlreadyDone,
    Claimed,
    decide,
    image_reprocessed,
    image_requeued,
    image_retried,
    lease_expired,
)
from worker.domain.errors import IllegalMoveError
from worker.domain.image import Failure, Image
from worker.domain.status import ImageStatus
from worker.domain.transition import Transition, apply_all, image_failed, image_released

FAILURE = Failure(code="unavailable", message="the bucket was unavailable", step=None, retryable=True)


def in_status(status: ImageStatus) -> Image:
    result = decide(None, a_job(), a_claimant())
    assert isinstance(result, Claimed)
    moves: dict[ImageStatus, list[Transition]] = {
        ImageStatus.PROCESSING: [],
        ImageStatus.COMPLETED: all_transitions(),
        ImageStatus.FAILED: [image_failed(FAILURE, at=after(5))],
        ImageStatus.PENDING: [image_released(FAILURE, at=after(5))],
    }
    return apply_all(result.image, moves[status])


@pytest.mark.parametrize(
    ("move", "legal_from"),
    [
        (image_retried, {ImageStatus.FAILED}),
        (image_reprocessed, {ImageStatus.COMPLETED, ImageStatus.FAILED}),
        (lease_expired, {ImageStatus.PROCESSING}),
        (image_requeued, {ImageStatus.PENDING}),
    ],
)
@pytest.mark.parametrize("status", ImageStatus)
def test_a_move_leads_to_pending_from_a_legal_status_and_raises_from_others(
    move: object, legal_from: set[ImageStatus], status: ImageStatus
) -> None:
    assert callable(move)
    image = in_status(status)
    if status not in legal_from:
        with pytest.raises(IllegalMoveError):
            move(image, requester=a_requester(), at=after(60))
        return
    moved = move(image, requester=a_requester(), at=after(60))
    assert (moved.status, moved.lease, moved.updated_at) == (ImageStatus.PENDING, None, after(60))
    assert moved.history[:-1] == image.history
    detail = moved.history[-1].detail
    assert (detail["by"], detail["via"], detail["command"]) == ("a test", "command line", "a command")
    assert moved.history[-1].detail["reason"]


@pytest.mark.parametrize("move", [image_retried, image_reprocessed])
def test_a_retried_or_reprocessed_image_can_be_claimed_for_the_same_upload(move: object) -> None:
    assert callable(move)
    image = in_status(ImageStatus.FAILED)
    job = replace(a_job(), version=image.version)

    assert isinstance(decide(image, job, a_claimant("other/1", now=after(90))), AlreadyDone)
    result = decide(
        move(image, requester=a_requester(), at=after(60)), job, a_claimant("other/1", now=after(90))
    )

    assert isinstance(result, Claimed)
    assert result.image.attempt == image.attempt + 1


def test_a_reprocessed_image_keeps_its_results_and_counted_bytes_until_they_are_replaced() -> None:
    image = replace(in_status(ImageStatus.COMPLETED), counted_bytes=1100)

    moved = image_reprocessed(image, requester=a_requester(), at=after(60))

    assert (moved.renditions, moved.processed_key, moved.counted_bytes) == (
        image.renditions,
        image.processed_key,
        1100,
    )
