"""`image-worker images retry` and `images reprocess`: process images again."""

from typing import Annotated

import typer

from worker.bootstrap import open_clients, open_repairs
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import find_image, parse_time, report_missing
from worker.cli.support.report import DryRunOption, RateOption, Report
from worker.cli.support.requester import requester
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.domain.status import TERMINAL_STATUSES, ImageStatus
from worker.repair.context import DEFAULT_RATE_PER_S
from worker.repair.failures import retry_failed
from worker.repair.reprocess import reprocess_all, reprocess_images, retry_image


@asynchronous
async def retry(
    image_id: Annotated[str | None, typer.Argument(metavar="ID", help="Retry this image.")] = None,
    *,
    code: Annotated[
        str | None, typer.Option("--code", help="Retry all images that failed with this error code.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="The owner of the image; with --code, retry only images of this user."),
    ] = None,
    rate: RateOption = DEFAULT_RATE_PER_S,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Retry an image that has failed, or all images that have failed with an error code.

    Images that fail while the command runs are not retried. `image-worker images failures` lists the codes.

    Exit status 1: the image does not exist, or some images could not be requeued.

    Example: image-worker images retry --code decode_timeout --dry-run
    """
    if (image_id is None) == (code is None):
        message = "an ID and --code exclude each other, and one is required: add an ID or --code CODE"
        raise ConfigurationError(message)
    settings = start()
    report = Report("retrying", dry_run=dry_run, json=json)
    async with (
        open_clients(settings) as clients,
        open_repairs(
            settings,
            clients,
            requester=requester("images retry"),
            reporter=report,
            rate_per_s=rate,
            dry_run=dry_run,
        ) as repairs,
    ):
        if image_id is not None:
            image = await find_image(repairs.queries, image_id, user, consistent=True)
            if image is None:
                return report_missing(image_id, settings)
            await retry_image(repairs, image)
        else:
            with report:
                await retry_failed(repairs, code=code, user_id=user, before=utc_now())
    return report.finish()


@asynchronous
async def reprocess(
    image_id: Annotated[str | None, typer.Argument(metavar="ID", help="Reprocess this image.")] = None,
    *,
    user: Annotated[str | None, typer.Option("--user", help="Reprocess the images of this user.")] = None,
    status: Annotated[
        ImageStatus | None,
        typer.Option("--status", help="Status of the images: completed (the default) or failed."),
    ] = None,
    recipe_changed: Annotated[
        bool,
        typer.Option(
            "--recipe-changed", help="Only images whose recipe has changed since they were processed."
        ),
    ] = False,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only images that ended before this time, as in 2024-01-31T12:00:00Z; default: now.",
        ),
    ] = None,
    rate: RateOption = DEFAULT_RATE_PER_S,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Reprocess completed or failed images; their results stay available until they are replaced.

    To resume an interrupted run, repeat it with --recipe-changed, which skips images that are up to date, or
    with --before and the time at which the first run began.

    Exit status 1: some images could not be requeued.

    Example: image-worker images reprocess --user alice --recipe-changed
    """
    if image_id is None and user is None and status is None and not recipe_changed:
        message = "no images selected: add an ID, --user, --status or --recipe-changed"
        raise ConfigurationError(message)
    if image_id is not None and status is not None:
        message = "an ID selects one image, whatever its status: remove --status"
        raise ConfigurationError(message)
    if status is not None and status not in TERMINAL_STATUSES:
        message = f"--status is {status}, but only completed and failed images can be reprocessed"
        raise ConfigurationError(message)
    ended_before = parse_time("--before", before) if before else None
    settings = start()
    report = Report("reprocessing", dry_run=dry_run, json=json)
    async with (
        open_clients(settings) as clients,
        open_repairs(
            settings,
            clients,
            requester=requester("images reprocess"),
            reporter=report,
            rate_per_s=rate,
            dry_run=dry_run,
        ) as repairs,
    ):
        if image_id is not None:
            image = await find_image(repairs.queries, image_id, user, consistent=True)
            if image is None:
                return report_missing(image_id, settings)
            await reprocess_images(repairs, [image], before=ended_before, recipe_changed=recipe_changed)
        else:
            with report:
                await reprocess_all(
                    repairs,
                    user_id=user,
                    status=status or ImageStatus.COMPLETED,
                    before=ended_before or utc_now(),
                    recipe_changed=recipe_changed,
                )
    return report.finish()
