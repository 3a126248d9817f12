"""`image-worker table`: backups, and what the table consumes."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Annotated, Final

import typer

from worker.bootstrap import RETRY_POLICIES, open_client, table_of
from worker.checks.table import INDEXES
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.domain import clock
from worker.domain.clock import utc_now
from worker.dynamodb.backups import NAME_PATTERN, Backup, Backups
from worker.telemetry.table_metrics import LEVELS, PERIOD, Scope, Series, TableMetrics, window

if TYPE_CHECKING:
    from worker.domain.step import Json

app = typer.Typer(add_completion=False, no_args_is_help=True)

MOST_HOURS: Final = 14 * 24
"""CloudWatch keeps periods of five minutes longer, but here nobody could tell them apart."""
MOST_BARS: Final = 48
BARS: Final = "▁▂▃▄▅▆▇█"
NOTHING: Final = "[dim]-[/]"


@app.callback()
def table() -> None:
    """Back up the table and see what it consumes."""


def _checked_name(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(NAME_PATTERN, name):
        message = "DynamoDB takes 3 to 255 letters, digits, dots, hyphens and underscores"
        raise typer.BadParameter(message)
    return name


@app.command()
@asynchronous
async def backup(
    *,
    name: Annotated[
        str | None,
        typer.Option(
            callback=_checked_name, help="What to call it; default: backup-YYYYmmdd-HHMMSS, in UTC."
        ),
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """
    Ask DynamoDB for a backup of the whole table; it takes none of its capacity.

    DynamoDB makes it on its own time: `image-worker table backups` says when it is AVAILABLE.

    Example: image-worker table backup
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        made = await Backups(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table).create(name)
    if json:
        output.print_json(_backup_document(made))
    else:
        output.console().print(f"Backup [bold]{made.name}[/] of {settings.table_name}: {made.status}")


@app.command()
@asynchronous
async def backups(*, json: output.JsonOption = False) -> None:
    """
    List the backups of the table, newest first; --json tells their ARNs, from which they are restored.

    Example: image-worker table backups --json
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        found = await Backups(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table).all()
    if json:
        output.print_json({"backups": [_backup_document(one) for one in found]})
    elif not found:
        output.console().print(
            f"There is no backup of {settings.table_name}: image-worker table backup makes one."
        )
    else:
        rows = [
            (one.name, one.status, one.kind, clock.to_text(one.created_at), _size(one.size_bytes))
            for one in found
        ]
        columns = ["name", "status", "type", "created", "size"]
        output.console().print(output.table(columns, rows, numeric=["size"], unbroken=["name", "created"]))


@app.command()
@asynchronous
async def metrics(
    *,
    hours: Annotated[int, typer.Option(min=1, max=MOST_HOURS, help="How far to look back.")] = 1,
    json: output.JsonOption = False,
) -> None:
    """
    Show consumed and provisioned capacity, throttles and errors, over time.

    Of the table and of each index. UserErrors, of whom DynamoDB tells nothing finer, are those of the whole
    account and region. A bar stands for five minutes, or for more where there are too many.

    Example: image-worker table metrics --hours 24
    """
    settings = start()
    since, until = window(utc_now(), hours=hours)
    async with open_client("cloudwatch", settings) as cloudwatch:
        reader = TableMetrics(
            cloudwatch, table=settings.table_name, indexes=tuple(INDEXES), retry=RETRY_POLICIES.table
        )
        found = await reader.read(since, until)
    if json:
        output.print_json(
            {
                "table": settings.table_name,
                "from": clock.to_text(since),
                "to": clock.to_text(until),
                "periodSeconds": int(PERIOD.total_seconds()),
                "metrics": [_series_document(one) for one in found],
            }
        )
        return
    console = output.console()
    if any(one.points for one in found):
        console.print(f"{settings.table_name}, {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC")
        rows = [_row(one, since, until) for one in found if one.points or one.scope is not Scope.INDEX]
        columns = ["metric", "of", "sum", "average", "maximum", "over time"]
        numeric = ["sum", "average", "maximum"]
        console.print(output.table(columns, rows, numeric=numeric, unbroken=["metric", "of", "over time"]))
    for remark in remarks(found, table_name=settings.table_name, hours=hours):
        console.print(remark)


def remarks(found: Sequence[Series], *, table_name: str, hours: int) -> list[str]:
    """Say in sentences what the figures, or their absence, mean."""
    if not any(one.points for one in found):
        span = "hour" if hours == 1 else f"{hours} hours"
        none = f"CloudWatch has no figures of {table_name} for the last {span}."
        return [
            f"{none} DynamoDB sends them some minutes after the first request; an embedded AWS sends none."
        ]
    said = []
    if not any(one.points for one in found if one.metric in LEVELS):
        said.append(
            "Nothing is provisioned: the table is paid by the request, or CloudWatch does not know yet."
        )
    throttled: Counter[str] = Counter()
    for one in found:
        if one.metric.endswith("ThrottleEvents") and one.sum:
            throttled[one.index or table_name] += round(one.sum)
    said += [
        f"{where} turned {count:,} requests away: more than its capacity, or than one key takes."
        for where, count in throttled.items()
    ]
    return said


def sparkline(values: Sequence[float | None], *, most: int = MOST_BARS) -> str:
    """
    Draw one bar for each value, or where there are too many, for the largest of several.

    Args:
        values: Not negative; None leaves a gap.
        most: Bars at the most.
    """
    together = max(1, ceil(len(values) / most))
    groups = [
        max((value for value in values[first : first + together] if value is not None), default=None)
        for first in range(0, len(values), together)
    ]
    top = max((value for value in groups if value is not None), default=0.0)
    return "".join(
        " " if value is None else BARS[round(value / top * (len(BARS) - 1))] if top else BARS[0]
        for value in groups
    )


def _row(series: Series, since: datetime, until: datetime) -> tuple[str, ...]:
    of = series.index or series.scope.value
    if not series.points:
        return (series.metric, of, NOTHING, NOTHING, NOTHING, "")
    is_level = series.metric in LEVELS
    by_time = {point.at: point.maximum if is_level else point.sum for point in series.points}
    values = [by_time.get(since + number * PERIOD) for number in range((until - since) // PERIOD)]
    total = NOTHING if is_level else _number(series.sum)
    return (series.metric, of, total, _number(series.average), _number(series.maximum), sparkline(values))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def _size(size_bytes: int | None) -> str:
    return NOTHING if size_bytes is None else output.human_bytes(size_bytes)


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
