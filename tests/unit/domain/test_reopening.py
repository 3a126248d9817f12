"""The moves that offer an image again."""

from dataclasses import replace

import pytest

from tests.support.builders import a_claimant, a_job, after, all_transitions
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
from worker.domain.transition import apply_all, image_failed, image_released

FAILURE = Failure(code="unavailable", message="the bucket was away", step=None, retryable=True)


def in_status(status: ImageStatus) -> Image:
    answer = decide(None, a_job(), a_claimant())
    assert isinstance(answer, Claimed)
    moves = {
        ImageStatus.PROCESSING: [],
        ImageStatus.COMPLETED: all_transitions(),
        ImageStatus.FAILED: [image_failed(FAILURE, at=after(5))],
        ImageStatus.PENDING: [image_released(FAILURE, at=after(5))],
    }
    return apply_all(answer.image, moves[status])


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
def test_a_move_leads_to_pending_from_where_it_is_legal_and_is_refused_elsewhere(
    move: object, legal_from: set[ImageStatus], status: ImageStatus
) -> None:
    assert callable(move)
    image = in_status(status)
    if status not in legal_from:
        with pytest.raises(IllegalMoveError):
            move(image, by="a test", at=after(60))
        return
    moved = move(image, by="a test", at=after(60))
    assert (moved.status, moved.lease, moved.updated_at) == (ImageStatus.PENDING, None, after(60))
    assert moved.history[:-1] == image.history
    assert moved.history[-1].detail["by"] == "a test"
    assert moved.history[-1].detail["reason"]


@pytest.mark.parametrize("move", [image_retried, image_reprocessed])
def test_an_image_that_is_asked_for_again_is_claimed_by_a_job_of_its_own_version(move: object) -> None:
    assert callable(move)
    image = in_status(ImageStatus.FAILED)
    job = replace(a_job(), version=image.version)

    assert isinstance(decide(image, job, a_claimant("other/1", now=after(90))), AlreadyDone)
    answer = decide(move(image, by="a test", at=after(60)), job, a_claimant("other/1", now=after(90)))

    assert isinstance(answer, Claimed)
    assert answer.image.attempt == image.attempt + 1


def test_what_is_reprocessed_keeps_its_results_and_what_it_counts_for_until_they_are_replaced() -> None:
    image = replace(in_status(ImageStatus.COMPLETED), counted_bytes=1100)

    moved = image_reprocessed(image, by="a test", at=after(60))

    assert (moved.renditions, moved.processed_key, moved.counted_bytes) == (
        image.renditions,
        image.processed_key,
        1100,
    )
