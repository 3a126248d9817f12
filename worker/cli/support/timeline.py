"""Render an image as text: its attributes, its steps and its history."""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from worker.cli.support import output
from worker.domain import clock
from worker.domain.image import Failure, Image
from worker.domain.status import StepStatus
from worker.presentation import timeline
from worker.presentation.units import human_bytes, human_duration, human_shape
from worker.presentation.words import expiry_text, what_to_do


def render(image: Image, *, caching: str | None = None) -> RenderableType:
    """
    Return an image as its attributes, a table of its steps, and its history.

    Args:
        image: The image.
        caching: `Cache-Control` header of its main result; None if it is not known.
    """
    parts: list[RenderableType] = [_attributes(image, caching), "", _steps(image)]
    if image.history:
        parts += ["", "[bold]History[/] [dim](UTC)[/]", *_history(image)]
    return Group(*parts)


def _attributes(image: Image, caching: str | None) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _attribute_rows(image, caching):
        grid.add_row(name, value)
    return grid


def _attribute_rows(image: Image, caching: str | None) -> Iterator[tuple[str, str]]:
    yield "image", f"[bold]{escape(image.image_id)}[/]"
    yield "user", escape(image.user_id)
    attempt = f"  [dim]attempt {image.attempt}[/]" if image.attempt else ""
    yield "status", output.status_text(image.status) + attempt
    if image.error is not None:
        yield from _failure(image.error, image.status)
    if image.lease is not None:
        yield "leased by", f"{escape(image.lease.owner)} until {clock.to_text(image.lease.expires_at)}"
    size = human_bytes(image.file_size) if image.file_size is not None else None
    yield "file", escape(", ".join(part for part in (image.file_name, image.file_type, size) if part))
    yield "upload", escape(f"s3://{image.bucket}/{image.key}")
    for rendition_size, result in image.renditions.items():
        shape = human_shape((result.width, result.height))
        about = f"{rendition_size}, {shape} {result.format}, {human_bytes(result.size_bytes)}"
        is_main = result.key == image.processed_key
        yield "result" if is_main else "", f"{escape(result.key)}  [dim]{escape(about)}[/]"
    if caching is not None:
        yield "caching", escape(caching)
    for leftover in image.leftovers:
        yield "left over", f"{escape(leftover.key)}  [dim]to be deleted[/]"
    yield "uploaded", clock.to_text(image.created_at)
    if image.processed_at is not None:
        after = human_duration(image.processed_at - image.created_at)
        yield "ended", f"{clock.to_text(image.processed_at)}  [dim]{after} after the upload[/]"
    if image.ttl is not None:
        yield "kept until", expiry_text(image.ttl)
    if image.tags:
        yield "tags", escape(", ".join(image.tags))
    for name, text in image.metadata.items():
        yield escape(name), escape(text)


def _failure(error: Failure, status: str) -> Iterator[tuple[str, str]]:
    step = f" in {escape(error.step)}" if error.step else ""
    yield "reason", f"[red]{escape(error.code)}[/]{step}: {escape(error.message)}"
    if (advice := what_to_do(error, status)) is not None:
        yield "what to do", advice


def _steps(image: Image) -> Table:
    rows = [
        (
            escape(step.name),
            output.status_text(step.status),
            _time_of_day(step.started_at) if step.started_at else "",
            "" if step.elapsed_ms is None else f"{step.elapsed_ms:,}",
            escape(step.detail),
        )
        for step in timeline.steps(image)
    ]
    return output.table(
        ("Step", "Status", "Started", "ms", "Detail"),
        rows,
        numeric=("ms",),
        unbroken=("Step", "Status", "Started"),
    )


def _history(image: Image) -> Iterator[RenderableType]:
    """Return the history with a heading for each day, attempt and worker."""
    for heading, events in groupby(timeline.events(image), key=_heading):
        yield heading
        section = Table.grid(padding=(0, 2))
        section.add_column(width=12)
        section.add_column(width=11, justify="right")
        section.add_column(width=22)
        section.add_column(overflow="fold")
        for event in events:
            if isinstance(event, timeline.Event):
                since = (
                    f"[dim]+{human_duration(event.since_previous)}[/]"
                    if event.since_previous is not None
                    else ""
                )
                section.add_row(_time_of_day(event.at), since, _event(event), escape(event.reason))
        if section.row_count:
            yield Padding(section, (0, 0, 0, 2))


def _heading(event: timeline.Event | timeline.Summary) -> str:
    if isinstance(event, timeline.Summary):
        return f"[dim]{escape(event.text)}[/]"
    by = f" by {escape(event.worker)}" if event.worker else ""
    return f"[dim]{event.at.date().isoformat()}[/]" + (
        f"  attempt {event.attempt}{by}" if event.attempt else ""
    )


def _event(event: timeline.Event) -> str:
    """Return an event in its colour; events of steps are indented."""
    if event.step is not None:
        style = "red" if event.status == StepStatus.FAILED else None
        return f"  {escape(event.step)} " + (
            f"[{style}]{escape(event.text)}[/]" if style else escape(event.text)
        )
    style = output.STATUS_STYLES.get(event.status)
    return f"[{style}]{escape(event.text)}[/]" if style else escape(event.text)


def _time_of_day(at: datetime) -> str:
    return clock.to_text(at)[11:-1]
