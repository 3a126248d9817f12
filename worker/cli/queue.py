"""`image-worker queue`: queue depth, dead letters and redrive."""

import asyncio
from typing import Annotated

import typer
from rich.markup import escape

from worker.bootstrap import (
    RETRY_POLICIES,
    build_dead_letters,
    build_queries,
    open_client,
    open_clients,
    open_repairs,
    queue_url,
)
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.report import DryRunOption, RateOption, Report
from worker.cli.support.requester import requester
from worker.repair.context import DEFAULT_RATE_PER_S
from worker.repair.redrive import (
    LIST_VISIBILITY_S,
    REDRIVE_VISIBILITY_S,
    Diagnosis,
    diagnose,
    images_of,
    redrive_all,
)
from worker.sqs.queue_stats import read_depth, read_oldest_age_s

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def queue() -> None:
    """Show queue depth, list and redrive dead letters."""


@app.command()
@asynchronous
async def stats(*, json: output.JsonOption = False) -> None:
    """
    Show how many messages wait, are in flight and are dead letters, and the age of the oldest message.

    The age comes from CloudWatch, and is omitted if CloudWatch has no recent value.

    Example: image-worker queue stats --json
    """
    settings, retry = start(), RETRY_POLICIES.queue
    async with open_client("sqs", settings) as sqs, open_client("cloudwatch", settings) as cloudwatch:
        depth, dead_letters, age_s = await asyncio.gather(
            read_depth(sqs, await queue_url(sqs, settings.queue_name), retry),
            read_depth(sqs, await queue_url(sqs, settings.dead_letter_queue_name), retry),
            read_oldest_age_s(cloudwatch, settings.queue_name, retry),
        )
    if json:
        output.print_json(
            {
                "waiting": depth.visible,
                "inFlight": depth.in_flight,
                "delayed": depth.delayed,
                "deadLetters": dead_letters.total,
                "oldestAgeSeconds": age_s,
            }
        )
        return
    rows = [
        ["waiting", f"{depth.visible:,}"],
        ["in flight", f"{depth.in_flight:,}"],
        ["delayed", f"{depth.delayed:,}"],
        *([["age of the oldest", f"{age_s:,} s"]] if age_s is not None else []),
        ["dead letters", f"{dead_letters.total:,}"],
    ]
    output.console().print(output.table([escape(settings.queue_name), ""], rows, numeric=[""]))


@app.command()
@asynchronous
async def dead(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="List at most this many dead letters.")] = 100,
    json: output.JsonOption = False,
) -> None:
    """
    List dead letters with their error codes and reasons, without removing them.

    Example: image-worker queue dead --limit 20
    """
    settings = start()
    async with open_client("sqs", settings) as sqs, open_client("dynamodb", settings) as dynamodb:
        dead_letters = await build_dead_letters(sqs, settings, visibility_timeout_s=LIST_VISIBILITY_S)
        letters = []
        try:
            async for batch in dead_letters.read():
                letters += batch
                if len(letters) >= limit:
                    break
        finally:
            await dead_letters.release(letters)
        images = await images_of(letters[:limit], build_queries(dynamodb, settings))
    diagnoses = [diagnose(letter, images) for letter in letters[:limit]]
    if json:
        output.print_json({"deadLetters": [_document(diagnosis) for diagnosis in diagnoses]})
    elif not diagnoses:
        output.console().print("There are no dead letters.")
    else:
        rows = [
            [
                output.moment(diagnosis.letter.at),
                escape(diagnosis.code),
                escape(", ".join(job.image_id for job in diagnosis.letter.jobs)),
                escape(", ".join(job.key for job in diagnosis.letter.jobs)),
                escape(diagnosis.reason),
            ]
            for diagnosis in diagnoses
        ]
        columns = ["sent", "code", "image", "key", "reason"]
        output.console().print(output.table(columns, rows, unbroken=["sent", "code"]))


@app.command()
@asynchronous
async def redrive(
    *,
    image: Annotated[
        str | None, typer.Option("--image", metavar="ID", help="Only dead letters of this image.")
    ] = None,
    code: Annotated[
        str | None, typer.Option("--code", help="Only dead letters with this error code.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Redrive at most this many dead letters.")] = None,
    rate: RateOption = DEFAULT_RATE_PER_S,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Send dead letters back to the queue, and move their failed images to pending.

    Exit status 1: some dead letters could not be redriven, for example because they cannot be parsed.

    Example: image-worker queue redrive --code unavailable
    """
    settings = start()
    with Report("redriving", dry_run=dry_run, json=json) as report:
        async with (
            open_clients(settings) as clients,
            open_repairs(
                settings,
                clients,
                requester=requester("queue redrive"),
                reporter=report,
                rate_per_s=rate,
                dry_run=dry_run,
            ) as repairs,
        ):
            dead_letters = await build_dead_letters(
                clients.sqs, settings, visibility_timeout_s=REDRIVE_VISIBILITY_S
            )
            await redrive_all(repairs, dead_letters, image_id=image, code=code, limit=limit)
    return report.finish()


def _document(diagnosis: Diagnosis) -> dict[str, object]:
    letter = diagnosis.letter
    return {
        "messageId": letter.message_id,
        "at": letter.at,
        "code": diagnosis.code,
        "reason": diagnosis.reason,
        "images": [{"imageId": job.image_id, "userId": job.user_id, "key": job.key} for job in letter.jobs],
        "body": letter.body,
    }
