"""`image-worker queue`: how much waits, what could not be processed and why, and sending that back."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from worker.aws.retry import call_with_retry
from worker.bootstrap import RETRY_POLICIES, open_client, queue_url
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import queries_of
from worker.cli.support.report import RATE, DryRunOption, RateOption, Report
from worker.domain.clock import utc_now
from worker.domain.errors import TransientError
from worker.repair.redrive import LOOK_S, REDRIVE_S, Told, open_letters, records_of, redrive_all, tell
from worker.repair.requests import open_repair_context

if TYPE_CHECKING:
    from types_aiobotocore_cloudwatch import CloudWatchClient
    from types_aiobotocore_sqs import SQSClient

    from worker.sqs.dead_letters import DeadLetter

app = typer.Typer(add_completion=False, no_args_is_help=True)

_AGE_WITHIN: Final = timedelta(minutes=15)
_DEPTHS: Final = {
    "waiting": "ApproximateNumberOfMessages",
    "inFlight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


@app.callback()
def queue() -> None:
    """See how much waits, what could not be processed and why, and send it back."""


@app.command()
@asynchronous
async def stats(*, json: output.JsonOption = False) -> None:
    """
    Show how many messages wait, are in hand, and are dead letters; and the age of the oldest.

    The age is CloudWatch's, of the last few minutes; it is left out where nothing is known of it.

    Example: image-worker queue stats --json
    """
    settings = start()
    async with open_client("sqs", settings) as sqs, open_client("cloudwatch", settings) as cloudwatch:
        depths, dead, age_s = await asyncio.gather(
            depths_of(sqs, settings.queue_name),
            depths_of(sqs, settings.dead_letter_queue_name),
            oldest_age_s(cloudwatch, settings.queue_name),
        )
    dead_letters = sum(dead.values())
    if json:
        output.print_json({**depths, "deadLetters": dead_letters, "oldestAgeSeconds": age_s})
        return
    rows = [
        ["waiting", f"{depths['waiting']:,}"],
        ["in flight", f"{depths['inFlight']:,}"],
        ["delayed", f"{depths['delayed']:,}"],
        *([["age of the oldest", f"{age_s:,} s"]] if age_s is not None else []),
        ["dead letters", f"{dead_letters:,}"],
    ]
    output.console().print(output.table([escape(settings.queue_name), ""], rows, numeric=[""]))


@app.command()
@asynchronous
async def dead(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Letters at the most.")] = 100,
    json: output.JsonOption = False,
) -> None:
    """
    List the dead letters with their reasons; they stay where they are.

    Example: image-worker queue dead --limit 20
    """
    settings = start()
    async with open_client("sqs", settings) as sqs, open_client("dynamodb", settings) as dynamodb:
        letters = await open_letters(sqs, settings, visibility_timeout_s=LOOK_S)
        read: list[DeadLetter] = []
        try:
            async for some in letters.read():
                read += some
                if len(read) >= limit:
                    break
        finally:
            await letters.release(read)
        records = await records_of(read[:limit], queries_of(dynamodb, settings))
    found = [tell(letter, records) for letter in read[:limit]]
    if json:
        output.print_json({"deadLetters": [_document(told) for told in found]})
    elif not found:
        output.console().print("there are no dead letters")
    else:
        rows = [
            [
                output.moment(one.letter.at),
                escape(one.code),
                escape(", ".join(job.image_id for job in one.letter.jobs)),
                escape(", ".join(job.key for job in one.letter.jobs)),
                escape(one.reason),
            ]
            for one in found
        ]
        columns = ["when", "code", "image", "key", "reason"]
        output.console().print(output.table(columns, rows, unbroken=["when", "code"]))


@app.command()
@asynchronous
async def redrive(
    *,
    image: Annotated[str | None, typer.Option("--image", metavar="ID", help="Only of this image.")] = None,
    code: Annotated[str | None, typer.Option("--code", help="Only with this code.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Letters at the most.")] = None,
    rate: RateOption = RATE,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Send dead letters back to the queue; a picture that has failed is pending again.

    Exit status 1: some could not be sent back, such as those that nobody can read.

    Example: image-worker queue redrive --code unavailable
    """
    settings = start()
    with Report("redriving", is_dry=dry_run, json=json) as report:
        async with open_repair_context(settings, by="queue redrive", rate=rate, report=report) as asking:
            letters = await open_letters(asking.clients.sqs, settings, visibility_timeout_s=REDRIVE_S)
            await redrive_all(asking, letters, image_id=image, code=code, limit=limit)
    return report.finish()


async def depths_of(sqs: "SQSClient", name: str) -> dict[str, int]:
    """Return how many messages of a queue wait, are in hand and are delayed, as far as SQS knows."""
    url = await queue_url(sqs, name)
    names = list(_DEPTHS.values())
    answer = await call_with_retry(
        lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names),  # type: ignore[arg-type]
        RETRY_POLICIES.queue,
        what="ask the queue for its depth",
    )
    attributes: dict[str, str] = dict(answer["Attributes"])  # type: ignore[arg-type]
    return {ours: int(attributes.get(theirs, 0)) for ours, theirs in _DEPTHS.items()}


async def oldest_age_s(cloudwatch: "CloudWatchClient", name: str) -> int | None:
    """Return the age of the oldest message, in seconds; None where CloudWatch does not know or tell it."""
    now = utc_now()
    try:
        answer = await call_with_retry(
            lambda: cloudwatch.get_metric_data(
                MetricDataQueries=[
                    {
                        "Id": "age",
                        "MetricStat": {
                            "Metric": {
                                "Namespace": "AWS/SQS",
                                "MetricName": "ApproximateAgeOfOldestMessage",
                                "Dimensions": [{"Name": "QueueName", "Value": name}],
                            },
                            "Period": 60,
                            "Stat": "Maximum",
                        },
                    }
                ],
                StartTime=now - _AGE_WITHIN,
                EndTime=now,
                ScanBy="TimestampDescending",
            ),
            RETRY_POLICIES.queue,
            what="ask for the age of the oldest message",
        )
    except TransientError:
        return None
    values = [value for result in answer["MetricDataResults"] for value in result["Values"]]
    return round(values[0]) if values else None


def _document(told: Told) -> dict[str, object]:
    letter = told.letter
    return {
        "messageId": letter.message_id,
        "at": letter.at,
        "code": told.code,
        "reason": told.reason,
        "images": [{"imageId": job.image_id, "userId": job.user_id, "key": job.key} for job in letter.jobs],
        "body": letter.body,
    }
