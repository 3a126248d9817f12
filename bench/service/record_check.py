"""Whether a subject has done the work: the record and the results of every picture, looked at afterwards."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker.domain import clock
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.dynamodb.attributes import decode_map
from worker.settings import Settings

_STEPS: Final = ("validation", "resize", "watermark")
_REQUIRED: Final = frozenset(
    {
        "attempt",
        "countedBytes",
        "createdAt",
        "dateShard",
        "history",
        "imageId",
        "originalFileName",
        "originalFileSize",
        "originalFileType",
        "originalS3Key",
        "processedAt",
        "processedS3Key",
        "processingSteps",
        "recipe",
        "renditions",
        "sourceBucket",
        "sourceVersion",
        "status",
        "statusShard",
        "updatedAt",
        "userId",
    }
)
_HISTORY: Final = [
    ("", "processing"),
    ("validation", "processing"),
    ("validation", "completed"),
    ("resize", "processing"),
    ("resize", "completed"),
    ("watermark", "processing"),
    ("watermark", "completed"),
    ("", "completed"),
]


class WorkNotDoneError(Exception):
    """A subject has left something out: its figures would compare with nothing."""


@dataclass(frozen=True, slots=True)
class Stored:
    """
    When a picture was announced and when it was done, in seconds since 1970, as the record has it.

    Attributes:
        image_id: Its number is the order of the uploads.
        created_s: The upload's time.
        processed_s: The completion's.
    """

    image_id: str
    created_s: float
    processed_s: float


async def read_record(
    dynamodb: Any,  # noqa: ANN401 - an untyped client
    s3: Any,  # noqa: ANN401
    settings: Settings,
    *,
    uploads: Mapping[str, int],
) -> list[Stored]:
    """
    Return every picture of the record, in the order of their uploads.

    Raises:
        WorkNotDoneError: A picture is not completed, lacks an attribute, a step's time or an entry of its
            history, was not stored, or is not counted exactly once among its owner's.
    """
    items = [item async for item in _items(dynamodb, settings.table_name)]
    images = [item for item in items if item["imageId"] != PROFILE_IMAGE_ID]
    counted = {item["userId"]: item["statistics"] for item in items if item["imageId"] == PROFILE_IMAGE_ID}
    for image in images:
        _check(image)
    for user_id, pictures in uploads.items():
        weight = sum(image["countedBytes"] for image in images if image["userId"] == user_id)
        expected = {"totalImages": pictures, "totalStorageUsed": weight}
        if any(counted[user_id].get(name) != value for name, value in expected.items()):
            message = f"{user_id} has {counted[user_id]} in place of {expected}"
            raise WorkNotDoneError(message)
    results = {key async for key in _keys(s3, settings.results_bucket, settings.processed_prefix)}
    named = {image["processedS3Key"] for image in images}
    if results != named or len(images) != sum(uploads.values()):
        message = f"{sum(uploads.values())} uploads, {len(images)} in the record, {len(results)} results"
        raise WorkNotDoneError(message)
    return [
        Stored(image["imageId"], _seconds(image["createdAt"]), _seconds(image["processedAt"]))
        for image in sorted(images, key=lambda image: str(image["imageId"]))
    ]


def _check(image: Mapping[str, Any]) -> None:
    steps = image.get("processingSteps", {})
    history = [(entry.get("step", ""), entry["status"]) for entry in image.get("history", [])]
    faults = [
        *(f"no {name}" for name in sorted(_REQUIRED - image.keys())),
        *(f"{name} not completed" for name in _STEPS if steps.get(name, {}).get("status") != "completed"),
        *(
            f"{name} without times"
            for name in _STEPS
            if not {"startedAt", "completedAt"} <= steps[name].keys()
        ),
        *([] if image["status"] == "completed" else [f"status {image['status']}"]),
        *(
            []
            if [entry for entry in history if entry != ("", "pending")] == _HISTORY
            else [f"history {history}"]
        ),
        *(["still leased"] if "leaseOwner" in image else []),
    ]
    if faults:
        message = f"{image['imageId']}: {', '.join(faults)}"
        raise WorkNotDoneError(message)


async def _items(dynamodb: Any, table: str) -> AsyncIterator[dict[str, Any]]:  # noqa: ANN401
    async for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            yield decode_map(item)


async def _keys(s3: Any, bucket: str, prefix: str) -> AsyncIterator[str]:  # noqa: ANN401
    async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            yield found["Key"]


def _seconds(text: str) -> float:
    return clock.from_text(text).timestamp()
