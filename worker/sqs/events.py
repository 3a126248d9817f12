"""
Parse SQS messages into jobs.

Accepted are S3 notifications (version 2.x, any number of records), the same wrapped by SNS, EventBridge's
events of S3, `s3:TestEvent`, GuardDuty's results of malware scans, and the jobs that image-worker itself
sends. Only events of created objects are jobs; folders made in the S3 console are not. The keys in S3
notifications are form-encoded, the others are not.

Where uploads have to be scanned, images start from scan results, and the events of uploads are skipped.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias
from urllib.parse import unquote_plus

from worker.domain import clock
from worker.domain.errors import NewerMessageError, UnreadableMessageError
from worker.domain.job import Job, SourceVersion, padded_sequencer
from worker.domain.keys import MAX_KEY_BYTES, UploadKeyTemplate, is_folder
from worker.domain.message import Message, Unreadable
from worker.domain.scan import ScanStatus

JsonValue: TypeAlias = "JsonObject | list[JsonValue] | str | int | float | bool | None"
JsonObject: TypeAlias = "dict[str, JsonValue]"

JOB_VERSION = 1

_JOB_FIELDS = frozenset(
    {
        "version",
        "bucket",
        "key",
        "imageId",
        "eTag",
        "versionId",
        "sequencer",
        "uploadedAt",
        "size",
        "reason",
    }
)

_UPLOADED = "Object Created"
_SCANNED = "GuardDuty Malware Protection Object Scan Result"


@dataclass(frozen=True, slots=True)
class KeyLayout:
    """
    Where uploads and results are stored.

    Attributes:
        bucket: Bucket of the uploads.
        upload_keys: Template of the keys of uploads.
        processed_prefix: Prefix of the keys of results if they are in the same bucket, otherwise None.
    """

    bucket: str
    upload_keys: UploadKeyTemplate
    processed_prefix: str | None


def parse(
    message: Message, key_layout: KeyLayout, *, requires_scan: bool | None = None
) -> list[Job | Unreadable]:
    """
    Return the jobs in a message, and its unreadable parts; skip results, folders and other events.

    Args:
        message: A received message.
        key_layout: Where uploads and results are stored.
        requires_scan: Whether images start from scan results and not from uploads; None reads both.
    """
    try:
        body = _object(json.loads(message.body), "the message")
        if isinstance(notification := body.get("Message"), str) and "TopicArn" in body:
            body = _object(json.loads(notification), "the message inside the SNS notification")
        if _skips(body, requires_scan=requires_scan):
            return []
        return list(_parts(body, message, key_layout))
    except (UnreadableMessageError, ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, UnreadableMessageError) else f"it is not JSON: {error}"
        return [_unreadable(error, reason=reason, body=message.body)]


def to_body(job: Job, *, reason: str) -> str:
    """Return the body of a message that requests the job; `reason` is informational."""
    body: JsonObject = {
        "version": JOB_VERSION,
        "bucket": job.bucket,
        "key": job.key,
        "imageId": job.image_id,
        "eTag": job.version.e_tag,
        "versionId": job.version.version_id,
        "sequencer": job.version.sequencer,
        "uploadedAt": clock.to_text(job.version.uploaded_at),
        "size": job.size_bytes,
        "reason": reason,
    }
    return json.dumps({**job.extra, **{name: value for name, value in body.items() if value is not None}})


def _skips(body: JsonObject, *, requires_scan: bool | None) -> bool:
    """
    Return whether a message is an event that starts no image with this setting.

    Raises:
        UnreadableMessageError: It is a scan result although no scan is required: uploads may then have no
            other event, and must not be lost.
    """
    if body.get("detail-type") == _SCANNED and requires_scan is False:
        reason = (
            "it is the result of a malware scan, and images start from events of uploads; "
            "set WORKER_REQUIRE_SCAN=true, or remove the rule that sends scan results"
        )
        raise UnreadableMessageError(reason)
    return requires_scan is True and ("Records" in body or body.get("detail-type") == _UPLOADED)


def _parts(body: JsonObject, message: Message, key_layout: KeyLayout) -> Iterator[Job | Unreadable]:
    if body.get("Event") == "s3:TestEvent":
        return
    if "Records" in body:
        records = body["Records"]
        if not isinstance(records, list):
            reason = "its Records are not a list"
            raise UnreadableMessageError(reason)
        for record in records:
            yield from _part(_from_s3, record, {"Records": [record]}, message, key_layout)
    elif body.get("detail-type") == _UPLOADED:
        yield from _part(_from_eventbridge, body, body, message, key_layout)
    elif body.get("detail-type") == _SCANNED:
        yield from _part(_from_scan_result, body, body, message, key_layout)
    elif str(body.get("detail-type")).startswith("Object "):
        return  # deleted, tagged, restored, ...: skipped, as in S3's own notifications
    elif ("version" in body and "key" in body) or _is_newer(body.get("version")):
        yield from _part(_from_own_job, body, body, message, key_layout)
    else:
        reason = (
            "it is not an S3 notification, an SNS or EventBridge event of one, the result of a malware scan, "
            "or a job of image-worker"
        )
        raise UnreadableMessageError(reason)


def _part(
    read: Callable[[JsonObject, Message, KeyLayout], Job | None],
    part: JsonValue,
    as_message: JsonObject,
    message: Message,
    key_layout: KeyLayout,
) -> Iterator[Job | Unreadable]:
    try:
        job = read(_object(part, "the record"), message, key_layout)
    except UnreadableMessageError as error:
        yield _unreadable(error, reason=str(error), body=json.dumps(as_message))
    else:
        if job is not None:
            yield job


def _from_s3(record: JsonObject, message: Message, key_layout: KeyLayout) -> Job | None:
    version, name = str(record.get("eventVersion", "2.1")), _text(record, "eventName")
    if version.partition(".")[0] != "2":
        reason = f"its eventVersion is {version!r}; supported is 2.x"
        raise UnreadableMessageError(reason)
    if not name.removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    entity = _object(record.get("s3"), "s3")
    found = _object(entity.get("object"), "s3.object")
    return _job(
        bucket=_text(_object(entity.get("bucket"), "s3.bucket"), "name"),
        key=unquote_plus(_text(found, "key")),
        e_tag=found.get("eTag"),
        version_id=found.get("versionId"),
        sequencer=found.get("sequencer"),
        size=found.get("size"),
        uploaded_at=_time(record.get("eventTime"), message),
        key_layout=key_layout,
    )


def _from_eventbridge(event: JsonObject, message: Message, key_layout: KeyLayout) -> Job | None:
    detail = _object(event.get("detail"), "detail")
    found = _object(detail.get("object"), "detail.object")
    return _job(
        bucket=_text(_object(detail.get("bucket"), "detail.bucket"), "name"),
        key=_text(found, "key"),
        e_tag=found.get("etag"),
        version_id=found.get("version-id"),
        sequencer=found.get("sequencer"),
        size=found.get("size"),
        uploaded_at=_time(event.get("time"), message),
        key_layout=key_layout,
    )


def _from_scan_result(event: JsonObject, message: Message, key_layout: KeyLayout) -> Job | None:
    detail = _object(event.get("detail"), "detail")
    found = _object(detail.get("s3ObjectDetails"), "detail.s3ObjectDetails")
    status = _text(_object(detail.get("scanResultDetails"), "detail.scanResultDetails"), "scanResultStatus")
    try:
        scan = ScanStatus(status)
    except ValueError as error:
        reason = f"its scanResultStatus is {status!r}; known are {', '.join(ScanStatus)}"
        raise UnreadableMessageError(reason) from error
    job = _job(
        bucket=_text(found, "bucketName"),
        key=_text(found, "objectKey"),
        e_tag=_text(found, "eTag"),
        version_id=found.get("versionId"),
        sequencer=None,
        size=None,
        uploaded_at=_time(event.get("time"), message),
        key_layout=key_layout,
    )
    return replace(job, scan=scan) if job else None


def _from_own_job(body: JsonObject, message: Message, key_layout: KeyLayout) -> Job | None:
    if (version := body["version"]) != JOB_VERSION:
        reason = f"its version is {version!r}; supported is {JOB_VERSION}"
        if _is_newer(version):
            reason += ": a newer version of image-worker has sent it; update image-worker"
            raise NewerMessageError(reason)
        raise UnreadableMessageError(reason)
    job = _job(
        bucket=_text(body, "bucket"),
        key=_text(body, "key"),
        e_tag=body.get("eTag"),
        version_id=body.get("versionId"),
        sequencer=body.get("sequencer"),
        size=body.get("size"),
        uploaded_at=_time(body.get("uploadedAt"), message),
        key_layout=key_layout,
    )
    if job is None:
        return None
    job = replace(job, extra={name: value for name, value in body.items() if name not in _JOB_FIELDS})
    image_id = body.get("imageId")
    if image_id is None:
        return job
    if not isinstance(image_id, str) or image_id not in key_layout.upload_keys.image_ids(job.key):
        reason = f"its imageId {image_id!r} is not one that an upload with the key {job.key!r} can have"
        raise UnreadableMessageError(reason)
    return replace(job, image_id=image_id)


def _job(
    *,
    bucket: str,
    key: str,
    e_tag: JsonValue,
    version_id: JsonValue,
    sequencer: JsonValue,
    size: JsonValue,
    uploaded_at: datetime,
    key_layout: KeyLayout,
) -> Job | None:
    if bucket != key_layout.bucket:
        reason = f"its bucket is {bucket!r}; this worker processes uploads to {key_layout.bucket!r}"
        raise UnreadableMessageError(reason)
    if key_layout.processed_prefix is not None and key.startswith(key_layout.processed_prefix):
        return None
    if is_folder(key, size):
        return None
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        reason = f"its key {key!r} is not valid Unicode"
        raise UnreadableMessageError(reason) from error
    if length > MAX_KEY_BYTES:
        reason = f"its key has {length} bytes; the limit of S3 is {MAX_KEY_BYTES}"
        raise UnreadableMessageError(reason)
    name = key_layout.upload_keys.parse_key(key)
    return Job(
        bucket=bucket,
        key=key,
        user_id=name.user_id,
        image_id=name.image_id,
        version=SourceVersion(
            e_tag=e_tag.strip('"') if isinstance(e_tag, str) and e_tag else None,
            version_id=version_id if isinstance(version_id, str) and version_id != "null" else None,
            sequencer=padded_sequencer(sequencer) if isinstance(sequencer, str) and sequencer else None,
            uploaded_at=uploaded_at,
        ),
        size_bytes=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
    )


def _is_newer(version: JsonValue) -> bool:
    """Return whether a newer version of the worker has written a job with this version."""
    return isinstance(version, int) and version > JOB_VERSION


def _unreadable(error: Exception, *, reason: str, body: str) -> Unreadable:
    return Unreadable(reason=reason, body=body, is_newer=isinstance(error, NewerMessageError))


def _object(value: JsonValue, what: str) -> JsonObject:
    if not isinstance(value, dict):
        reason = f"{what} is not a JSON object"
        raise UnreadableMessageError(reason)
    return value


def _text(values: JsonObject, name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        reason = f"it has no {name}"
        raise UnreadableMessageError(reason)
    return value


def _time(value: JsonValue, message: Message) -> datetime:
    if value is None:
        return message.sent_at
    reason = f"its time {value!r} is not an ISO 8601 timestamp"
    if not isinstance(value, str):
        raise UnreadableMessageError(reason)
    try:
        return clock.from_text(value)
    except (ValueError, OverflowError) as error:
        raise UnreadableMessageError(reason) from error
