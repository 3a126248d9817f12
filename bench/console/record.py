"""A record of any number of images, with statuses, days, users and failures as a service in use has them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from tests.support.builders import a_description, a_rendition, a_report
from worker.domain.claim import Claimant, Claimed, decide
from worker.domain.image import Failure, Image
from worker.domain.job import Job, SourceVersion
from worker.domain.status import ImageStatus, StepName
from worker.domain.transition import (
    Transition,
    apply_all,
    failed,
    image_completed,
    source_described,
    step_ended,
    step_started,
)

DAYS: Final = 30
_USERS: Final = 5000
_USER_EXPONENT: Final = 1.1
"""Few users have most of the images: the share of the user at rank n is proportional to n ** -1.1."""

_FAILED_SHARE: Final = 0.02
_PENDING_SHARE: Final = 0.004
_PROCESSING_SHARE: Final = 0.0005

_FAILURES: Final = (
    (
        60,
        Failure(
            code="truncated",
            message="the file is incomplete: it ends before the image data does; upload it again",
            step=StepName.VALIDATION,
            retryable=False,
        ),
    ),
    (
        25,
        Failure(
            code="format_not_allowed",
            message="the format svg is not supported; upload one of: jpeg, png, webp",
            step=StepName.VALIDATION,
            retryable=False,
        ),
    ),
    (
        15,
        Failure(
            code="decode_timeout",
            message="the step took longer than 30 s and was stopped; retry the image",
            step=StepName.RESIZE,
            retryable=True,
        ),
    ),
)
"""Relative frequency of each failure."""


@dataclass(frozen=True, slots=True)
class _Upload:
    """One upload: its number, its owner and its time."""

    number: int
    user_id: str
    at: datetime

    @property
    def image_id(self) -> str:
        return f"img_{self.number:08x}"


def images(count: int, *, until: datetime, seed: int = 1) -> Iterator[Image]:
    """
    Yield images of the last 30 days, each with the history that a worker writes.

    Args:
        count: Number of images.
        until: Time of the newest upload.
        seed: Selects the images.
    """
    rng = random.Random(seed)
    users = [f"user-{rank:04d}" for rank in range(1, _USERS + 1)]
    weights = [rank**-_USER_EXPONENT for rank in range(1, _USERS + 1)]
    owners = rng.choices(users, weights, k=count)
    for number, user_id in enumerate(owners):
        age = timedelta(days=DAYS) * rng.random()
        yield _image(_Upload(number, user_id, until - age), rng, now=until)


def _image(upload: _Upload, rng: random.Random, *, now: datetime) -> Image:
    """Return the image of an upload in the status that it has by now."""
    at = upload.at + timedelta(milliseconds=rng.randint(20, 2000))
    owner = f"worker-{rng.randint(1, 8)}/{upload.number:x}"
    claimant = Claimant(owner=owner, now=at, lease_until=at + timedelta(minutes=1), recipe="recipe-1")
    decision = decide(None, _job(upload, rng), claimant)
    assert isinstance(decision, Claimed)  # noqa: S101 - there was no image
    drawn = rng.random()
    if drawn < _PENDING_SHARE:
        pending = replace(decision.image, status=ImageStatus.PENDING, lease=None, attempt=0, steps={})
        return replace(pending, history=pending.history[:1])
    if drawn < _PENDING_SHARE + _PROCESSING_SHARE:
        lease = Claimant(owner=owner, now=now, lease_until=now + timedelta(minutes=1), recipe="recipe-1")
        current = decide(None, _job(upload, rng), lease)
        assert isinstance(current, Claimed)  # noqa: S101 - there was no image
        return current.image
    size = rng.randint(200_000, 8_000_000)
    if drawn < _PENDING_SHARE + _PROCESSING_SHARE + _FAILED_SHARE:
        moves = _failure(at, size, rng)
    else:
        moves = _completion(upload, at, size, rng)
    ended = apply_all(decision.image, moves)
    if ended.status is ImageStatus.COMPLETED:
        ended = replace(ended, counted_bytes=ended.total_bytes())
    return ended


def _job(upload: _Upload, rng: random.Random) -> Job:
    return Job(
        bucket="image-uploads",
        key=f"uploads/{upload.user_id}/{upload.image_id}.jpg",
        user_id=upload.user_id,
        image_id=upload.image_id,
        version=SourceVersion(
            e_tag=f"{rng.getrandbits(128):032x}", version_id=None, sequencer=None, uploaded_at=upload.at
        ),
        size_bytes=None,
    )


def _completion(upload: _Upload, at: datetime, size: int, rng: random.Random) -> list[Transition]:
    """Return the moves from the claim to the completion."""
    at += timedelta(milliseconds=rng.randint(5, 40))
    moves: list[Transition] = [source_described(a_description(file_size=size), at=at)]
    for number, step in enumerate(StepName):
        moves += [step_started(step, at=at)] if number else []
        at += timedelta(milliseconds=rng.randint(3, 60))
        moves.append(step_ended(a_report(step), at=at))
    rendition = a_rendition(upload.image_id, upload.user_id, size_bytes=size // 20)
    return [*moves, image_completed({"medium": rendition}, main_size="medium", at=at)]


def _failure(at: datetime, size: int, rng: random.Random) -> list[Transition]:
    """Return the moves from the claim to a failure."""
    ((failure),) = rng.choices([one for _, one in _FAILURES], [weight for weight, _ in _FAILURES])
    at += timedelta(milliseconds=rng.randint(5, 40))
    moves: list[Transition] = [source_described(a_description(file_size=size), at=at)]
    for step in StepName:
        if step is failure.step:
            break
        moves.append(step_ended(a_report(step), at=at))
        moves.append(step_started(failure.step or step, at=at))
    return [*moves, *failed(failure, at=at + timedelta(milliseconds=12))]
