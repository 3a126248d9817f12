"""`image-worker images retry` and `reprocess`: asking for pictures that have ended."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, TypeAlias

import typer

from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import IdArgument, UserOption, missing, the_image
from worker.cli.support.report import RATE, DryRunOption, RateOption, Report
from worker.domain import clock
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES, ImageStatus
from worker.repair.requests import RepairContext, RequeueRequest, open_repair_context
from worker.repair.source_state import Source, look_or_tell
from worker.sqs.batch import MAX_BATCH_ENTRIES

Move: TypeAlias = Callable[[Image], Awaitable[Image | None]]


@asynchronous
async def retry(
    image_id: IdArgument,
    *,
    user: UserOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Ask again for a picture that has failed.

    Exit status 1: there is no such picture, or it could not be asked for.

    Example: image-worker images retry img_1234567890abcdef
    """
    settings = start()
    report = Report("retrying", is_dry=dry_run, json=json)
    async with open_repair_context(settings, by="images retry", rate=RATE, report=report) as asking:
        image = await the_image(asking.queries, image_id, user, consistent=True)
        if image is None:
            return missing(image_id, settings)
        await retry_one(asking, image)
    return report.finish()


@asynchronous
async def reprocess(
    image_id: Annotated[str | None, typer.Argument(metavar="ID", help="One picture.")] = None,
    *,
    user: Annotated[str | None, typer.Option("--user", help="The pictures of this user.")] = None,
    status: Annotated[
        ImageStatus | None, typer.Option("--status", help="completed, which is the default, or failed.")
    ] = None,
    recipe_changed: Annotated[
        bool,
        typer.Option(
            "--recipe-changed",
            help="Only those of which the worker would make something else now.",
        ),
    ] = False,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="MOMENT",
            help="Only those that ended before, as in 2024-01-31T12:00:00Z; the present moment if unset.",
        ),
    ] = None,
    rate: RateOption = RATE,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Ask again for pictures that are completed or have failed; their results stay until they are replaced.

    To go on with a run that was interrupted, repeat it: --recipe-changed leaves out what is done already;
    without it, give --before the moment at which the first run began.

    Exit status 1: some could not be asked for.

    Example: image-worker images reprocess --user alice --recipe-changed
    """
    if image_id is None and user is None and status is None and not recipe_changed:
        message = "say which pictures: an ID, --user, --status or --recipe-changed"
        raise ConfigurationError(message)
    if image_id is not None and status is not None:
        message = "an ID means one picture, whatever its status: leave out --status"
        raise ConfigurationError(message)
    if status is not None and status not in TERMINAL_STATUSES:
        message = f"a picture that is {status} has not ended yet: --status takes completed or failed"
        raise ConfigurationError(message)
    until = _moment(before) if before else None
    settings = start()
    report = Report("reprocessing", is_dry=dry_run, json=json)
    async with open_repair_context(settings, by="images reprocess", rate=rate, report=report) as asking:
        if image_id is not None:
            image = await the_image(asking.queries, image_id, user, consistent=True)
            if image is None:
                return missing(image_id, settings)
            await reprocess_some(asking, [image], before=until, recipe_changed=recipe_changed)
        else:
            with report:
                await reprocess_all(
                    asking,
                    user_id=user,
                    status=status or ImageStatus.COMPLETED,
                    before=until or utc_now(),
                    recipe_changed=recipe_changed,
                )
    return report.finish()


async def retry_one(asking: RepairContext, image: Image) -> None:
    """Ask again for an image if it has failed."""
    if image.status is not ImageStatus.FAILED:
        asking.report.left(f"already {image.status}")
        return
    await _ask(asking, [image], action="retried", move=asking.reopening.retry)


async def reprocess_all(
    asking: RepairContext, *, user_id: str | None, status: ImageStatus, before: datetime, recipe_changed: bool
) -> None:
    """Ask again for the images of a user, or of everybody, that are in a status."""
    async for images in asking.images_in(status, user_id=user_id):
        await reprocess_some(
            asking,
            [image for image in images if image.status is status],
            before=before,
            recipe_changed=recipe_changed,
        )


async def reprocess_some(
    asking: RepairContext, images: Sequence[Image], *, before: datetime | None, recipe_changed: bool
) -> None:
    """Ask again for those of the images that ended before, and have another recipe now if that is asked."""
    wanted: list[Image] = []
    for image in images:
        if image.status not in TERMINAL_STATUSES:
            asking.report.left(f"already {image.status}")
        elif before is not None and (image.processed_at or image.updated_at) > before:
            asking.report.left("ended later")
        elif recipe_changed and (await asking.recipes.for_user(image.user_id)).hash == image.recipe:
            asking.report.left("up to date")
        else:
            wanted.append(image)
    await _ask(asking, wanted, action="reprocessed", move=asking.reopening.reprocess)


async def _ask(asking: RepairContext, images: Sequence[Image], *, action: str, move: Move) -> None:
    """
    Ask for the images whose uploads are still there; the others keep what they have.

    Without the look, a result whose upload was tidied away would give place to a failure.
    """
    for start_ in range(0, len(images), MAX_BATCH_ENTRIES):
        some = images[start_ : start_ + MAX_BATCH_ENTRIES]
        standings = await asyncio.gather(*(look_or_tell(asking, image) for image in some))
        wishes: list[RequeueRequest] = []
        for image, standing in zip(some, standings, strict=True):
            if standing is None:
                continue
            if standing.source is Source.GONE:
                sentence = f"s3://{image.bucket}/{image.key} is gone; its record stays as it is"
                asking.report.could_not(image.image_id, sentence)
            else:
                wishes.append(asking.wish(standing.job, action=action, move=partial(move, image)))
        await asking.ask(wishes)


def _moment(text: str) -> datetime:
    try:
        return clock.from_text(text)
    except ValueError as error:
        message = f"--before is {text!r}: it has to be a moment, as in 2024-01-31T12:00:00Z"
        raise ConfigurationError(message) from error
