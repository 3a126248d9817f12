"""`image-worker enqueue`: enqueue uploads that are not in the table."""

from datetime import timedelta
from typing import Annotated, Final

import structlog
import typer

from worker.bootstrap import open_clients, open_repairs
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.report import DryRunOption, RateOption, Report
from worker.cli.support.requester import requester
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.repair.context import DEFAULT_RATE_PER_S
from worker.repair.enqueue import Window, enqueue_all, enqueue_inventory
from worker.repair.inventory import read_manifest
from worker.settings import Settings

app = typer.Typer(add_completion=False)

_SCHEME: Final = "s3://"

log = structlog.get_logger(__name__)


@app.command()
@asynchronous
async def enqueue(
    location: Annotated[
        str | None,
        typer.Argument(
            metavar="s3://BUCKET/PREFIX",
            help="Where to look for uploads; optional with --manifest or --dry-run.",
        ),
    ] = None,
    *,
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Read the objects from an S3 inventory instead of the bucket: path or S3 URL of its "
            "manifest.json.",
        ),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Skip uploads of the last SECONDS, whose messages may still be in the queue.",
        ),
    ] = None,
    newer_than: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Skip uploads that are older than SECONDS.")
    ] = None,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="With --dry-run: exit with status 1 if any upload would be enqueued."
        ),
    ] = False,
    rate: RateOption = DEFAULT_RATE_PER_S,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Enqueue uploads that are missing in the table, or recorded as an older version.

    Use it for images that were uploaded before the worker was set up, or while S3 notifications were off. A
    worker records an image when it receives the message. Running this command again before that sends a
    second message, which is harmless.

    With --manifest, the objects are read from an S3 inventory in CSV or Parquet, for buckets that take long
    to list. An object that was deleted since then fails as source_missing.

    With --dry-run, the log has the number of uploads that no message announced (uploads.checked). Run it on a
    schedule with --older-than and --newer-than to detect lost notifications.

    Exit status 1: some images could not be enqueued, or --exit-code found any.

    Example: image-worker enqueue s3://image-uploads/uploads/alice/ --dry-run
    """
    settings = start()
    if exit_code and not dry_run:
        message = "--exit-code is for --dry-run, which enqueues nothing: add --dry-run"
        raise ConfigurationError(message)
    if location is None and manifest is None and not dry_run:
        message = "no uploads selected: add s3://BUCKET/PREFIX, or the --manifest of an S3 inventory"
        raise ConfigurationError(message)
    prefix = settings.upload_keys.prefix if location is None else prefix_of(location, settings)
    now = utc_now()
    window = Window(
        after=None if newer_than is None else now - timedelta(seconds=newer_than),
        before=None if older_than is None else now - timedelta(seconds=older_than),
    )
    with Report("enqueueing", dry_run=dry_run, json=json) as report:
        async with (
            open_clients(settings) as clients,
            open_repairs(
                settings,
                clients,
                requester=requester("enqueue"),
                reporter=report,
                rate_per_s=rate,
                dry_run=dry_run,
            ) as repairs,
        ):
            if manifest is None:
                await enqueue_all(repairs, prefix=prefix, window=window)
            else:
                inventory = await read_manifest(manifest, s3=clients.s3, retry=repairs.s3_retry)
                if inventory.bucket != settings.bucket:
                    message = (
                        f"{manifest} lists the bucket {inventory.bucket!r}, but this worker serves "
                        f"{settings.bucket!r}: set WORKER_BUCKET"
                    )
                    raise ConfigurationError(message)
                await enqueue_inventory(repairs, inventory, prefix=prefix, window=window)
    status = report.finish()
    if dry_run:
        found = report.counts["enqueued"]
        log.info(
            "uploads.checked",
            unannounced=found,
            objects=report.counts.total(),
            failed=report.counts["failed"],
        )
        return max(status, int(exit_code and found > 0))
    return status


def prefix_of(location: str, settings: Settings) -> str:
    """
    Return the key prefix of an S3 location.

    Raises:
        ConfigurationError: The location is not inside the uploads that the worker serves.
    """
    bucket, _, prefix = location.removeprefix(_SCHEME).partition("/")
    served = f"{_SCHEME}{settings.bucket}/{settings.upload_keys.prefix}"
    if not location.startswith(_SCHEME) or not bucket:
        message = f"{location!r} is not an S3 location: write it as {served}"
        raise ConfigurationError(message)
    if bucket != settings.bucket:
        message = f"this worker serves the bucket {settings.bucket!r}, not {bucket!r}: set WORKER_BUCKET"
        raise ConfigurationError(message)
    if not prefix.startswith(settings.upload_keys.prefix):
        message = f"{location} is outside the uploads: start with {served}, or set WORKER_UPLOAD_KEY"
        raise ConfigurationError(message)
    return prefix
