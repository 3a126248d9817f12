"""
The same record as `dynamodb.md` has it to the letter, and what it takes to write it.

Three indexes with `Projection: ALL`; the item put when the picture is uploaded, then one unconditional
`UpdateItem` for the start and one for the end of each step and one for the end of the picture, each of which
sets `status` and `updatedAt`; and one update of the owner's statistics. Where the document cannot work as it
is written, it is taken at its cheapest: the map of steps is in the item from the start, and `DateIndex`
takes writes as if somebody could query it. It asks for an audit trail without saying where that is; with one
in the item, as the worker has it, each of these writes appends an entry.
"""

from itertools import pairwise
from typing import Any, Final

from tests.support.fakes.metered_table import Index, Item, item_write_units
from worker.dynamodb.attributes import encode_map

_USER: Final = "user_12345678-1234-1234-1234-123456789012"
_IMAGE: Final = "img_1234567890abcdef"
_STEPS: Final[dict[str, dict[str, Any]]] = {
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
_ENTRY: Final = {
    "at": "2024-01-01T12:00:05.123Z",
    "step": "validation",
    "status": "completed",
    "attempt": 1,
    "worker": "ip-10-0-12-34-9f3c",
}
"""Of the audit trail."""


def images(*, has_trail: bool = False) -> list[Item]:
    """Return the item of an image as each write leaves it; the first is what nothing was before."""
    item: dict[str, Any] = {
        "imageId": _IMAGE,
        "userId": _USER,
        "originalFileName": "vacation-photo.jpg",
        "originalFileSize": 2048576,
        "originalFileType": "image/jpeg",
        "originalS3Key": f"uploads/{_USER}/{_IMAGE}.jpg",
        "status": "pending",
        "processingSteps": {},
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
    written = [{}, item]
    writes = 0
    for step, outcome in _STEPS.items():
        for ended in (False, True):
            writes += 1
            at = {"completedAt": _AT, **outcome} if ended else {}
            done = {"status": "completed" if ended else "processing", "startedAt": _AT, **at}
            item = item | {
                "status": "processing",
                "updatedAt": f"2024-01-01T12:00:{writes:02d}Z",
                "processingSteps": item["processingSteps"] | {step: done},
            }
            written.append(item)
    end = "2024-01-01T12:00:20Z"
    key = f"processed/{_USER}/{_IMAGE}.jpg"
    written.append(
        item | {"status": "completed", "updatedAt": end, "processedAt": end, "processedS3Key": key}
    )
    if has_trail:
        written[1:] = [one | {"history": number * [_ENTRY]} for number, one in enumerate(written[1:], 1)]
    return [encode_map(one) for one in written]


def profiles() -> list[Item]:
    """Return the profile of the owner, before and after its statistics are updated."""
    preferences = {"defaultImageSize": "medium", "watermarkEnabled": True, "watermarkText": "John's Photos"}
    names = {"firstName": "John", "lastName": "Doe", "avatar": f"avatars/{_USER}.jpg"}
    return [
        encode_map(
            {
                "imageId": "user_profile",
                "userId": _USER,
                "email": "user@example.com",
                "profile": {**names, "preferences": preferences},
                "statistics": {"totalImages": count, "totalStorageUsed": 1073741824, "lastUploadAt": _AT},
                "createdAt": "2024-01-01T10:00:00Z",
                "updatedAt": f"2024-01-01T12:00:{count:02d}Z",
                "ttl": 1735689600,
            }
        )
        for count in (50, 51)
    ]


def write_units(*, has_trail: bool = False) -> int:
    """Add up the writes of one picture, its owner's statistics among them."""
    return sum(
        item_write_units(old, new)
        + sum(units for index in _indexes(new) for _, units in index.writes(old, new))
        for written in (images(has_trail=has_trail), profiles())
        for old, new in pairwise(written)
    )


def entries(item: Item) -> list[Item]:
    """Return an item with what the indexes hold of it."""
    return [item, *(entry for index in _indexes(item) if (entry := index.entry(item)))]


def _indexes(item: Item) -> list[Index]:
    return [Index(name, keys, frozenset(item)) for name, keys in _INDEX_KEYS.items()]
