"""An image in the states of its way through the worker, as a console reads them one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tests.support.builders import NOON, a_claimant, a_job, a_requester, after, all_transitions
from worker.domain.claim import Claimed, decide, image_reprocessed, image_retried, lease_expired
from worker.domain.image import Failure, Image
from worker.domain.status import StepName
from worker.domain.transition import apply_all, failed, image_released

REJECTED = Failure(
    code="corrupt", message="the file cannot be decoded", step=StepName.VALIDATION, retryable=False
)
TRANSIENT = Failure(code="unavailable", message="S3 is unreachable", step=None, retryable=True)


def claimed(image: Image | None = None, *, worker: str = "worker-a", at: datetime = NOON) -> Image:
    """Return an image that a worker has claimed; a new one by default."""
    result = decide(image, a_job(), a_claimant(f"{worker}/1", now=at))
    assert isinstance(result, Claimed)
    return result.image


def completed(image: Image | None = None) -> Image:
    """Return a claimed image after all its steps, four seconds after noon."""
    return apply_all(image or claimed(), all_transitions())


def rejected(image: Image | None = None) -> Image:
    """Return a claimed image that failed in its first step."""
    return apply_all(image or claimed(), failed(REJECTED, at=after(1)))


def released(image: Image | None = None) -> Image:
    """Return a claimed image that its worker released."""
    return apply_all(image or claimed(), [image_released(TRANSIENT, at=after(2))])


def expired(image: Image | None = None) -> Image:
    """Return a claimed image whose lease has expired, a minute after noon."""
    return lease_expired(image or claimed(), at=after(60))


def retried(image: Image, *, seconds: float = 100) -> Image:
    """Return a failed image for which a retry was requested."""
    return image_retried(image, requester=a_requester("console"), at=after(seconds))


def reprocessed(image: Image, *, seconds: float = 100) -> Image:
    """Return an image that was requested to be processed again."""
    return image_reprocessed(image, requester=a_requester("console"), at=after(seconds))


def processing_states() -> Sequence[Image]:
    """Return a new image after its claim and after each of its transitions."""
    states = [claimed()]
    for transition in all_transitions():
        states.append(apply_all(states[-1], [transition]))
    return states


def later(image: Image, seconds: float) -> Image:
    """Return the image as changed at another time."""
    return replace(image, updated_at=after(seconds))
