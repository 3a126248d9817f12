"""Which images are stuck, and the job that requeues one."""

from datetime import timedelta

from tests.support.builders import NOON, a_claimant, a_job, after
from worker.domain.claim import Claimed, decide
from worker.domain.image import Failure, Image
from worker.domain.transition import apply, image_failed, image_released
from worker.repair.reconcile import is_stuck
from worker.repair.requests import job_of

FAILURE = Failure(code="unavailable", message="S3 is unreachable", step=None, retryable=True)
PENDING_FOR = timedelta(minutes=5)


def processing() -> Image:
    decision = decide(None, a_job(), a_claimant(now=NOON, lease_s=60))
    assert isinstance(decision, Claimed)
    return decision.image


def test_a_processing_image_is_stuck_once_its_lease_has_expired() -> None:
    assert not is_stuck(processing(), now=after(59), pending_for=PENDING_FOR, lease_s=60)
    assert is_stuck(processing(), now=after(60), pending_for=PENDING_FOR, lease_s=60)


def test_a_processing_image_is_stuck_when_a_worker_whose_clock_is_fast_has_leased_it() -> None:
    assert is_stuck(processing(), now=after(-3600), pending_for=PENDING_FOR, lease_s=60)


def test_an_image_that_killed_a_worker_alone_is_stuck_once_its_message_should_have_been_received() -> None:
    decision = decide(processing(), a_job(), a_claimant("worker-b/1", now=after(61), lease_s=60))
    assert isinstance(decision, Claimed)

    assert not is_stuck(decision.image, now=after(420), pending_for=PENDING_FOR, lease_s=60)
    assert is_stuck(decision.image, now=after(422), pending_for=PENDING_FOR, lease_s=60)


def test_a_pending_image_is_stuck_after_the_given_time() -> None:
    pending = apply(processing(), image_released(FAILURE, at=after(10)))

    assert not is_stuck(pending, now=after(310), pending_for=PENDING_FOR, lease_s=60)
    assert is_stuck(pending, now=after(311), pending_for=PENDING_FOR, lease_s=60)


def test_an_image_that_has_ended_is_never_stuck() -> None:
    failed = apply(processing(), image_failed(FAILURE, at=after(10)))

    assert not is_stuck(failed, now=after(1_000_000), pending_for=PENDING_FOR, lease_s=60)


def test_the_job_of_an_image_is_for_the_recorded_upload() -> None:
    assert job_of(processing()) == a_job()
