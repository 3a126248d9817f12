"""Render an image as text: its attributes, its steps and its history."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from worker.cli.support import output
from worker.domain import clock
from worker.domain.history import SUMMARISED, claim_count, entry_count, outcomes
from worker.domain.image import Failure, HistoryEntry, Image
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.step import Json

_ADVICE: Final[Mapping[str, str]] = {
    "not_an_image": "upload an image file",
    "format_not_allowed": "convert it, for example to JPEG, and upload it again",
    "too_many_bytes": "upload a smaller file, or raise WORKER_MAX_BYTES and upload it again",
    "too_many_pixels": "scale it down, or raise WORKER_MAX_PIXELS, and upload it again",
    "too_many_frames": "upload fewer frames, or raise WORKER_MAX_FRAMES and upload it again",
    "too_small": "upload a larger image",
    "truncated": "upload the complete file again",
    "corrupt": "open and save it with another program, then upload it again",
    "decode_timeout": "raise WORKER_STEP_TIMEOUT_S, or give the worker more CPU, and upload it again",
    "decode_out_of_memory": "scale it down, or raise WORKER_DECODER_MEMORY_MB, and upload it again",
    "decoder_crashed": "upload it again; if it crashes again, keep the file and report it",
    "decoder_killed": "give the worker more memory, then run `image-worker images retry` with its id",
    "worker_killed": "see why the worker ended, then run `image-worker images retry` with its id",
    "source_missing": "upload it again",
    "result_key_taken": "reprocess or delete the other image, delete the object, and retry this image",
    "source_archived": "restore the object, then run `image-worker images retry` with its id",
    "source_unreadable": "store the object without a key of its own, then run `image-worker images retry`",
    "access_denied": "allow s3:GetObject for the object, then run `image-worker images retry` with its id",
    "key_too_long": "upload it under a shorter key",
    "result_rejected": "correct what S3 rejects, then run `image-worker images retry` with its id",
    "record_rejected": "remove attributes of your own from the record, then run `image-worker images retry`",
    "unavailable": "once the dependency is available again, run `image-worker images retry` with its id",
    "internal_error": "report it, then run `image-worker images retry` with its id",
}
"""Error code -> what the owner or the operator can do."""

_STEP_WORDS: Final[Mapping[str, str]] = {
    StepStatus.PENDING: "released",
    StepStatus.PROCESSING: "started",
}
_IMAGE_WORDS: Final[Mapping[str, str]] = {ImageStatus.PROCESSING: "claimed"}
_REASONS: Final[Mapping[str, str]] = {
    "lease_expired": "its lease expired",
    "uploaded_again": "a newer version was uploaded",
    "retried": "a retry was requested",
    "reprocessed": "reprocessing was requested",
    "requeued": "its message was sent again",
    "attempt_raised": "numbered above a result of a lost record",
}
_UNNAMED: Final = frozenset({"code", "format", "reason", "result", "watermarkText", "watermarkType"})
"""Parts of a step's detail that are shown without their names."""

_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999, after which Python has no times."""

_SHORT: Final = timedelta(seconds=10)
_ARROW: Final = "\N{RIGHTWARDS ARROW}"


def render(image: Image) -> RenderableType:
    """Return an image as its attributes, a table of its steps, and its history."""
    parts: list[RenderableType] = [_attributes(image), "", _steps(image)]
    if image.history:
        parts += ["", "[bold]History[/] [dim](UTC)[/]", *_history(image)]
    return Group(*parts)


def _attributes(image: Image) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _attribute_rows(image):
        grid.add_row(name, value)
    return grid


def _attribute_rows(image: Image) -> Iterator[tuple[str, str]]:
    yield "image", f"[bold]{escape(image.image_id)}[/]"
    yield "user", escape(image.user_id)
    attempt = f"  [dim]attempt {image.attempt}[/]" if image.attempt else ""
    yield "status", output.status_text(image.status) + attempt
    if image.error is not None:
        yield from _failure(image.error, image.status)
    if image.lease is not None:
        yield "leased by", f"{escape(image.lease.owner)} until {clock.to_text(image.lease.expires_at)}"
    size = output.human_bytes(image.file_size) if image.file_size is not None else None
    yield "file", escape(", ".join(part for part in (image.file_name, image.file_type, size) if part))
    yield "upload", escape(f"s3://{image.bucket}/{image.key}")
    for rendition_size, result in image.renditions.items():
        shape = output.human_shape((result.width, result.height))
        about = f"{rendition_size}, {shape} {result.format}, {output.human_bytes(result.size_bytes)}"
        is_main = result.key == image.processed_key
        yield "result" if is_main else "", f"{escape(result.key)}  [dim]{escape(about)}[/]"
    yield "uploaded", clock.to_text(image.created_at)
    if image.processed_at is not None:
        after = _elapsed(image.processed_at - image.created_at)
        yield "ended", f"{clock.to_text(image.processed_at)}  [dim]{after} after the upload[/]"
    if image.ttl is not None:
        yield "kept until", clock.to_text(datetime.fromtimestamp(min(image.ttl, _LAST_SECOND), UTC))
    if image.tags:
        yield "tags", escape(", ".join(image.tags))
    for name, text in image.metadata.items():
        yield escape(name), escape(text)


def _failure(error: Failure, status: ImageStatus) -> Iterator[tuple[str, str]]:
    step = f" in {error.step}" if error.step else ""
    yield "reason", f"[red]{escape(error.code)}[/]{step}: {escape(error.message)}"
    if status is ImageStatus.FAILED:
        yield "what to do", _ADVICE.get(error.code, "upload it again")
    elif status is ImageStatus.PENDING:
        yield "what to do", "nothing: the queue redelivers it"


def _steps(image: Image) -> Table:
    rows = []
    for name in StepName:
        step = image.steps.get(name)
        if step is None:
            continue
        started = _time_of_day(step.started_at) if step.started_at else ""
        elapsed_ms = _elapsed_ms(image, name)
        rows.append(
            (
                name.value,
                output.status_text(step.status),
                started,
                "" if elapsed_ms is None else f"{elapsed_ms:,}",
                escape(_detail_text(step.detail)),
            )
        )
    return output.table(
        ("Step", "Status", "Started", "ms", "Detail"),
        rows,
        numeric=("ms",),
        unbroken=("Step", "Status", "Started"),
    )


def _elapsed_ms(image: Image, step: StepName) -> int | None:
    """Return the computing time of a step in the last attempt; its duration if that was not recorded."""
    computed_ms = image.step_durations_ms().get(step)
    if computed_ms is not None:
        return computed_ms
    record = image.steps[step]
    if record.started_at is None or record.completed_at is None:
        return None
    return round((record.completed_at - record.started_at) / timedelta(milliseconds=1))


def _detail_text(detail: Mapping[str, Json]) -> str:
    """Return the detail of a step as text, such as `1920x1080 -> 800x450`."""
    match detail:
        case {
            "dimensions": {
                "original": {"width": int(from_width), "height": int(from_height)},
                "processed": {"width": int(to_width), "height": int(to_height)},
            },
            **rest,
        }:
            sizes = f"{from_width}x{from_height} {_ARROW} {to_width}x{to_height}"
            return ", ".join(filter(None, (sizes, _detail_text(rest))))
    return ", ".join(
        _plain(value) if name in _UNNAMED else f"{name} {_plain(value)}" for name, value in detail.items()
    )


def _plain(value: Json) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return str(value)


def _history(image: Image) -> Iterator[RenderableType]:
    """Return the history with a heading for each day, attempt and worker."""
    previous: HistoryEntry | None = None
    for (day, attempt, worker), entries in groupby(image.history, key=_section_of):
        if worker == SUMMARISED:
            for previous in entries:
                yield f"[dim]{escape(_summary(previous))}[/]"
            continue
        by = f" by {escape(worker)}" if worker else ""
        yield f"[dim]{day}[/]" + (f"  attempt {attempt}{by}" if attempt else "")
        section = Table.grid(padding=(0, 2))
        section.add_column(width=12)
        section.add_column(width=11, justify="right")
        section.add_column(width=22)
        section.add_column(overflow="fold")
        for entry in entries:
            since = f"[dim]+{_elapsed(entry.at - previous.at)}[/]" if previous else ""
            section.add_row(_time_of_day(entry.at), since, _event(entry), escape(_reason(entry, image.error)))
            previous = entry
        yield Padding(section, (0, 0, 0, 2))


def _section_of(entry: HistoryEntry) -> tuple[str, int, str | None]:
    worker = SUMMARISED if entry.status == SUMMARISED else entry.worker
    return entry.at.date().isoformat(), entry.attempt, worker


def _summary(entry: HistoryEntry) -> str:
    """Return the summary of dropped entries: how many, of which attempts and days, with what outcomes."""
    first, last = (str(entry.detail.get(name, "?"))[:10] for name in ("from", "to"))
    days = first if first == last else f"{first} to {last}"
    entries, attempts = entry_count([entry]), claim_count([entry])
    what = f"{days}  {entries:,} entries of {attempts:,} attempts are summarised"
    counts = [f"{count:,} {outcome.replace('_', ' ')}" for outcome, count in outcomes([entry]).items()]
    return ": ".join(filter(None, (what, ", ".join(counts))))


def _event(entry: HistoryEntry) -> str:
    """Return the event of a history entry in its colour; events of steps are indented."""
    if entry.step is not None:
        word = _STEP_WORDS.get(entry.status, entry.status)
        return (
            f"  {entry.step} [red]{word}[/]"
            if entry.status == StepStatus.FAILED
            else f"  {entry.step} {word}"
        )
    word = _IMAGE_WORDS.get(entry.status, entry.status)
    if entry.status == ImageStatus.PENDING:
        word = "pending again" if entry.attempt else "uploaded"
    style = output.STATUS_STYLES.get(entry.status)
    return f"[{style}]{word}[/]" if style else word


def _reason(entry: HistoryEntry, error: Failure | None) -> str:
    detail = dict(entry.detail)
    elapsed_ms, reason, code = (detail.pop(name, None) for name in ("ms", "reason", "code"))
    parts = [] if elapsed_ms is None else [f"took {elapsed_ms} ms"]
    if reason is not None:
        parts.append(_REASONS.get(str(reason), str(reason)))
    if code is not None:
        # The record keeps only the message of the latest failure.
        has_message = error is not None and error.code == code and entry.step is None
        parts.append(f"{code}: {error.message}" if error is not None and has_message else str(code))
    return ", ".join((*parts, *filter(None, [_detail_text(detail)])))


def _time_of_day(at: datetime) -> str:
    return clock.to_text(at)[11:-1]


def _elapsed(span: timedelta) -> str:
    """Format a duration: `12 ms`, `41.3 s`, `5 min 3 s`, `2 h 10 min`, `3 d 4 h`."""
    if span < _SHORT:
        return f"{round(span / timedelta(milliseconds=1)):,} ms"
    seconds = span.total_seconds()
    if seconds < 60:  # noqa: PLR2004 - seconds per minute
        return f"{seconds:.1f} s"
    for unit, smaller, size, part in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86_400, 3600)):
        if seconds < size * 60 or unit == "d":
            return f"{int(seconds // size)} {unit} {int(seconds % size // part)} {smaller}"
    raise AssertionError
