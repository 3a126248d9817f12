"""Records and results as the first version of the worker wrote them; every later version has to read them."""

from typing import Any

from tests.simulation.dynamodb import Key
from tests.simulation.uploads import result_of
from worker.domain.keys import PROFILE_IMAGE_ID

_AT = "2026-02-28T09:00:00.000Z"
_DONE_AT = "2026-02-28T09:00:00.400Z"
_UPLOAD_BYTES = 1000


def old_results(user: str, stem: str, upload_id: str) -> dict[str, bytes]:
    """Return the results of an image by key; the size `thumbnail` has the suffix that it had."""
    return {
        f"processed/{user}/{stem}.jpg": result_of(upload_id, recipe="old", size="medium"),
        f"processed/{user}/{stem}_thumbnail.jpg": result_of(upload_id, recipe="old", size="thumbnail"),
    }


def old_origin(e_tag: str) -> dict[str, str]:
    """Return the metadata of a result: without the image."""
    return {"attempt": "1", "recipe": "old", "source-etag": e_tag, "source-sequencer": ""}


def old_item(
    user: str, stem: str, *, key: str, e_tag: str, results: dict[str, tuple[str, int]]
) -> dict[str, Any]:
    """
    Return the record of a completed image.

    Args:
        user: Owner.
        stem: Image id.
        key: Key of the upload.
        e_tag: ETag of the upload.
        results: ETag and size of each result, by key: the main one first.
    """
    moves: list[dict[str, Any]] = [
        {"status": "pending", "attempt": 0},
        {"status": "processing", "attempt": 1, "worker": "old"},
    ]
    for step in ("validation", "resize", "watermark"):
        moves += [
            {"step": step, "status": status, "attempt": 1, "worker": "old"}
            for status in ("processing", "completed")
        ]
    moves.append({"status": "completed", "attempt": 1, "worker": "old"})
    steps = {
        step: {"status": "completed", "startedAt": _AT, "completedAt": _DONE_AT}
        for step in ("validation", "resize", "watermark")
    }
    renditions = {
        size: {"key": result, "width": 640, "height": 480, "bytes": size_bytes, "format": "jpeg", "eTag": tag}
        for size, (result, (tag, size_bytes)) in zip(("medium", "thumbnail"), results.items(), strict=True)
    }
    return {
        "imageId": stem,
        "userId": user,
        "originalFileName": key.rpartition("/")[2],
        "originalFileSize": _UPLOAD_BYTES,
        "originalFileType": "image/jpeg",
        "originalS3Key": key,
        "processedS3Key": next(iter(results)),
        "status": "completed",
        "statusShard": "completed#00",
        "dateShard": "2026-02-28#00",
        "processingSteps": steps,
        "createdAt": _AT,
        "updatedAt": _DONE_AT,
        "processedAt": _DONE_AT,
        "sourceBucket": "image-uploads",
        "sourceVersion": {"eTag": e_tag},
        "attempt": 1,
        "recipe": "old",
        "renditions": renditions,
        "history": [{"at": _AT, **move} for move in moves],
        "countedBytes": _UPLOAD_BYTES + sum(size_bytes for _, size_bytes in results.values()),
    }


def with_counted(profile: dict[str, Any], user: str, size_bytes: int) -> tuple[Key, dict[str, Any]]:
    """Return the key and the profile of a user after one more image was counted."""
    statistics = profile.get("statistics", {"totalImages": 0, "totalStorageUsed": 0})
    counted = {
        "totalImages": statistics["totalImages"] + 1,
        "totalStorageUsed": statistics["totalStorageUsed"] + size_bytes,
        "lastUploadAt": _AT,
    }
    key = PROFILE_IMAGE_ID, user
    return key, {**profile, "imageId": key[0], "userId": key[1], "statistics": counted}
