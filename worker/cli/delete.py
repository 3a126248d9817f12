"""`image-worker images delete` and `users forget`: delete an image, or everything about a user."""

from typing import Annotated

import typer

from worker.bootstrap import build_deletions, build_queries, open_clients
from worker.cli.support import output
from worker.cli.support.confirmation import YesOption, confirm
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import IdArgument, UserOption, find_image, report_missing
from worker.cli.support.report import DryRunOption, Report
from worker.cli.support.requester import requester
from worker.domain.clock import utc_now
from worker.repair.deletion import delete_image, forget_user


@asynchronous
async def delete(
    image_id: IdArgument,
    *,
    user: UserOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Delete an image: its upload, its results, its record and its share of the statistics.

    An image that is being processed is deleted too: its worker stops. Repeat the command to continue a
    deletion that was interrupted.

    Exit status 1: the image does not exist, or could not be deleted.

    Example: image-worker images delete img_1234567890abcdef --yes
    """
    settings = start()
    report = Report("deleting", dry_run=dry_run, json=json)
    async with open_clients(settings) as clients:
        image = await find_image(build_queries(clients.dynamodb, settings), image_id, user, consistent=True)
        if image is None:
            return report_missing(image_id, settings)
        if not (yes or dry_run):
            confirm(
                f"This deletes the image {image_id} of {image.user_id} with its upload, its "
                f"{len(image.renditions)} results and its record.",
                expected=image_id,
            )
        deletions = build_deletions(
            settings, clients, requester=requester("images delete"), reporter=report, dry_run=dry_run
        )
        await delete_image(deletions, image)
    return report.finish()


@asynchronous
async def forget(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user id.")],
    *,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Delete all images of a user, and the user's profile with its preferences and statistics.

    Objects of the user that no record names are deleted too. Repeat the command to continue after an
    interruption, and if the user has uploaded images in the meantime. Copies remain in backups and in object
    versions: see docs/deletion.md.

    Exit status 1: something could not be deleted.

    Example: image-worker users forget alice --dry-run
    """
    settings = start()
    began = utc_now()
    report = Report("forgetting", dry_run=dry_run, json=json)
    async with open_clients(settings) as clients:
        if not (yes or dry_run):
            counting = Report("counting", dry_run=True, json=True)
            counted = build_deletions(
                settings, clients, requester=requester("users forget"), reporter=counting, dry_run=True
            )
            with counting:
                await forget_user(counted, user, before=began)
            confirm(
                f"This deletes everything that is stored about {user}: {counting.summary() or 'no image'}.",
                expected=user,
            )
        deletions = build_deletions(
            settings, clients, requester=requester("users forget"), reporter=report, dry_run=dry_run
        )
        with report:
            await forget_user(deletions, user, before=began)
    return report.finish()
