"""
The event that an image is completed, failed or deleted, for applications.

Three sources make it, and it is the same from each: the EventBridge pipe of `events.yaml`, whose filter and
template these functions repeat; the commands that read the table's stream; and the record, for a replay. The
template of a pipe inserts texts only, and an empty one for an attribute that does not exist. It cannot choose
between the item before a change and the one after it, so that the mark of a deletion has what its event says.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from worker.domain.step import Json

Item: TypeAlias = Mapping[str, Any]
"""An item of the table, with plain values in place of attribute values."""

SOURCE: Final = "image-worker"
DETAIL_TYPE: Final = "Image State Change"
VERSION: Final = "1"
"""Version of the detail; it changes when an attribute is removed or its meaning changes."""

RUNNING_STATUSES: Final = ("pending", "processing")
ENDED_STATUSES: Final = ("completed", "failed")
DELETED: Final = "deleted"
"""Status in the event of a deletion; no record has it."""

DELETION: Final = "deletion"
"""Attribute of a record that is being deleted: who requested it, and the values of the event."""

_ATTRIBUTES: Final[Mapping[str, tuple[str, ...]]] = {
    "userId": ("userId",),
    "imageId": ("imageId",),
    "status": ("status",),
    "attempt": ("attempt",),
    "recordId": ("recordId",),
    "code": ("error", "code"),
    "recipe": ("recipe",),
    "bucket": ("sourceBucket",),
    "originalKey": ("originalS3Key",),
    "sourceETag": ("sourceVersion", "eTag"),
    "processedKey": ("processedS3Key",),
    "processedAt": ("processedAt",),
}
"""Name in the detail -> path in the item after the change; of a deletion, in the item before it."""

_KEYS: Final = ("userId", "imageId")
"""Attributes that every change has."""

_NAMESPACE: Final = uuid.UUID("5b7f0a3e-64a5-5c0e-9d0b-3f1f6f0f7c11")


def is_state_change(before: Item | None, after: Item | None) -> bool:
    """
    Return whether a change of an item is the end or the deletion of an image: the filter of the pipe.

    It compares statuses before and after, so that later changes of an ended image are no events. A record
    that is removed without the mark of a deletion has expired, or was deleted by another program.
    """
    if before is None:
        return False
    if after is None:
        return _text_at(before, (DELETION, "status")) == DELETED
    return before.get("status") in RUNNING_STATUSES and after.get("status") in ENDED_STATUSES


def marked_values(item: Item) -> dict[str, str]:
    """Return what the mark of a deletion has for its event: the values of the record, without its keys."""
    values = {name: _text_at(item, path) for name, path in _ATTRIBUTES.items() if name not in _KEYS}
    return {name: value for name, value in {**values, "status": DELETED, "code": ""}.items() if value}


def detail_of(after: Item | None, *, before: Item | None = None) -> dict[str, str]:
    """
    Return the detail of the event: all values are texts, and empty where the item has no such attribute.

    `id` is unique for each event of a record, and the same however often and by whatever way it arrives.

    Args:
        after: The item after the change; None if it was deleted.
        before: The item before the change, if it was deleted.
    """
    values = {
        name: _text_at((after or before or {}), path)
        if name in _KEYS
        else _text_at(after or {}, path) + _text_at(before or {}, (DELETION, name))
        for name, path in _ATTRIBUTES.items()
    }
    event_id = "/".join(values[name] for name in ("userId", "imageId", "attempt", "status"))
    return {"version": VERSION, "id": event_id, **values}


def envelope_of(detail: Mapping[str, str], *, at: str) -> dict[str, Json]:
    """
    Return the event as EventBridge delivers it.

    Args:
        detail: The detail.
        at: When the image ended, or its deletion began, as in the record.
    """
    return {
        "version": "0",
        "id": str(uuid.uuid5(_NAMESPACE, detail["id"])),
        "detail-type": DETAIL_TYPE,
        "source": SOURCE,
        "time": at,
        "resources": [],
        "detail": dict(detail),
    }


def _text_at(item: Item, path: tuple[str, ...]) -> str:
    value: Any = item
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)
