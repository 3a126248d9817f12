"""Convert between images and the items that `docs/record.md` describes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.domain import clock
from worker.domain.history import begins_attempt
from worker.domain.image import (
    Deletion,
    FailedImage,
    Failure,
    HistoryEntry,
    Image,
    ImageSummary,
    Lease,
    Leftover,
    Rendition,
    StepRecord,
)
from worker.domain.job import SourceVersion, padded_sequencer
from worker.domain.state_change import marked_values
from worker.domain.status import ImageStatus, StepName, StepStatus, known_or_text
from worker.domain.step import Json
from worker.dynamodb.attributes import OpaqueText, encode
from worker.dynamodb.item_schema import require_failed, require_image, require_summary, unreadable
from worker.dynamodb.table import Table, date_shard, status_shard

Item = dict[str, Json]

_STEP_ATTRIBUTES = frozenset({"status", "startedAt", "completedAt"})
_HOLDER = frozenset({"attempt", "worker"})
_ENTRY_ATTRIBUTES = frozenset({"at", "step", "status", "detail"}) | _HOLDER
_LEFTOVER_ATTRIBUTES = frozenset({"key", "eTag"})


def to_item(image: Image, table: Table) -> Item:
    """Return the image as an item of the table; attributes without a value are left out."""
    shard = table.shard_of(image.image_id)
    created_at = clock.to_text(image.created_at)
    item: Item = {
        "imageId": image.image_id,
        "userId": image.user_id,
        "originalFileName": image.file_name,
        "originalFileSize": image.file_size,
        "originalFileType": image.file_type,
        "originalS3Key": image.key,
        "processedS3Key": image.processed_key,
        "status": str(image.status),
        "statusShard": status_shard(image.status, shard),
        "dateShard": date_shard(created_at[:10], shard),
        "processingSteps": {str(step): _step_to_map(record) for step, record in image.steps.items()},
        "createdAt": created_at,
        "updatedAt": clock.to_text(image.updated_at),
        "processedAt": clock.to_text(image.processed_at) if image.processed_at else None,
        "ttl": image.ttl,
        "tags": list(image.tags) or None,
        "metadata": dict(image.metadata) or None,
        "sourceBucket": image.bucket,
        "sourceVersion": _without_none(
            {
                "eTag": image.version.e_tag,
                "versionId": image.version.version_id,
                "sequencer": image.version.sequencer.rstrip("0") if image.version.sequencer else None,
            }
        ),
        "attempt": image.attempt,
        "leaseOwner": image.lease.owner if image.lease else None,
        "leaseExpiresAt": clock.to_epoch_ms(image.lease.expires_at) if image.lease else None,
        "recipe": image.recipe,
        "renditions": {size: _rendition_to_map(each) for size, each in image.renditions.items()} or None,
        "leftovers": [{**each.extra, "key": each.key, "eTag": each.e_tag} for each in image.leftovers]
        or None,
        "error": _failure_to_map(image.error) if image.error else None,
        "history": _history_to_list(image.history, compact=table.compact_history),
        "countedBytes": image.counted_bytes,
        "recordId": image.record_id,
    }
    if image.deletion is not None:
        item["deletion"] = {**marked_values(item), **_deletion_to_map(image.deletion)}
    return _without_none(item)


def from_item(item: Mapping[str, Any]) -> Image:
    """
    Return the image that an item describes.

    Raises:
        UnreadableRecordError: The item is not an image, is damaged, or was written by a newer version.
    """
    require_image(item)
    created_at = clock.from_text(item["createdAt"])
    version = item.get("sourceVersion", {})
    owner = item.get("leaseOwner")
    deletion = item.get("deletion", {})
    if (owner and "leaseExpiresAt" not in item) or (
        "leaseOwner" in deletion and "leaseExpiresAt" not in deletion
    ):
        raise unreadable(item, "attribute leaseExpiresAt is missing")
    return Image(
        image_id=item["imageId"],
        user_id=item["userId"],
        bucket=item["sourceBucket"],
        key=item["originalS3Key"],
        version=SourceVersion(
            e_tag=version.get("eTag"),
            version_id=version.get("versionId"),
            sequencer=padded_sequencer(version["sequencer"]) if "sequencer" in version else None,
            uploaded_at=created_at,
        ),
        status=known_or_text(ImageStatus, item["status"]),
        created_at=created_at,
        updated_at=clock.from_text(item["updatedAt"]),
        processed_at=clock.from_text(item["processedAt"]) if "processedAt" in item else None,
        file_name=item["originalFileName"],
        file_size=item.get("originalFileSize"),
        file_type=item.get("originalFileType"),
        steps={
            known_or_text(StepName, step): _step_from_map(values)
            for step, values in item["processingSteps"].items()
        },
        attempt=item["attempt"],
        lease=Lease(owner=owner, expires_at=clock.from_epoch_ms(item["leaseExpiresAt"])) if owner else None,
        recipe=item.get("recipe"),
        renditions={size: _rendition_from_map(each) for size, each in item.get("renditions", {}).items()},
        processed_key=item.get("processedS3Key"),
        leftovers=tuple(
            Leftover(key=each["key"], e_tag=each["eTag"], extra=_others(each, _LEFTOVER_ATTRIBUTES))
            for each in item.get("leftovers", ())
        ),
        error=_failure_from_map(item["error"]) if "error" in item else None,
        history=tuple(_history_from_list(item)),
        tags=tuple(item.get("tags", ())),
        metadata={name: _text(value) for name, value in item.get("metadata", {}).items()},
        counted_bytes=item.get("countedBytes"),
        ttl=item.get("ttl"),
        record_id=item.get("recordId"),
        deletion=_deletion_from_map(deletion) if deletion else None,
    )


def to_summary(item: Mapping[str, Any]) -> ImageSummary:
    """Return the summary in an item of an index; raises the same error as `from_item`."""
    require_summary(item)
    return ImageSummary(
        image_id=item["imageId"],
        user_id=item["userId"],
        status=known_or_text(ImageStatus, item["status"]),
        created_at=clock.from_text(item["createdAt"]),
        processed_at=clock.from_text(item["processedAt"]) if "processedAt" in item else None,
        file_name=item["originalFileName"],
        file_size=item.get("originalFileSize"),
        key=item["originalS3Key"],
        processed_key=item.get("processedS3Key"),
        ttl=item.get("ttl"),
    )


def to_failed(item: Mapping[str, Any]) -> FailedImage:
    """Return the failed image in the `FAILED_ATTRIBUTES` of an item; raises the same error as `from_item`."""
    require_failed(item)
    error = item.get("error")
    return FailedImage(
        image_id=item["imageId"],
        user_id=item["userId"],
        code=error["code"] if error else None,
        message=error["message"] if error else "",
        failed_at=clock.from_text(item["updatedAt"]),
        created_at=clock.from_text(item["createdAt"]),
        file_name=item["originalFileName"],
        file_size=item.get("originalFileSize"),
        has_result="processedS3Key" in item,
    )


def summary_to_map(summary: ImageSummary) -> Item:
    """Return a summary under the item's attribute names."""
    return _without_none(
        {
            "imageId": summary.image_id,
            "userId": summary.user_id,
            "status": str(summary.status),
            "createdAt": clock.to_text(summary.created_at),
            "processedAt": clock.to_text(summary.processed_at) if summary.processed_at else None,
            "originalFileName": summary.file_name,
            "originalFileSize": summary.file_size,
            "originalS3Key": summary.key,
            "processedS3Key": summary.processed_key,
            "ttl": summary.ttl,
        }
    )


def _text(value: Json) -> str:
    """Return a value of the metadata, which its owner may have set to any type, as text that keeps it."""
    return (
        value if isinstance(value, str) else OpaqueText(json.dumps(value, ensure_ascii=False), encode(value))
    )


def _others(values: Mapping[str, Json], known: frozenset[str]) -> dict[str, Json]:
    """Return the attributes of a map that this version does not know."""
    return {name: value for name, value in values.items() if name not in known}


def _without_none(values: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in values.items() if value is not None}


def _step_to_map(record: StepRecord) -> Json:
    times = _without_none(
        {
            "startedAt": clock.to_text(record.started_at) if record.started_at else None,
            "completedAt": clock.to_text(record.completed_at) if record.completed_at else None,
        }
    )
    return {**record.detail, "status": str(record.status), **times}


def _step_from_map(values: Mapping[str, Any]) -> StepRecord:
    return StepRecord(
        status=known_or_text(StepStatus, values["status"]),
        started_at=clock.from_text(values["startedAt"]) if "startedAt" in values else None,
        completed_at=clock.from_text(values["completedAt"]) if "completedAt" in values else None,
        detail=_others(values, _STEP_ATTRIBUTES),
    )


def _rendition_to_map(rendition: Rendition) -> Json:
    return {
        "key": rendition.key,
        "width": rendition.width,
        "height": rendition.height,
        "bytes": rendition.size_bytes,
        "format": rendition.format,
        "eTag": rendition.e_tag,
    }


def _rendition_from_map(values: Mapping[str, Any]) -> Rendition:
    return Rendition(
        key=values["key"],
        width=values["width"],
        height=values["height"],
        size_bytes=values["bytes"],
        format=values["format"],
        e_tag=values["eTag"],
    )


def _failure_to_map(failure: Failure) -> Json:
    return _without_none(
        {
            "code": failure.code,
            "message": failure.message,
            "step": str(failure.step) if failure.step else None,
            "retryable": failure.retryable,
        }
    )


def _failure_from_map(values: Mapping[str, Any]) -> Failure:
    return Failure(
        code=values["code"],
        message=values["message"],
        step=known_or_text(StepName, values["step"]) if "step" in values else None,
        retryable=values["retryable"],
    )


def _deletion_to_map(deletion: Deletion) -> dict[str, Json]:
    lease = deletion.lease
    return _without_none(
        {
            "by": deletion.by,
            "via": deletion.via,
            "at": clock.to_text(deletion.at),
            "leaseOwner": lease.owner if lease else None,
            "leaseExpiresAt": clock.to_epoch_ms(lease.expires_at) if lease else None,
        }
    )


def _deletion_from_map(values: Mapping[str, Any]) -> Deletion:
    owner = values.get("leaseOwner")
    lease = Lease(owner=owner, expires_at=clock.from_epoch_ms(values["leaseExpiresAt"])) if owner else None
    return Deletion(by=values["by"], via=values["via"], at=clock.from_text(values["at"]), lease=lease)


def _history_to_list(history: Sequence[HistoryEntry], *, compact: bool) -> list[Json]:
    """
    Return the entries as maps; if compact, without attempt and worker where their attempt began with these.

    Entries without a worker keep their attempt: an operator who adds them holds no lease, so that another
    attempt may begin before they are written.
    """
    entries: list[Json] = []
    begin: HistoryEntry | None = None
    for entry in history:
        values = _entry_to_map(entry)
        if compact and begin is not None and entry.worker and _holder(entry) == _holder(begin):
            values = {name: value for name, value in values.items() if name not in _HOLDER}
        entries.append(values)
        begin = entry if begins_attempt(entry) else begin
    return entries


def _history_from_list(item: Mapping[str, Any]) -> Iterator[HistoryEntry]:
    """Yield the entries; what the attempt's beginning has is complete again in each."""
    begin: HistoryEntry | None = None
    for values in item.get("history", ()):
        entry = _entry_from_map(values)
        if "attempt" not in values:
            if begin is None:
                raise unreadable(item, "attribute attempt is missing in the first entry of history")
            entry = replace(entry, attempt=begin.attempt, worker=begin.worker)
        yield entry
        begin = entry if begins_attempt(entry) else begin


def _holder(entry: HistoryEntry) -> tuple[int, str | None]:
    return entry.attempt, entry.worker


def _entry_to_map(entry: HistoryEntry) -> dict[str, Json]:
    known = _without_none(
        {
            "at": clock.to_text(entry.at),
            "step": str(entry.step) if entry.step else None,
            "status": str(entry.status),
            "attempt": entry.attempt,
            "worker": entry.worker,
            "detail": dict(entry.detail) or None,
        }
    )
    return {**entry.extra, **known}


def _entry_from_map(values: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        at=clock.from_text(values["at"]),
        step=known_or_text(StepName, values["step"]) if "step" in values else None,
        status=values["status"],
        attempt=values.get("attempt", 0),
        worker=values.get("worker"),
        detail=values.get("detail", {}),
        extra=_others(values, _ENTRY_ATTRIBUTES),
    )
