"""Check after a measurement that the peer has processed every upload and written a complete record."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from worker.domain import clock
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.dynamodb.attributes import decode_map
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

Item: TypeAlias = Mapping[str, Any]
"""Decoded item of the table, with attributes as the peer has written them."""

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


class IncompleteRecordError(Exception):
    """Raised when a peer has omitted part of the work, so that its measurements cannot be compared."""


@dataclass(frozen=True, slots=True)
class ImageTimes:
    """
    When an image was uploaded and completed according to the record, as POSIX timestamps.

    Attributes:
        image_id: Id of the image; ids are in the order of the uploads.
        uploaded_s: Time of the upload.
        completed_s: Time of the completion.
    """

    image_id: str
    uploaded_s: float
    completed_s: float


async def check_record(
    dynamodb: "DynamoDBClient", s3: "S3Client", settings: Settings, *, uploads: Mapping[str, int]
) -> list[ImageTimes]:
    """
    Check the record and the result of every upload; return their times in the order of the uploads.

    Args:
        dynamodb: DynamoDB client.
        s3: S3 client.
        settings: Settings that name the resources.
        uploads: Number of uploads by user.

    Raises:
        IncompleteRecordError: An image is not completed, lacks an attribute, a step's time, a history entry
            or its result, or is not counted exactly once in the owner's statistics.
    """
    items = [item async for item in _items(dynamodb, settings.table_name)]
    images = [item for item in items if item["imageId"] != PROFILE_IMAGE_ID]
    statistics = {item["userId"]: item["statistics"] for item in items if item["imageId"] == PROFILE_IMAGE_ID}
    for image in images:
        _check_image(image)
    for user_id, count in uploads.items():
        stored_bytes = sum(image["countedBytes"] for image in images if image["userId"] == user_id)
        expected = {"totalImages": count, "totalStorageUsed": stored_bytes}
        if any(statistics[user_id].get(name) != value for name, value in expected.items()):
            message = f"{user_id} has the statistics {statistics[user_id]}, expected {expected}"
            raise IncompleteRecordError(message)
    results = {key async for key in _keys(s3, settings.results_bucket, settings.processed_prefix)}
    recorded = {image["processedS3Key"] for image in images}
    if results != recorded or len(images) != sum(uploads.values()):
        message = f"{sum(uploads.values())} uploads, but {len(images)} records and {len(results)} results"
        raise IncompleteRecordError(message)
    return [
        ImageTimes(image["imageId"], _timestamp(image["createdAt"]), _timestamp(image["processedAt"]))
        for image in sorted(images, key=lambda image: str(image["imageId"]))
    ]


def _check_image(image: Item) -> None:
    steps = image.get("processingSteps", {})
    history = [(entry.get("step", ""), entry["status"]) for entry in image.get("history", [])]
    defects = [f"{name} is missing" for name in sorted(_REQUIRED - image.keys())]
    for name in _STEPS:
        step = steps.get(name, {})
        if step.get("status") != "completed":
            defects.append(f"{name} is not completed")
        if not {"startedAt", "completedAt"} <= step.keys():
            defects.append(f"{name} has no times")
    if image.get("status") != "completed":
        defects.append(f"the status is {image.get('status')}")
    if [entry for entry in history if entry != ("", "pending")] != _HISTORY:
        defects.append(f"the history is {history}")
    if "leaseOwner" in image:
        defects.append("the lease is still held")
    if defects:
        message = f"{image['imageId']}: {', '.join(defects)}"
        raise IncompleteRecordError(message)


async def _items(dynamodb: "DynamoDBClient", table: str) -> AsyncIterator[Item]:
    async for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            yield decode_map(item)


async def _keys(s3: "S3Client", bucket: str, prefix: str) -> AsyncIterator[str]:
    async for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            yield found["Key"]


def _timestamp(text: str) -> float:
    return clock.from_text(text).timestamp()
