"""Code shared by the repair tools: their dependencies, the queries for images, and requeuing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from worker.aws.retry import RetryPolicy
from worker.delivery.recipes import Recipes
from worker.domain.errors import TransientError
from worker.domain.image import Image
from worker.domain.job import Job
from worker.domain.keys import UploadKeyTemplate
from worker.domain.requester import Requester
from worker.domain.status import ImageStatus
from worker.dynamodb.ledger import DynamoLedger
from worker.dynamodb.queries import Queries
from worker.dynamodb.repair_writes import RepairWrites
from worker.repair.control import UNCONTROLLED, Control
from worker.repair.requests import RequeueRequest
from worker.s3.results import S3Results
from worker.sqs.batch import MAX_BATCH_ENTRIES
from worker.sqs.events import to_body
from worker.sqs.sender import JobSender, RateLimiter

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

DEFAULT_RATE_PER_S: Final = 20.0
"""Images requeued per second by default: a fraction of what one decoder processes in a second."""

_PAGE_SIZE: Final = 100

CHANGED: Final = "changed since it was read"
"""Reason for skipping an image that another process updated first."""

BEING_DELETED: Final = "being deleted"
"""Reason for skipping an image whose deletion has begun: only the deletion may change it."""


class Reporter(Protocol):
    """Receives the result of a repair for each image."""

    def done(self, action: str, *, image_id: str, user_id: str) -> None:
        """Report an image that was repaired, or would be in a dry run."""

    def skipped(self, reason: str) -> None:
        """Report an image that needs no repair."""

    def failed(self, subject: str, message: str) -> None:
        """Report an image or message that could not be repaired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairContext:
    """
    The dependencies of a repair tool.

    Attributes:
        bucket: Bucket of the uploads.
        upload_keys: Template of the keys of uploads.
        results_bucket: Bucket of the results.
        results_prefix: Key prefix of the results.
        results: Deletes results.
        table_id: Returns the id of the table, which a restored table does not share.
        s3: S3 client.
        s3_retry: Retry policy for requests to S3.
        queries: Reads images from the table.
        writes: Moves images to pending.
        ledger: Claims and fails images whose upload no longer exists.
        sender: Sends messages to the queue.
        rate_limiter: Limits the images requeued per second.
        recipes: Recipes that the worker would use now.
        reporter: Receives the result for each image.
        requester: Who requests the repair, for the history; the messages have the name of the command.
        worker_id: Name of this process in leases.
        lease_s: Duration of a lease in seconds.
        dry_run: Report what would be done, and change nothing.
        control: Pauses or stops the repair between its batches.
    """

    bucket: str
    upload_keys: UploadKeyTemplate
    results_bucket: str
    results_prefix: str
    results: S3Results
    table_id: Callable[[], Awaitable[str]]
    s3: "S3Client"
    s3_retry: RetryPolicy
    queries: Queries
    writes: RepairWrites
    ledger: DynamoLedger
    sender: JobSender
    rate_limiter: RateLimiter
    recipes: Recipes
    reporter: Reporter
    requester: Requester
    worker_id: str
    lease_s: float
    dry_run: bool
    control: Control = UNCONTROLLED

    async def recipe_hash(self, image: Image) -> str:
        """Return the hash of the recipe that the worker would use; raises what `Recipes.for_upload` does."""
        return (await self.recipes.for_upload(user_id=image.user_id, key=image.key)).recipe.hash

    def serves_or_report(self, image: Image) -> bool:
        """Return whether the worker would accept a message about the image; report a failure if not."""
        is_served = self.upload_keys.is_key_of(image.key, user_id=image.user_id, image_id=image.image_id)
        if image.bucket == self.bucket and is_served:
            return True
        self.reporter.failed(
            image.image_id,
            f"its upload is s3://{image.bucket}/{image.key}, but this worker serves "
            f"s3://{self.bucket}/{self.upload_keys}: set WORKER_BUCKET and WORKER_UPLOAD_KEY",
        )
        return False

    async def images_with_status(
        self, status: ImageStatus, *, user_id: str | None = None
    ) -> AsyncIterator[list[Image]]:
        """
        Yield the images with a status, of all users or of one, page by page, read consistently.

        The index that they are found by may lag behind the table: check the status of each image again.

        Raises:
            RepairStoppedError: The repair was asked to stop.
        """
        token: str | None = None
        while True:
            await self.control.checkpoint()
            if user_id is not None:
                page = await self.queries.images_of_user(user_id, limit=_PAGE_SIZE, token=token)
            else:
                page = await self.queries.images_by_status(status, limit=_PAGE_SIZE, token=token)
            keys = [(image.image_id, image.user_id) for image in page.images if image.status is status]
            keys += [(error.image_id, error.user_id) for error in page.unreadable]  # reported when read
            yield await self.queries.images(keys, consistent=True)
            if page.next_token is None:
                return
            token = page.next_token

    def request(
        self,
        job: Job,
        *,
        action: str,
        mark_pending: Callable[[], Awaitable[Image | None]] | None = None,
    ) -> RequeueRequest:
        """Return a request to requeue a job."""
        return RequeueRequest(
            image_id=job.image_id,
            user_id=job.user_id,
            action=action,
            body=to_body(job, reason=self.requester.command),
            mark_pending=mark_pending,
        )

    async def requeue(self, requests: Sequence[RequeueRequest]) -> list[bool]:
        """
        Move the records to pending, then send the messages, in batches; in a dry run only report.

        The record is written first, because a worker deletes a message whose image has already ended. If the
        run stops in between, or the message cannot be sent, the image stays pending without a message until
        `image-worker reconcile` finds it and sends one.

        Returns:
            Whether each request's message was sent.

        Raises:
            TransientError: The table rejected a whole batch, so that later batches would fail too.
        """
        sent: list[bool] = []
        for start in range(0, len(requests), MAX_BATCH_ENTRIES):
            sent += await self._requeue_batch(requests[start : start + MAX_BATCH_ENTRIES])
        return sent

    async def _requeue_batch(self, requests: Sequence[RequeueRequest]) -> list[bool]:
        if self.dry_run:
            for request in requests:
                self._report_done(request)
            return [True] * len(requests)
        await self.rate_limiter.wait_for(len(requests))
        writes = await asyncio.gather(*(_mark_pending(request) for request in requests))
        errors = [result for result in writes if isinstance(result, TransientError)]
        if errors and len(errors) == len(requests):
            raise errors[0]
        to_send = [request for request, result in zip(requests, writes, strict=True) if result is True]
        send_errors = iter(await self.sender.send([request.body for request in to_send]))
        sent = []
        for request, result in zip(requests, writes, strict=True):
            is_sent = False
            if isinstance(result, TransientError):
                self.reporter.failed(request.image_id, str(result))
            elif not result:
                self.reporter.skipped(CHANGED)
            elif (error := next(send_errors)) is not None:
                self.reporter.failed(request.image_id, _send_failure(error, request))
            else:
                self._report_done(request)
                is_sent = True
            sent.append(is_sent)
        return sent

    def _report_done(self, request: RequeueRequest) -> None:
        self.reporter.done(request.action, image_id=request.image_id, user_id=request.user_id)


async def _mark_pending(request: RequeueRequest) -> bool | TransientError:
    """Return whether the image is ready for its message; False when it has changed since it was read."""
    try:
        return request.mark_pending is None or await request.mark_pending() is not None
    except TransientError as error:
        return error


def _send_failure(error: Exception, request: RequeueRequest) -> str:
    if request.mark_pending is None:
        return str(error)
    return f"{error}; the image is pending: run `image-worker reconcile` to send its message"
