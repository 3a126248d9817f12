"""`image-worker reconcile`: pictures that nobody works on although they are not done."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Final
from uuid import uuid4

import typer

from worker.bootstrap import RETRY_POLICIES, table_of, worker_id
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.report import RATE, DryRunOption, RateOption, Report
from worker.domain import transition
from worker.domain.claim import Claimant, Claimed
from worker.domain.clock import utc_now
from worker.domain.errors import LeaseLostError, SourceMissingError, TransientError
from worker.domain.image import Failure, Image
from worker.domain.status import ImageStatus, StepName
from worker.dynamodb.ledger import DynamoLedger
from worker.repair.requests import RepairContext, RequeueRequest, open_repair_context
from worker.repair.source_state import Source, Standing, look_or_tell
from worker.sqs.batch import MAX_BATCH_ENTRIES

app = typer.Typer(add_completion=False)

PATIENCE: Final = 5
"""Visibility timeouts after which a pending picture is taken to be forgotten."""


@app.command()
@asynchronous
async def reconcile(
    *,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help=f"Pending for longer is taken to be forgotten; default: {PATIENCE} visibility timeouts.",
        ),
    ] = None,
    rate: RateOption = RATE,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Find pictures that nobody works on although they are not done, and ask for them again.

    These are processing under a lease that is over, or pending for long. One whose upload is gone from the
    bucket fails as source_missing. What a worker holds is never touched.

    Exit status 1: some could not be looked at or asked for.

    Example: image-worker reconcile --dry-run
    """
    settings = start()
    patience_s = PATIENCE * settings.visibility_timeout_s if older_than is None else older_than
    with Report("reconciling", is_dry=dry_run, json=json) as report:
        async with open_repair_context(settings, by="reconcile", rate=rate, report=report) as asking:
            await reconcile_all(asking, now=utc_now(), patience=timedelta(seconds=patience_s))
    return report.finish()


async def reconcile_all(asking: RepairContext, *, now: datetime, patience: timedelta) -> None:
    """
    Go through all that is pending or processing.

    What comes to be pending from `now` on is left alone: the message that it waits for may be on its way.
    """
    for status in (ImageStatus.PENDING, ImageStatus.PROCESSING):
        async for images in asking.images_in(status):
            stuck = [image for image in images if is_stuck(image, now=now, patience=patience)]
            for start_ in range(0, len(stuck), MAX_BATCH_ENTRIES):
                await _repair(asking, stuck[start_ : start_ + MAX_BATCH_ENTRIES])


def is_stuck(image: Image, *, now: datetime, patience: timedelta) -> bool:
    """Tell whether nobody works on an image that is not done, and nobody is likely to come for it."""
    if image.is_leased(now):
        return False
    if image.status is ImageStatus.PROCESSING:
        return True
    return image.status is ImageStatus.PENDING and image.updated_at < now - patience


async def _repair(asking: RepairContext, images: Sequence[Image]) -> None:
    wishes: list[RequeueRequest] = []
    gone: list[tuple[Image, Standing]] = []
    standings = await asyncio.gather(*(look_or_tell(asking, image) for image in images))
    for image, standing in zip(images, standings, strict=True):
        if standing is None:
            continue
        if standing.source is Source.GONE:
            gone.append((image, standing))
            continue
        is_pending = image.status is ImageStatus.PENDING
        # The record first: that is how the next run, or one beside this, knows that it is done.
        move = asking.reopening.requeue if is_pending else asking.reopening.expire_lease
        wishes.append(asking.wish(standing.job, action="requeued", move=partial(move, image)))
    await asking.ask(wishes)
    for image, standing in gone:
        await _fail(asking, image, standing)


async def _fail(asking: RepairContext, image: Image, standing: Standing) -> None:
    """Claim an image as a worker would, and fail it: there is nothing left to process."""
    if not asking.report.is_dry:
        settings, now = asking.settings, utc_now()
        claimant = Claimant(
            owner=f"{worker_id()}/{uuid4().hex[:8]}",
            lease_until=now + timedelta(seconds=settings.visibility_timeout_s),
            now=now,
            recipe=image.recipe or (await asking.recipes.for_user(image.user_id)).hash,
        )
        error = SourceMissingError(bucket=image.bucket, key=image.key)
        failure = Failure(
            code=error.code, message=str(error), step=StepName.VALIDATION, retryable=error.retryable
        )
        ledger = DynamoLedger(asking.clients.dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)
        try:
            answer = await ledger.claim(standing.job, claimant)
            if not isinstance(answer, Claimed):
                asking.report.left("changed meanwhile")
                return
            at = utc_now()
            step_failed = transition.step_failed(failure, step=StepName.VALIDATION, at=at)
            await ledger.settle(answer.image, [step_failed, transition.image_failed(failure, at=at)])
        except LeaseLostError:
            asking.report.left("changed meanwhile")
            return
        except TransientError as trouble:
            asking.report.could_not(image.image_id, str(trouble))
            return
        finally:
            await ledger.close()
    asking.report.did("failed", image_id=image.image_id, user_id=image.user_id)
