"""`image-worker table`: backups, restores, consumed capacity, throttling and errors."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from worker.bootstrap import (
    build_backups,
    build_table_drift,
    build_table_metrics,
    build_table_restore,
    open_client,
)
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.domain import clock
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.dynamodb.backups import NAME_PATTERN, Backup, Backups
from worker.dynamodb.restore import LATEST, RestoredTable, RestorePoint
from worker.presentation.units import human_bytes
from worker.settings import Settings
from worker.telemetry.table_metrics import LEVELS, PERIOD, Scope, Series, window

if TYPE_CHECKING:
    from worker.aws.repairs import Repair
    from worker.domain.step import Json

app = typer.Typer(add_completion=False, no_args_is_help=True)

MAX_HOURS: Final = 14 * 24
"""CloudWatch keeps five-minute periods for longer, but one bar would cover too many of them."""
MAX_BARS: Final = 48
BARS: Final = "▁▂▃▄▅▆▇█"
NO_VALUE: Final = "[dim]-[/]"


@app.callback()
def table() -> None:
    """Back up and restore the table, and show its capacity and throttling."""


def _checked_name(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(NAME_PATTERN, name):
        message = f"{name!r} is invalid: use 3 to 255 letters, digits, dots, hyphens and underscores"
        raise typer.BadParameter(message)
    return name


def _checked_table(name: str) -> str:
    if not re.fullmatch(NAME_PATTERN, name):
        message = f"{name!r} is invalid: use 3 to 255 letters, digits, dots, hyphens and underscores"
        raise typer.BadParameter(message)
    return name


@app.command()
@asynchronous
async def backup(
    *,
    name: Annotated[
        str | None,
        typer.Option(
            callback=_checked_name, help="Name of the backup; default: backup-YYYYmmdd-HHMMSS in UTC."
        ),
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """
    Create an on-demand backup of the table, which consumes none of its capacity.

    DynamoDB creates it in the background: `image-worker table backups` shows when it is AVAILABLE.

    Example: image-worker table backup
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        created = await build_backups(dynamodb, settings).create(name)
    if json:
        output.print_json(_backup_document(created))
    else:
        output.console().print(f"Backup [bold]{created.name}[/] of {settings.table_name}: {created.status}")


@app.command()
@asynchronous
async def backups(*, json: output.JsonOption = False) -> None:
    """
    List the backups of the table, newest first; --json includes the ARNs needed to restore them.

    Example: image-worker table backups --json
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        found = await build_backups(dynamodb, settings).all()
    if json:
        output.print_json({"backups": [_backup_document(each) for each in found]})
    elif not found:
        output.console().print(
            f"{settings.table_name} has no backups. Create one with `image-worker table backup`."
        )
    else:
        rows = [
            (each.name, each.status, each.kind, clock.to_text(each.created_at), _size(each.size_bytes))
            for each in found
        ]
        columns = ["name", "status", "type", "created", "size"]
        output.console().print(output.table(columns, rows, numeric=["size"], unbroken=["name", "created"]))


@app.command()
@asynchronous
async def restore(
    target: Annotated[
        str, typer.Argument(metavar="TABLE", callback=_checked_table, help="Name of the new table.")
    ],
    *,
    backup: Annotated[
        str | None, typer.Option("--backup", help="Name or ARN of the backup to restore.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Time to restore, as in 2024-01-31T12:00:00Z, or: latest."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check that it is possible, and print the steps.")
    ] = False,
    json: output.JsonOption = False,
) -> None:
    """
    Restore the table to a new one, with its settings, and print the steps that remain.

    The restored table gets what a restore leaves out: TTL, point-in-time recovery, deletion protection, the
    stream if the settings need one, and the tags. If it is interrupted, run it again: DynamoDB continues.

    Example: image-worker table restore image-processing-metadata-2 --at latest
    """
    if (backup is None) == (at is None):
        message = (
            "--backup and --at exclude each other, and one is required: add --backup NAME or --at latest"
        )
        raise ConfigurationError(message)
    settings = start()
    repairs: Sequence[Repair] = ()
    restored: RestoredTable | None = None
    tags, stream = 0, None
    async with open_client("dynamodb", settings) as dynamodb:
        point = await _restore_point(build_backups(dynamodb, settings), backup=backup, at=at)
        tool = build_table_restore(dynamodb, settings)
        await tool.check(target, point)
        if not dry_run:
            with output.working(f"restoring {settings.table_name} to {target}"):
                restored = await tool.restore(target, point)
                repairs = await build_table_drift(dynamodb, settings, table_name=target).find()
                for repair in repairs:
                    await repair.apply()
                tags = await tool.copy_tags(restored)
                stream = await tool.stream_arn(restored)
    done = [repair.description for repair in repairs] + [f"table {target}: add {tags} tags"] * bool(tags)
    steps = remaining_steps(settings, target, stream_arn=stream)
    if json:
        document: dict[str, object] = {
            "table": target,
            "arn": restored.arn if restored else None,
            "restored": restored is not None,
            "streamArn": stream,
            "changes": done,
            "steps": steps,
        }
        output.print_json(document)
        return
    console = output.console()
    if restored is None:
        console.print(f"{settings.table_name} can be restored to [bold]{target}[/]. Nothing was changed.")
    else:
        console.print(f"Table [bold]{target}[/] is restored from {settings.table_name}.")
    for line in done:
        console.print(f"  {escape(line)}")
    console.print("The steps that remain, with the workers stopped until step 4:")
    for number, step in enumerate(steps, start=1):
        console.print(f"  {number}. {escape(step)}", soft_wrap=True)


def remaining_steps(settings: Settings, target: str, *, stream_arn: str | None) -> list[str]:
    """
    Return the steps after the table was restored, one command or change each.

    Args:
        settings: Settings of the table that was restored.
        target: Name of the restored table.
        stream_arn: ARN of its stream; None if it has none, or is not restored yet.
    """
    steps = [
        f"set WORKER_TABLE_NAME={target} for the commands, the workers and the console",
        "image-worker provision (its policies then allow the restored table)",
        "image-worker check",
        "start the workers and the console",
        f"image-worker enqueue s3://{settings.bucket}/{settings.upload_keys.prefix}",
        "image-worker reconcile --older-than 0",
        "image-worker reconcile --objects --dry-run, then without --dry-run",
        f"deploy alarms.yaml, dashboard.yaml and (if in use) capacity.yaml with TableName={target}",
    ]
    if settings.events or settings.delete_expired_objects:
        steps.append(f"deploy events.yaml with TableStreamArn={stream_arn or 'the ARN of its stream'}")
    return steps


async def _restore_point(backups: Backups, *, backup: str | None, at: str | None) -> RestorePoint:
    if at is not None:
        if at == LATEST:
            return LATEST
        try:
            return clock.from_text(at)
        except ValueError as error:
            message = f"--at is {at!r}: write a time as in 2024-01-31T12:00:00Z, or latest"
            raise ConfigurationError(message) from error
    found = [each for each in await backups.all() if backup in {each.name, each.arn}]
    if len(found) != 1:
        count = "no backup" if not found else f"{len(found)} backups"
        message = (
            f"there is {count} {backup!r}: choose one by its ARN from `image-worker table backups --json`"
        )
        raise ConfigurationError(message)
    return found[0]


@app.command()
@asynchronous
async def metrics(
    *,
    hours: Annotated[int, typer.Option(min=1, max=MAX_HOURS, help="Hours to show, up to now.")] = 1,
    json: output.JsonOption = False,
) -> None:
    """
    Show capacity, throttling and errors of the table and its indexes over time.

    DynamoDB reports UserErrors only for the whole account and region. Each bar covers five minutes, or
    more when the time range is long.

    Example: image-worker table metrics --hours 24
    """
    settings = start()
    since, until = window(utc_now(), hours=hours)
    async with open_client("cloudwatch", settings) as cloudwatch:
        found = await build_table_metrics(cloudwatch, settings).read(since, until)
    if json:
        output.print_json(
            {
                "table": settings.table_name,
                "from": clock.to_text(since),
                "to": clock.to_text(until),
                "periodSeconds": int(PERIOD.total_seconds()),
                "metrics": [_series_document(each) for each in found],
            }
        )
        return
    console = output.console()
    if any(each.points for each in found):
        console.print(f"{settings.table_name}, {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC")
        rows = [_row(each, since, until) for each in found if each.points or each.scope is not Scope.INDEX]
        columns = ["metric", "scope", "sum", "average", "maximum", "over time"]
        numeric = ["sum", "average", "maximum"]
        console.print(output.table(columns, rows, numeric=numeric, unbroken=["metric", "scope", "over time"]))
    for remark in explain_metrics(found, table_name=settings.table_name, hours=hours):
        console.print(remark)


def explain_metrics(found: Sequence[Series], *, table_name: str, hours: int) -> list[str]:
    """Return sentences that explain the metrics, or why there are none."""
    if not any(each.points for each in found):
        span = "hour" if hours == 1 else f"{hours} hours"
        no_metrics = f"CloudWatch has no metrics of {table_name} for the last {span}."
        return [f"{no_metrics} They appear some minutes after the first request; the embedded AWS has none."]
    sentences = []
    if not any(each.points for each in found if each.metric in LEVELS):
        sentences.append(
            "No capacity is provisioned: the table is on demand, or CloudWatch has no metrics of it yet."
        )
    throttled: Counter[str] = Counter()
    for each in found:
        if each.metric.endswith("ThrottleEvents") and each.sum:
            throttled[each.index or table_name] += round(each.sum)
    sentences += [
        f"{where} throttled {count:,} requests: they exceeded its capacity, or the limit of a partition."
        for where, count in throttled.items()
    ]
    return sentences


def sparkline(values: Sequence[float | None], *, max_bars: int = MAX_BARS) -> str:
    """
    Return one bar for each value; if there are too many values, for the largest of each group.

    Args:
        values: Values of at least 0; None leaves a gap.
        max_bars: Number of bars, at most.
    """
    group_size = max(1, ceil(len(values) / max_bars))
    groups = [
        max((value for value in values[first : first + group_size] if value is not None), default=None)
        for first in range(0, len(values), group_size)
    ]
    top = max((value for value in groups if value is not None), default=0.0)
    return "".join(
        " " if value is None else BARS[round(value / top * (len(BARS) - 1))] if top else BARS[0]
        for value in groups
    )


def _row(series: Series, since: datetime, until: datetime) -> tuple[str, ...]:
    scope = series.index or series.scope.value
    if not series.points:
        return (series.metric, scope, NO_VALUE, NO_VALUE, NO_VALUE, "")
    is_level = series.metric in LEVELS
    by_time = {point.at: point.maximum if is_level else point.sum for point in series.points}
    values = [by_time.get(since + number * PERIOD) for number in range((until - since) // PERIOD)]
    total = NO_VALUE if is_level else _number(series.sum)
    return (series.metric, scope, total, _number(series.average), _number(series.maximum), sparkline(values))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def _size(size_bytes: int | None) -> str:
    return NO_VALUE if size_bytes is None else human_bytes(size_bytes)


def _backup_document(backup: Backup) -> "dict[str, Json]":
    return {
        "name": backup.name,
        "arn": backup.arn,
        "status": backup.status,
        "type": backup.kind,
        "createdAt": clock.to_text(backup.created_at),
        "sizeBytes": backup.size_bytes,
    }


def _series_document(series: Series) -> dict[str, object]:
    has_points = bool(series.points)
    return {
        "metric": series.metric,
        "scope": series.scope.value,
        "index": series.index,
        "sum": series.sum if has_points else None,
        "average": series.average if has_points else None,
        "maximum": series.maximum if has_points else None,
        "points": [
            {
                "at": clock.to_text(point.at),
                "sum": point.sum,
                "average": point.average,
                "maximum": point.maximum,
            }
            for point in series.points
        ],
    }
