"""Asking for pictures through the queue: what all the repair tools have in common."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from worker.aws.retry import RetryPolicies
from worker.bootstrap import RETRY_POLICIES, Clients, open_clients, queue_url, table_of
from worker.cli.support.options import queries_of
from worker.cli.support.report import Report
from worker.delivery.recipes import Recipes
from worker.domain.errors import TransientError
from worker.domain.image import Image
from worker.domain.job import Job
from worker.domain.status import ImageStatus
from worker.dynamodb.profiles import CachedProfiles, ProfileStore
from worker.dynamodb.queries import Queries
from worker.dynamodb.repair_writes import RepairWrites
from worker.recipe_settings import recipe_builder_from
from worker.s3.logos import Logos
from worker.settings import Settings
from worker.sqs.batch import MAX_BATCH_ENTRIES
from worker.sqs.events import to_body
from worker.sqs.sender import JobSender, RateLimiter

_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueRequest:
    """
    One picture to ask for.

    Attributes:
        action: What that is called in the report: `retried`.
        body: The message that asks for it.
        move: Makes the record's move to pending first, and returns None when the image has changed since it
            was looked at; None where a claim takes the image as it is.
    """

    image_id: str
    user_id: str
    action: str
    body: str
    move: Callable[[], Awaitable[Image | None]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairContext:
    """The rooms that a repair tool works with, and the one way in which it asks for pictures."""

    settings: Settings
    clients: Clients
    queries: Queries
    reopening: RepairWrites
    requests: JobSender
    retries: RetryPolicies
    pace: RateLimiter
    report: Report
    recipes: Recipes
    by: str

    def serves(self, image: Image) -> bool:
        """Tell whether a worker with these settings would read a message about the image; report if not."""
        settings = self.settings
        if image.bucket == settings.bucket and image.key.startswith(settings.uploads_prefix):
            return True
        self.report.could_not(
            image.image_id,
            f"its upload is s3://{image.bucket}/{image.key}; this worker serves "
            f"s3://{settings.bucket}/{settings.uploads_prefix}: set WORKER_BUCKET and WORKER_UPLOADS_PREFIX",
        )
        return False

    async def images_in(
        self, status: ImageStatus, *, user_id: str | None = None
    ) -> AsyncIterator[list[Image]]:
        """
        Yield the images of everybody, or of a user, that are in a status, page by page, as they are now.

        What an index says may be a moment old, so that some may be in another status by then.
        """
        token: str | None = None
        while True:
            if user_id is not None:
                page = await self.queries.images_of_user(user_id, limit=_PAGE, token=token)
            else:
                page = await self.queries.images_by_status(status, limit=_PAGE, token=token)
            keys = [(image.image_id, image.user_id) for image in page.images if image.status is status]
            yield await self.queries.images(keys, consistent=True)
            if page.next_token is None:
                return
            token = page.next_token

    def wish(
        self,
        job: Job,
        *,
        action: str,
        move: Callable[[], Awaitable[Image | None]] | None = None,
    ) -> RequeueRequest:
        """Return the wish for a job."""
        return RequeueRequest(
            image_id=job.image_id,
            user_id=job.user_id,
            action=action,
            body=to_body(job, reason=self.by),
            move=move,
        )

    async def ask(self, wishes: Sequence[RequeueRequest]) -> list[bool]:
        """
        Move the records to pending and then send the messages, ten at a time; on a dry run only report.

        The record comes first, because a message that finds its picture done is thrown away. When the run
        ends between the two, or the message cannot be sent, the picture is pending and nobody works on it:
        `image-worker reconcile` finds it and sends the message.

        Returns:
            For each, whether it is asked for now.

        Raises:
            TransientError: The table refuses a whole batch: there is no sense in going on.
        """
        asked: list[bool] = []
        for start in range(0, len(wishes), MAX_BATCH_ENTRIES):
            asked += await self._ask_together(wishes[start : start + MAX_BATCH_ENTRIES])
        return asked

    async def _ask_together(self, wishes: Sequence[RequeueRequest]) -> list[bool]:
        if self.report.is_dry:
            for wish in wishes:
                self._did(wish)
            return [True] * len(wishes)
        await self.pace.wait_for(len(wishes))
        moved = await asyncio.gather(*(_moved(wish) for wish in wishes))
        errors = [answer for answer in moved if isinstance(answer, TransientError)]
        if errors and len(errors) == len(wishes):
            raise errors[0]
        going = [wish for wish, answer in zip(wishes, moved, strict=True) if answer is True]
        sent = dict(zip(map(id, going), await self.requests.send([wish.body for wish in going]), strict=True))
        for wish, answer in zip(wishes, moved, strict=True):
            if isinstance(answer, TransientError):
                self.report.could_not(wish.image_id, str(answer))
            elif not answer:
                self.report.left("changed meanwhile")
            elif error := sent[id(wish)]:
                self.report.could_not(wish.image_id, _told(error, is_pending=wish.move is not None))
            else:
                self._did(wish)
        return [id(wish) in sent and sent[id(wish)] is None for wish in wishes]

    def _did(self, wish: RequeueRequest) -> None:
        self.report.did(wish.action, image_id=wish.image_id, user_id=wish.user_id)


@asynccontextmanager
async def open_repair_context(
    settings: Settings, *, by: str, rate: float, report: Report
) -> AsyncIterator[RepairContext]:
    """
    Open what a repair tool works with.

    Args:
        settings: Ours.
        by: The command, for the audit trail and the messages.
        rate: Pictures a second.
        report: Where to tell what is done.

    Raises:
        ConfigurationError: There is no such queue, or no region.
    """
    async with open_clients(settings) as clients:
        yield RepairContext(
            settings=settings,
            clients=clients,
            queries=queries_of(clients.dynamodb, settings),
            reopening=RepairWrites(
                clients.dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table, by=by
            ),
            requests=JobSender(
                clients.sqs,
                url=await queue_url(clients.sqs, settings.queue_name),
                retry=RETRY_POLICIES.queue,
            ),
            retries=RETRY_POLICIES,
            pace=RateLimiter(rate),
            report=report,
            recipes=Recipes(
                CachedProfiles(
                    ProfileStore(clients.dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table),
                    cache_s=settings.profile_cache_s,
                ),
                recipe_builder_from(settings),
                Logos(clients.s3, retry=RETRY_POLICIES.bucket, cache_s=settings.watermark_logo_cache_s).fill,
            ),
            by=by,
        )


def job_of(image: Image) -> Job:
    """Return the job that asks for the very upload that the record knows, so that a claim accepts it."""
    return Job(
        bucket=image.bucket,
        key=image.key,
        user_id=image.user_id,
        image_id=image.image_id,
        version=image.version,
        size_bytes=image.file_size,
    )


async def _moved(wish: RequeueRequest) -> bool | TransientError:
    try:
        return wish.move is None or await wish.move() is not None
    except TransientError as error:
        return error


def _told(error: Exception, *, is_pending: bool) -> str:
    return f"{error}; it is pending: 'image-worker reconcile' sends it" if is_pending else str(error)
