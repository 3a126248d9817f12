"""Describe requests to process an image again, and build the job that is sent to the queue."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from worker.domain.image import Image
from worker.domain.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueRequest:
    """
    A request to put one image back in the queue.

    Attributes:
        image_id: Id of the image, for the report.
        user_id: Owner of the image, for the report.
        action: Name of the action in the report, in the past tense: `retried`.
        body: Body of the message to send.
        mark_pending: Moves the record to pending before the message is sent; returns None when the image has
            changed since it was read. None when the record needs no move because a claim accepts it as it is.
    """

    image_id: str
    user_id: str
    action: str
    body: str
    mark_pending: Callable[[], Awaitable[Image | None]] | None = None


def job_of(image: Image) -> Job:
    """Return the job for the upload that the record names, so that a claim accepts it."""
    return Job(
        bucket=image.bucket,
        key=image.key,
        user_id=image.user_id,
        image_id=image.image_id,
        version=image.version,
        size_bytes=image.file_size,
    )
