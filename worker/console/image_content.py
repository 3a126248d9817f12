"""What the page of an image shows, as JSON-ready values for the page, its live part and its JSON."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from worker.domain import clock
from worker.domain.image import Image, Rendition
from worker.domain.status import TERMINAL_STATUSES, StepName
from worker.domain.step import CONTENT_TYPES
from worker.dynamodb.items import to_item
from worker.dynamodb.table import Table
from worker.presentation import timeline
from worker.presentation.units import milliseconds
from worker.presentation.words import error_words, flag_words, what_to_do

SHOWN_FORMATS: Final = frozenset({*CONTENT_TYPES, "bmp"})
"""Formats of uploads that browsers show."""

MAX_SHOWN_BYTES: Final = 10_000_000
"""Larger uploads are shown as a preview of them, so that the page does not load for minutes."""

MAX_ROWS: Final = 40
MAX_EVENTS: Final = 200
MAX_RENDITIONS: Final = 32
"""Bounds of what is shown of a record that another program, or a worker without these bounds, wrote."""

WORKER_COLOURS: Final = 6
"""Number of colours; when there are more workers, several have the same one, next to their names."""

_CREDITS: Final = ("artist", "author", "copyright", "creator", "credit", "photographer", "rights")
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")
_SIMILAR_SHAPE: Final = 0.02
"""Difference of two aspect ratios up to which images show the same part of the picture."""

_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999, after which Python has no times."""


def image_content(image: Image, table: Table) -> dict[str, Any]:
    """
    Return what the page shows of an image.

    Args:
        image: The image.
        table: The table of its record.
    """
    rows = timeline.rows(image)
    events = timeline.events(image)
    colours = {name: number % WORKER_COLOURS for number, name in enumerate(timeline.workers(rows))}
    return {
        "image": to_item(image, table),
        "isEnded": image.status in TERMINAL_STATUSES,
        "processingMs": None
        if image.processed_at is None
        else milliseconds(image.processed_at - image.created_at),
        "keptUntil": None
        if image.ttl is None
        else clock.to_text(datetime.fromtimestamp(min(image.ttl, _LAST_SECOND), UTC)),
        "leasedUntil": clock.to_text(image.lease.expires_at) if image.lease else None,
        "deletion": None
        if image.deletion is None
        else {"at": clock.to_text(image.deletion.at), "by": image.deletion.by},
        "error": _error(image),
        "original": original(image),
        "renditions": _renditions(image),
        "appearance": appearance(image),
        "focus": focus if isinstance(focus := image.detail_of(StepName.RESIZE).get("focus"), str) else None,
        "contains": flag_words(image.detail_of(StepName.VALIDATION)),
        "ignored": _ignored(image),
        "credits": {name: text for name, text in image.metadata.items() if name.lower() in _CREDITS},
        "steps": [
            {
                "name": step.name,
                "status": step.status,
                "startedAt": _text(step.started_at),
                "ms": step.elapsed_ms,
                "detail": step.detail,
            }
            for step in timeline.steps(image)
        ],
        "workers": colours,
        "timeline": [_row(row, colours) for row in rows[-MAX_ROWS:]],
        "earlierRows": max(0, len(rows) - MAX_ROWS),
        "events": [_event(event) for event in events[-MAX_EVENTS:]],
        "earlierEvents": max(0, len(events) - MAX_EVENTS),
    }


def upload_format(image: Image) -> str | None:
    """Return the format that validation found in the upload; None if it was not validated."""
    found = image.detail_of(StepName.VALIDATION).get("format")
    return found if isinstance(found, str) else None


def original(image: Image) -> dict[str, Any]:
    """
    Return the format, size and dimensions of the upload, and how the page shows it.

    It is shown as it is (`file`), as a `preview` that a decoder process renders, or not at all (None) unless
    validation has found that it is an image.
    """
    found = upload_format(image)
    is_shown = found in SHOWN_FORMATS and (image.file_size or 0) <= MAX_SHOWN_BYTES
    return {
        "format": found,
        "bytes": image.file_size,
        **_dimensions(image),
        "as": None if found is None else "file" if is_shown else "preview",
    }


def _dimensions(image: Image) -> dict[str, int | None]:
    match image.detail_of(StepName.RESIZE):
        case {"dimensions": {"original": {"width": int(width), "height": int(height)}}}:
            return {"width": width, "height": height}
    return {"width": None, "height": None}


def appearance(image: Image) -> dict[str, str | None]:
    """Return the dominant colour, the BlurHash and the perceptual hash, as far as they are known."""
    detail = image.detail_of(StepName.RESIZE)
    found = {name: detail.get(name) for name in ("dominantColor", "blurHash", "perceptualHash")}
    colour = found["dominantColor"]
    if not (isinstance(colour, str) and _COLOUR.fullmatch(colour)):
        found["dominantColor"] = None  # it becomes an attribute of the page
    return {name: value if isinstance(value, str) else None for name, value in found.items()}


def _ignored(image: Image) -> dict[str, str]:
    """Return the name of each preference and metadata value that cannot be used, and why."""
    detail = image.detail_of(StepName.VALIDATION)
    found: dict[str, str] = {}
    for name in ("ignoredPreferences", "ignoredMetadata"):
        match detail.get(name):
            case dict(ignored):
                found |= {each: str(reason) for each, reason in ignored.items()}
    return found


def _error(image: Image) -> dict[str, Any] | None:
    if image.error is None:
        return None
    return {
        "code": image.error.code,
        "message": image.error.message,
        "step": image.error.step,
        "cause": error_words(image.error.code).cause,
        "whatToDo": what_to_do(image.error, image.status),
    }


def _renditions(image: Image) -> list[dict[str, Any]]:
    """Return the renditions, the main one first."""
    found = sorted(image.renditions.items(), key=lambda item: item[1].key != image.processed_key)
    return [
        _rendition(size, rendition, image, is_main=rendition.key == image.processed_key)
        for size, rendition in found[:MAX_RENDITIONS]
    ]


def _rendition(size: str, rendition: Rendition, image: Image, *, is_main: bool) -> dict[str, Any]:
    before = _dimensions(image)
    saving = None
    if image.file_size:
        saving = min(99, round(100 * (1 - rendition.size_bytes / image.file_size)))
    return {
        "size": size,
        "isMain": is_main,
        "key": rendition.key,
        "format": rendition.format,
        "isShown": rendition.format in CONTENT_TYPES,
        "bytes": rendition.size_bytes,
        "width": rendition.width,
        "height": rendition.height,
        "savingPercent": saving,
        "isCropped": not _has_shape_of(rendition, before["width"], before["height"]),
    }


def _has_shape_of(rendition: Rendition, width: int | None, height: int | None) -> bool:
    """Return whether a rendition has the aspect ratio of the original, also if it is shown upright."""
    if not (width and height and rendition.width and rendition.height):
        return True
    pixel = 1 / min(rendition.width, rendition.height)  # the sides of a rendition are rounded
    return abs(rendition.width * height / (rendition.height * width) - 1) <= _SIMILAR_SHAPE + pixel


def _row(row: timeline.Row, colours: Mapping[str, int]) -> dict[str, Any]:
    match row:
        case timeline.Attempt():
            end = row.ended_at or row.last_sign_at
            return {
                "kind": "attempt",
                "number": row.number,
                "worker": row.worker,
                "colour": colours.get(row.worker or ""),
                "startedAt": _text(row.started_at),
                "endedAt": _text(row.ended_at),
                "ms": max(0, milliseconds(end - row.started_at)),
                "outcome": row.outcome,
                "reason": row.reason,
                "steps": [
                    {
                        "name": step.name,
                        "status": step.status,
                        "afterMs": max(0, milliseconds(step.started_at - row.started_at)),
                        "spanMs": max(0, milliseconds((step.ended_at or end) - step.started_at)),
                        "ms": step.elapsed_ms,
                    }
                    for step in row.steps
                ],
            }
        case timeline.Wait():
            return {
                "kind": "wait",
                "label": row.kind.value,
                "since": _text(row.since),
                "until": _text(row.until),
                "ms": None if row.until is None else milliseconds(row.until - row.since),
                "reason": row.reason,
                "explanation": row.explanation,
            }
        case timeline.Summary():
            return {"kind": "summary", "text": row.text}


def _event(event: timeline.Event | timeline.Summary) -> dict[str, Any]:
    if isinstance(event, timeline.Summary):
        return {"summary": event.text}
    since = event.since_previous
    return {
        "at": _text(event.at),
        "sinceMs": None if since is None else milliseconds(since),
        "attempt": event.attempt,
        "worker": event.worker,
        "step": event.step,
        "status": event.status,
        "text": event.text,
        "reason": event.reason,
    }


def _text(at: datetime | None) -> str | None:
    return None if at is None else clock.to_text(at)
