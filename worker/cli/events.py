"""`image-worker events`: follow, forward and replay the events of images, and act on expired records."""

import json as json_module
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
from rich.markup import escape

from worker.bootstrap import (
    RETRY_POLICIES,
    build_expiry,
    build_queries,
    build_table_stream,
    open_client,
    queue_url,
    table_of,
)
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import parse_time
from worker.domain import clock
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.domain.status import TERMINAL_STATUSES, ImageStatus
from worker.dynamodb.stream import Start, TableStream
from worker.events import replay as replays
from worker.events.follow import Checkpoint, Event, follow
from worker.events.forward import EventDeadLetterQueue
from worker.events.forward import forward as forward_events
from worker.events.replay import Send, service_of
from worker.events.webhooks import Webhook, signing_key
from worker.settings import Settings

app = typer.Typer(add_completion=False, no_args_is_help=True)

CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        help="Keep the position in the stream in this file, and continue from it.",
    ),
]


@app.callback()
def events() -> None:
    """Follow, forward and replay the events of images, and delete objects of expired records."""


@app.command()
@asynchronous
async def tail(
    *,
    from_: Annotated[
        Start, typer.Option("--from", help="Where to begin: oldest (up to 24 hours ago) or latest.")
    ] = Start.LATEST,
    checkpoint: CheckpointOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """
    Print events as they happen, from the table's stream, until Ctrl-C.

    Needs WORKER_EVENTS=true, with which `image-worker provision` turns the stream on.

    Example: image-worker events tail --from oldest --json
    """
    settings = start()
    async with _stream(settings) as stream:
        async for batch in follow(stream, start=from_, checkpoint=Checkpoint(checkpoint)):
            for event in batch:
                _print(event, json=json)


@app.command()
@asynchronous
async def forward(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to send events by POST.")],
    *,
    from_: Annotated[
        Start,
        typer.Option("--from", help="Where to begin without a checkpoint: oldest (24 hours ago) or latest."),
    ] = Start.OLDEST,
    checkpoint: CheckpointOption = None,
    attempts: Annotated[int, typer.Option(min=1, max=50, help="Attempts for each event.")] = 8,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.1, max=300, help="Seconds that each attempt may take.")
    ] = 15.0,
) -> None:
    """
    Send events to a URL as they happen, signed as Standard Webhooks describes, until Ctrl-C.

    The secret is in WORKER_WEBHOOK_SECRET. An event that the URL does not accept in any attempt goes to the
    queue WORKER_EVENTS_DEAD_LETTER_QUEUE_NAME with the reason. An event may arrive more than once: its `id`
    stays the same.

    Example: image-worker events forward http://localhost:8000/hooks --checkpoint events.json
    """
    if not url.startswith(("http://", "https://")):
        message = f"{url!r} is not a URL: write it as https://example.com/hooks"
        raise ConfigurationError(message)
    settings = start()
    key = signing_key(settings.webhook_secret.get_secret_value() if settings.webhook_secret else "")
    async with (
        _stream(settings) as stream,
        open_client("sqs", settings) as sqs,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
    ):
        dead_letters = EventDeadLetterQueue(
            sqs,
            url=await queue_url(sqs, settings.events_dead_letter_queue_name),
            retry=RETRY_POLICIES.queue,
        )
        batches = follow(stream, start=from_, checkpoint=Checkpoint(checkpoint))
        output.print_note(f"forwarding events to {url}; press Ctrl-C to stop")
        await forward_events(batches, Webhook(session, url, key=key, attempts=attempts), dead_letters)


@app.command("delete-expired")
@asynchronous
async def delete_expired(
    *,
    from_: Annotated[
        Start,
        typer.Option("--from", help="Where to begin without a checkpoint: oldest (24 hours ago) or latest."),
    ] = Start.OLDEST,
    checkpoint: CheckpointOption = None,
) -> None:
    """
    Delete the upload and the results of each image whose record expires, until Ctrl-C.

    Needs WORKER_DELETE_EXPIRED_OBJECTS=true, with which `image-worker provision` turns the stream on. Run one
    such process: see docs/deletion.md.

    Example: image-worker events delete-expired --checkpoint expired.json
    """
    settings = start()
    if not settings.delete_expired_objects:
        message = (
            "WORKER_DELETE_EXPIRED_OBJECTS is false, so that the objects of expired images are kept: "
            "set it to true to delete them"
        )
        raise ConfigurationError(message)
    async with (
        _stream(settings) as stream,
        open_client("dynamodb", settings) as dynamodb,
        open_client("s3", settings) as s3,
    ):
        expiry = build_expiry(dynamodb, s3, settings)
        output.print_note("deleting the objects of expired images; press Ctrl-C to stop")
        async for images in expiry.follow(stream, start=from_, checkpoint=Checkpoint(checkpoint)):
            for image in images:
                output.console().print(f"{escape(image.image_id)}  {escape(image.user_id)}", soft_wrap=True)


@app.command()
@asynchronous
async def replay(
    *,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Images that ended at or after this time, as in 2024-01-31T12:00:00Z."
        ),
    ],
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Images that ended before this time; default: now.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only images of this user.")] = None,
    status: Annotated[
        ImageStatus | None,
        typer.Option("--status", help="Only images with this status: completed or failed."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the events, and publish nothing.")
    ] = False,
    json: output.JsonOption = False,
) -> None:
    """
    Publish the events of completed and failed images again, from their present records, with the same ids.

    For consumers that were down longer than the stream keeps changes. Publishes on WORKER_EVENTS_TARGET.
    No index is sorted by the end of images: without --user, this reads the summaries of all images with these
    statuses. Deletions cannot be replayed.

    Example: image-worker events replay --since 2024-01-31T12:00:00Z --user alice --dry-run
    """
    if status is not None and status not in TERMINAL_STATUSES:
        message = f"--status is {status}, but only completed and failed images have events"
        raise ConfigurationError(message)
    first, last = parse_time("--since", since), parse_time("--until", until) if until else utc_now()
    if first >= last:
        message = f"--since {clock.to_text(first)} is not before --until {clock.to_text(last)}: exchange them"
        raise ConfigurationError(message)
    settings, count = start(), 0
    async with open_client("dynamodb", settings) as dynamodb, _target(settings) as send:
        pages = replays.ended_images(
            build_queries(dynamodb, settings),
            since=first,
            until=last,
            user_id=user,
            statuses=[status] if status else sorted(TERMINAL_STATUSES),
        )
        async for images in pages:
            found = [replays.event_of(image, table_of(settings)) for image in images]
            if not dry_run:
                await replays.publish(found, send)
            count += len(found)
            if not json:
                for event in found:
                    _print(event, json=False)
    if json:
        output.print_json({"dryRun": dry_run, "target": settings.events_target, "events": count})
    else:
        done = "would be published" if dry_run else "published"
        output.console().print(f"{count:,} events {done} on {escape(settings.events_target)}", soft_wrap=True)


@asynccontextmanager
async def _stream(settings: Settings) -> AsyncIterator[TableStream]:
    async with (
        open_client("dynamodb", settings) as dynamodb,
        open_client("dynamodbstreams", settings) as streams,
    ):
        yield build_table_stream(dynamodb, streams, settings)


@asynccontextmanager
async def _target(settings: Settings) -> AsyncIterator[Send]:
    """Open a client for the target of events, and yield what sends them there."""
    target, retry = settings.events_target, RETRY_POLICIES.queue
    service = service_of(target)
    async with open_client(service, settings) as client:
        match service:
            case "events":
                yield replays.to_bus(client, bus=target, retry=retry)
            case "sqs":
                url = await queue_url(client, target.rpartition(":")[2])
                yield replays.to_queue(client, url=url, retry=retry)
            case _:
                yield replays.to_topic(client, arn=target, retry=retry)


def _print(event: Event, *, json: bool) -> None:
    if json:
        typer.echo(json_module.dumps(event.envelope))
        return
    detail = event.envelope["detail"]
    assert isinstance(detail, dict)  # noqa: S101 - as `envelope_of` makes it
    status = str(detail["status"])
    parts = [str(event.envelope["time"]), output.status_text(status), escape(str(detail["imageId"]))]
    parts += [escape(str(detail["userId"])), f"attempt {detail['attempt']}"]
    parts.append(escape(str(detail["code"] if status == ImageStatus.FAILED else detail["processedKey"])))
    output.console().print("  ".join(parts), soft_wrap=True)
