"""`image-worker reconcile`: find and requeue stuck images."""

from datetime import timedelta
from typing import Annotated

import typer

from worker.bootstrap import open_clients, open_repairs
from worker.cli.support import output
from worker.cli.support.confirmation import YesOption, confirm
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.report import DryRunOption, RateOption, Report
from worker.cli.support.requester import requester
from worker.domain.clock import utc_now
from worker.repair.context import DEFAULT_RATE_PER_S
from worker.repair.orphans import reconcile_orphans
from worker.repair.reconcile import PENDING_TIMEOUTS, reconcile_all
from worker.repair.result_state import reconcile_results

app = typer.Typer(add_completion=False)


@app.command()
@asynchronous
async def reconcile(
    *,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Time after which a pending image is stuck; "
            f"default: {PENDING_TIMEOUTS} visibility timeouts.",
        ),
    ] = None,
    objects: Annotated[
        bool,
        typer.Option(
            "--objects",
            help="Also compare the results of all completed images with the bucket: one S3 request for each "
            "result. Images with a missing or another result are reprocessed.",
        ),
    ] = False,
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans",
            help="Also list the results that no record names: one S3 request for each result in the bucket.",
        ),
    ] = False,
    remove_orphans: Annotated[
        bool, typer.Option("--remove-orphans", help="Delete these results, after a confirmation.")
    ] = False,
    yes: YesOption = False,
    rate: RateOption = DEFAULT_RATE_PER_S,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Find stuck images and requeue them.

    An image is stuck when it is processing under an expired lease, or has been pending for too long. If its
    upload no longer exists, it fails with source_missing; if it killed a worker that processed it alone, and
    no worker has processed it since, with worker_killed. Images under a valid lease are not changed.

    After a table was restored, use --objects: it finds results that are missing, or differ from the record.

    Results become orphans when their record is deleted or expires, or when a worker dies before it has
    recorded them. Only those of this table are deleted: results of another table, or of this one before it
    was restored, are listed.

    Exit status 1: some images could not be checked or requeued.

    Example: image-worker reconcile --objects --dry-run
    """
    settings = start()
    if remove_orphans and not (yes or dry_run):
        confirm(
            f"This deletes the results in s3://{settings.results_bucket}/{settings.processed_prefix} that no "
            f"record of the table {settings.table_name} names: --orphans lists them.",
            expected=settings.table_name,
        )
    pending_for_s = PENDING_TIMEOUTS * settings.visibility_timeout_s if older_than is None else older_than
    with Report("reconciling", dry_run=dry_run, json=json) as report:
        async with (
            open_clients(settings) as clients,
            open_repairs(
                settings,
                clients,
                requester=requester("reconcile"),
                reporter=report,
                rate_per_s=rate,
                dry_run=dry_run,
            ) as repairs,
        ):
            await reconcile_all(repairs, now=utc_now(), pending_for=timedelta(seconds=pending_for_s))
            if objects:
                await reconcile_results(repairs)
            if orphans or remove_orphans:
                await reconcile_orphans(repairs, report, now=utc_now(), removes=remove_orphans)
    return report.finish()
