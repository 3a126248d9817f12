"""
The event that an image is completed or failed, for applications.

Three sources make it, and it is the same from each: the EventBridge pipe of `events.yaml`, whose filter and
template these functions repeat; the commands that read the table's stream; and the record, for a replay. The
template of a pipe inserts texts only, and an empty one for an attribute that does not exist.
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

_ATTRIBUTES: Final[Mapping[str, tuple[str, ...]]] = {
    "userId": ("userId",),
    "imageId": ("imageId",),
    "status": ("status",),
    "attempt": ("attempt",),
    "code": ("error", "code"),
    "recipe": ("recipe",),
    "bucket": ("sourceBucket",),
    "originalKey": ("originalS3Key",),
    "sourceETag": ("sourceVersion", "eTag"),
    "processedKey": ("processedS3Key",),
    "processedAt": ("processedAt",),
}
"""Name in the detail -> path in the item."""

_NAMESPACE: Final = uuid.UUID("5b7f0a3e-64a5-5c0e-9d0b-3f1f6f0f7c11")


def is_state_change(before: Item | None, after: Item | None) -> bool:
    """
    Return whether a change of an item is the end of an image: the filter of the pipe.

    It compares statuses before and after, so that later changes of an ended image are no events.
    """
    if before is None or after is None:
        return False
    return before.get("status") in RUNNING_STATUSES and after.get("status") in ENDED_STATUSES


def detail_of(item: Item) -> dict[str, str]:
    """
    Return the detail of the event: all values are texts, and empty where the item has no such attribute.

    `id` is unique for each end of an image, and the same however often and by whatever way the event arrives.
    """
    values = {name: _text_at(item, path) for name, path in _ATTRIBUTES.items()}
    event_id = "/".join(values[name] for name in ("userId", "imageId", "attempt", "status"))
    return {"version": VERSION, "id": event_id, **values}


def envelope_of(detail: Mapping[str, str], *, at: str) -> dict[str, Json]:
    """
    Return the event as EventBridge delivers it.

    Args:
        detail: The detail.
        at: When the image ended or its event was read, as in the record.
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
