"""One image for people: what it is, how its steps went, and everything that ever happened to it."""

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
from worker.domain.image import Failure, HistoryEntry, Image
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.step import Json

_NEXT: Final[Mapping[str, str]] = {
    "not_an_image": "upload a picture",
    "format_not_allowed": "convert it, to JPEG say, and upload it again",
    "too_many_bytes": "upload a smaller file, or raise WORKER_MAX_BYTES and upload it again",
    "too_many_pixels": "scale it down, or raise WORKER_MAX_PIXELS, and upload it again",
    "too_many_frames": "upload fewer frames, or raise WORKER_MAX_FRAMES and upload it again",
    "too_small": "upload a larger picture",
    "truncated": "upload the whole file again",
    "corrupt": "open and save it with another program, then upload it again",
    "decode_timeout": "raise WORKER_STEP_TIMEOUT_S, or give the worker more CPU, and upload it again",
    "decode_out_of_memory": "raise WORKER_DECODER_MEMORY_MB, or scale it down, and upload it again",
    "decoder_crashed": "upload it again; if it crashes again, keep the file and report it",
    "source_missing": "upload it again",
    "unavailable": "when what was away is back: image-worker images retry, with its id",
    "internal_error": "report it; then image-worker images retry, with its id",
}
"""The code of a failure -> what the owner, or whoever runs the worker, can do."""

_STEP_WORDS: Final[Mapping[str, str]] = {
    StepStatus.PENDING: "given back",
    StepStatus.PROCESSING: "started",
}
_IMAGE_WORDS: Final[Mapping[str, str]] = {ImageStatus.PROCESSING: "claimed"}
_REASONS: Final[Mapping[str, str]] = {
    "lease_expired": "its worker fell silent, and the lease ran out",
    "uploaded_again": "a newer file was uploaded",
    "retried": "somebody asked for another try",
    "reprocessed": "somebody asked for it again",
}
_NAMELESS: Final = frozenset({"code", "format", "reason", "result", "watermarkText", "watermarkType"})
"""Parts of a step's detail that need no name beside them."""

_SOON: Final = timedelta(seconds=10)
_ARROW: Final = "\N{RIGHTWARDS ARROW}"


def render(image: Image) -> RenderableType:
    """Lay an image out: a head, its steps as a table, its history as a timeline."""
    parts: list[RenderableType] = [_head(image), "", _steps(image)]
    if image.history:
        parts += ["", "[bold]History[/] [dim](UTC)[/]", *_history(image)]
    return Group(*parts)


def _head(image: Image) -> Table:
    head = Table.grid(padding=(0, 2))
    head.add_column(style="dim", no_wrap=True)
    head.add_column(overflow="fold")
    for name, value in _facts(image):
        head.add_row(name, value)
    return head


def _facts(image: Image) -> Iterator[tuple[str, str]]:
    yield "image", f"[bold]{escape(image.image_id)}[/]"
    yield "user", escape(image.user_id)
    attempt = f"  [dim]attempt {image.attempt}[/]" if image.attempt else ""
    yield "status", output.status_text(image.status) + attempt
    if image.error is not None:
        yield from _failure(image.error, image.status)
    if image.lease is not None:
        yield "held by", f"{escape(image.lease.owner)} until {clock.to_text(image.lease.expires_at)}"
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
        yield "kept until", clock.to_text(datetime.fromtimestamp(image.ttl, UTC))
    if image.tags:
        yield "tags", escape(", ".join(image.tags))
    for name, text in image.metadata.items():
        yield escape(name), escape(text)


def _failure(error: Failure, status: ImageStatus) -> Iterator[tuple[str, str]]:
    step = f" in {error.step}" if error.step else ""
    yield "reason", f"[red]{escape(error.code)}[/]{step}: {escape(error.message)}"
    if status is ImageStatus.FAILED:
        yield "what to do", _NEXT.get(error.code, "upload it again")
    elif status is ImageStatus.PENDING:
        yield "what to do", "nothing: it comes back to a worker by itself"


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
                escape(_found(step.detail)),
            )
        )
    return output.table(
        ("Step", "Status", "Started", "ms", "What it found"),
        rows,
        numeric=("ms",),
        unbroken=("Step", "Status", "Started"),
    )


def _elapsed_ms(image: Image, step: StepName) -> int | None:
    """Return how long a step computed in the last attempt; where nobody noted it, how long it took."""
    noted = image.step_durations_ms().get(step)
    if noted is not None:
        return noted
    record = image.steps[step]
    if record.started_at is None or record.completed_at is None:
        return None
    return round((record.completed_at - record.started_at) / timedelta(milliseconds=1))


def _found(detail: Mapping[str, Json]) -> str:
    """Put a step's detail into words: `1920x1080 -> 800x450`, or its values, named where they need it."""
    match detail:
        case {
            "dimensions": {
                "original": {"width": int(from_width), "height": int(from_height)},
                "processed": {"width": int(to_width), "height": int(to_height)},
            },
            **rest,
        }:
            sizes = f"{from_width}x{from_height} {_ARROW} {to_width}x{to_height}"
            return ", ".join(filter(None, (sizes, _found(rest))))
    return ", ".join(
        _plain(value) if name in _NAMELESS else f"{name} {_plain(value)}" for name, value in detail.items()
    )


def _plain(value: Json) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_plain(one)}" for name, one in value.items())
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return str(value)


def _history(image: Image) -> Iterator[RenderableType]:
    """Lay the history out in stretches: a heading for each day, attempt and worker, and its entries below."""
    previous: HistoryEntry | None = None
    for (day, attempt, worker), entries in groupby(image.history, key=_stretch):
        by = f" by {escape(worker)}" if worker else ""
        yield f"[dim]{day}[/]" + (f"  attempt {attempt}{by}" if attempt else "")
        stretch = Table.grid(padding=(0, 2))
        stretch.add_column(width=12)
        stretch.add_column(width=11, justify="right")
        stretch.add_column(width=22)
        stretch.add_column(overflow="fold")
        for entry in entries:
            since = f"[dim]+{_elapsed(entry.at - previous.at)}[/]" if previous else ""
            stretch.add_row(_time_of_day(entry.at), since, _what(entry), escape(_why(entry, image.error)))
            previous = entry
        yield Padding(stretch, (0, 0, 0, 2))


def _stretch(entry: HistoryEntry) -> tuple[str, int, str | None]:
    return entry.at.date().isoformat(), entry.attempt, entry.worker


def _what(entry: HistoryEntry) -> str:
    """Return what an entry tells of, in two words and its colour; a step stands further in than the image."""
    if entry.step is not None:
        word = _STEP_WORDS.get(entry.status, entry.status)
        return (
            f"  {entry.step} [red]{word}[/]"
            if entry.status == StepStatus.FAILED
            else f"  {entry.step} {word}"
        )
    word = _IMAGE_WORDS.get(entry.status, entry.status)
    if entry.status == ImageStatus.PENDING:
        word = "waiting again" if entry.attempt else "uploaded"
    style = output.STATUS_STYLES.get(entry.status)
    return f"[{style}]{word}[/]" if style else word


def _why(entry: HistoryEntry, error: Failure | None) -> str:
    detail = dict(entry.detail)
    elapsed_ms, reason, code = (detail.pop(name, None) for name in ("ms", "reason", "code"))
    told = [] if elapsed_ms is None else [f"computed {elapsed_ms} ms"]
    if reason is not None:
        told.append(_REASONS.get(str(reason), str(reason)))
    if code is not None:
        # The record keeps the message of the latest failure only, which the image's own entry tells.
        explained = error is not None and error.code == code and entry.step is None
        told.append(f"{code}: {error.message}" if error is not None and explained else str(code))
    return ", ".join((*told, *filter(None, [_found(detail)])))


def _time_of_day(at: datetime) -> str:
    return clock.to_text(at)[11:-1]


def _elapsed(span: timedelta) -> str:
    """Write a span as closely as it matters: `12 ms`, `41.3 s`, `5 min 3 s`, `2 h 10 min`, `3 d 4 h`."""
    if span < _SOON:
        return f"{round(span / timedelta(milliseconds=1)):,} ms"
    seconds = span.total_seconds()
    if seconds < 60:  # noqa: PLR2004 - a minute's
        return f"{seconds:.1f} s"
    for unit, smaller, size, part in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86_400, 3600)):
        if seconds < size * 60 or unit == "d":
            return f"{int(seconds // size)} {unit} {int(seconds % size // part)} {smaller}"
    raise AssertionError
