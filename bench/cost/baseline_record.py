"""
The record exactly as the table was first specified, and the write units that it takes.

Three indexes with `Projection: ALL`; the item is put when the image is uploaded; then one unconditional
`UpdateItem` for the start and the end of each step and for the end of the image, each setting `status` and
`updatedAt`; and one update of the owner's statistics. Where the specification does not work as written,
its cheapest interpretation is assumed: the map of steps exists from the start, and `DateIndex` accepts writes
although it cannot be queried. The specification requires an audit trail but does not define where it is
stored; if it is in the item, as for image-worker, each write appends an entry.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

from tests.support.fakes.metered_table import Index, Item, item_write_units
from worker.domain.step import Json
from worker.dynamodb.attributes import encode_map

_USER: Final = "user_12345678-1234-1234-1234-123456789012"
_IMAGE: Final = "img_1234567890abcdef"
_STEPS: Final[Mapping[str, Mapping[str, Json]]] = {
    "validation": {"result": "valid"},
    "resize": {
        "dimensions": {
            "original": {"width": 1920, "height": 1080},
            "processed": {"width": 800, "height": 450},
        }
    },
    "watermark": {"watermarkType": "text", "watermarkText": "Processed by Image Platform"},
}
_INDEX_KEYS: Final = {
    "UserImages": ("userId", "createdAt"),
    "StatusIndex": ("status", "createdAt"),
    "DateIndex": ("createdAt", "imageId"),
}
_AT: Final = "2024-01-01T12:00:00Z"
_HISTORY_ENTRY: Final[Mapping[str, Json]] = {
    "at": "2024-01-01T12:00:05.123Z",
    "step": "validation",
    "status": "completed",
    "attempt": 1,
    "worker": "ip-10-0-12-34-9f3c",
}


def images(*, has_trail: bool = False) -> list[Item]:
    """Return the item of an image after each write; the first item is empty, from before the first write."""
    steps: dict[str, Json] = {}
    item: dict[str, Json] = {
        "imageId": _IMAGE,
        "userId": _USER,
        "originalFileName": "vacation-photo.jpg",
        "originalFileSize": 2048576,
        "originalFileType": "image/jpeg",
        "originalS3Key": f"uploads/{_USER}/{_IMAGE}.jpg",
        "status": "pending",
        "processingSteps": steps,
        "createdAt": _AT,
        "updatedAt": _AT,
        "ttl": 1735689600,
        "tags": ["vacation", "family"],
        "metadata": {
            "camera": "iPhone 12",
            "location": "Beach Resort",
            "description": "Family vacation photo",
        },
    }
    states: list[dict[str, Json]] = [{}, item]
    for name, details in _STEPS.items():
        for is_completed in (False, True):
            step: dict[str, Json] = {
                "status": "completed" if is_completed else "processing",
                "startedAt": _AT,
                **({"completedAt": _AT, **details} if is_completed else {}),
            }
            steps = {**steps, name: step}
            item = {
                **item,
                "status": "processing",
                "updatedAt": f"2024-01-01T12:00:{len(states) - 1:02d}Z",
                "processingSteps": steps,
            }
            states.append(item)
    end = "2024-01-01T12:00:20Z"
    key = f"processed/{_USER}/{_IMAGE}.jpg"
    states.append(
        {**item, "status": "completed", "updatedAt": end, "processedAt": end, "processedS3Key": key}
    )
    if has_trail:
        states[1:] = [
            {**state, "history": [dict(_HISTORY_ENTRY) for _ in range(writes)]}
            for writes, state in enumerate(states[1:], 1)
        ]
    return [encode_map(state) for state in states]


def profiles() -> list[Item]:
    """Return the owner's profile before and after its statistics are updated."""
    return [
        encode_map(
            {
                "imageId": "user_profile",
                "userId": _USER,
                "email": "user@example.com",
                "profile": {
                    "firstName": "John",
                    "lastName": "Doe",
                    "avatar": f"avatars/{_USER}.jpg",
                    "preferences": {
                        "defaultImageSize": "medium",
                        "watermarkEnabled": True,
                        "watermarkText": "John's Photos",
                    },
                },
                "statistics": {"totalImages": count, "totalStorageUsed": 1073741824, "lastUploadAt": _AT},
                "createdAt": "2024-01-01T10:00:00Z",
                "updatedAt": f"2024-01-01T12:00:{count:02d}Z",
                "ttl": 1735689600,
            }
        )
        for count in (50, 51)
    ]


def write_units(*, has_trail: bool = False) -> int:
    """Return the write units of one image, including those of its owner's statistics."""
    return sum(
        item_write_units(old, new)
        + sum(units for index in _indexes(new) for _, units in index.writes(old, new))
        for states in (images(has_trail=has_trail), profiles())
        for old, new in pairwise(states)
    )


def entries(item: Item) -> list[Item]:
    """Return an item and its entries in the indexes."""
    return [item, *(entry for index in _indexes(item) if (entry := index.entry(item)))]


def _indexes(item: Item) -> list[Index]:
    return [Index(name, keys, frozenset(item)) for name, keys in _INDEX_KEYS.items()]
