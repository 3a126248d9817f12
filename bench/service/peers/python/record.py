"""The image's record in DynamoDB: claim with a lease, step progress, completion with statistics."""

import os
import random
import socket
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import uuid4

TABLE = os.environ["WORKER_TABLE_NAME"]
WORKER = f"{socket.gethostname()}-{os.getpid()}"
LEASE_S = 60
PROGRESS_INTERVAL_S = (
    1.0  # image-worker writes after at most 100 ms: that would cost two more writes per image
)
PROFILE_TTL_S = 60.0
SHARDS = 8
_STEPS = ("validation", "resize", "watermark")
_HOLDS_LEASE = "leaseOwner = :owner AND attempt = :attempt AND #status = :processing"

Client: TypeAlias = Any
"""Client of boto3, which creates its classes at run time."""

Attributes: TypeAlias = dict[str, Any]
"""Attribute values of DynamoDB, for example `{"status": {"S": "completed"}}`."""

Value: TypeAlias = "str | int | Mapping[str, Value]"
"""Value that `_attribute` converts."""


class LeaseHeldError(Exception):
    """Raised when another worker holds the lease of the image."""


@dataclass
class Job:
    """An upload, from its S3 notification."""

    bucket: str
    key: str
    user_id: str
    image_id: str
    e_tag: str
    sequencer: str
    event_time: str


def parse_record(record: Mapping[str, Any]) -> Job:
    """Parse a record of an S3 notification; the benchmark's keys need no URL decoding."""
    s3_object = record["s3"]["object"]
    _, user_id, name = s3_object["key"].split("/")
    return Job(
        bucket=record["s3"]["bucket"]["name"],
        key=s3_object["key"],
        user_id=user_id,
        image_id=name.rpartition(".")[0],
        e_tag=s3_object["eTag"],
        sequencer=s3_object["sequencer"],
        event_time=record["eventTime"],
    )


@dataclass
class Attempt:
    """An image whose lease this worker holds."""

    job: Job
    owner: str = field(default_factory=lambda: f"{WORKER}/{uuid4()}")
    number: int = 1
    steps: dict[str, dict[str, Value]] = field(default_factory=dict)
    unwritten: list[dict[str, Value]] = field(default_factory=list)
    """History entries for the next write."""
    written_s: float = field(default_factory=time.monotonic)

    @property
    def lease_values(self) -> Attributes:
        """Values of the condition that every write depends on."""
        return {
            ":owner": {"S": self.owner},
            ":attempt": {"N": str(self.number)},
            ":processing": {"S": "processing"},
        }


class Record:
    """The DynamoDB table, through one boto3 client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._profiles: dict[str, tuple[float, Attributes | None]] = {}

    def get_profile(self, user_id: str) -> Attributes | None:
        """Return the owner's profile, cached for a minute."""
        read_s, item = self._profiles.get(user_id, (-PROFILE_TTL_S, None))
        if time.monotonic() - read_s >= PROFILE_TTL_S:
            response = self._client.get_item(TableName=TABLE, Key=_key("user_profile", user_id))
            item = response.get("Item")
            self._profiles[user_id] = (time.monotonic(), item)
        return item

    def claim(self, job: Job) -> Attempt | None:
        """
        Acquire the lease of an image; return None if the image is completed.

        Raises:
            LeaseHeldError: Another worker holds the lease.
        """
        attempt, at = Attempt(job), _now()
        attempt.steps = {name: {"status": "pending"} for name in _STEPS}
        attempt.steps["validation"] = {"status": "processing", "startedAt": at}
        attempt.unwritten = [
            {"at": at, "status": "processing"},
            {"at": at, "step": "validation", "status": "processing"},
        ]
        try:
            self._write(attempt, _claim(attempt, at), "attribute_not_exists(imageId)", {})
        except self._client.exceptions.ConditionalCheckFailedException as error:
            item = error.response["Item"]
            if item["status"]["S"] == "completed":
                return None
            if item["status"]["S"] == "processing" and int(item["leaseExpiresAt"]["N"]) > time.time() * 1000:
                raise LeaseHeldError from error
            attempt.number = int(item["attempt"]["N"]) + 1
            seen = {":seen": item["attempt"], ":lease": item["leaseExpiresAt"]}
            self._write(attempt, _claim(attempt, at), "attempt = :seen AND leaseExpiresAt = :lease", seen)
        attempt.unwritten = []
        return attempt

    def complete_step(self, attempt: Attempt, name: str, details: Mapping[str, Value]) -> None:
        """Complete a step and start the next; the progress is written at most once per second."""
        at = _now()
        attempt.steps[name] |= {"status": "completed", "completedAt": at, **details}
        attempt.unwritten.append({"at": at, "step": name, "status": "completed"})
        for following in _STEPS[_STEPS.index(name) + 1 :][:1]:
            attempt.steps[following] = {"status": "processing", "startedAt": at}
            attempt.unwritten.append({"at": at, "step": following, "status": "processing"})
        if time.monotonic() - attempt.written_s >= PROGRESS_INTERVAL_S:
            self._write(attempt, _progress(attempt, at), _HOLDS_LEASE, attempt.lease_values)
            attempt.unwritten, attempt.written_s = [], time.monotonic()

    def complete_image(
        self,
        attempt: Attempt,
        *,
        source_bytes: int,
        result_bytes: int,
        source_type: str,
        rendition: Mapping[str, Value],
    ) -> None:
        """Write the completion and the owner's statistics in one transaction."""
        at, job = _now(), attempt.job
        counted = str(source_bytes + result_bytes)
        attempt.unwritten.append({"at": at, "status": "completed"})
        image = _update(
            attempt,
            {
                **_progress(attempt, at),
                "status": {"S": "completed"},
                "statusShard": {"S": f"completed#{_shard(job.image_id)}"},
                "processedAt": {"S": at},
                "processedS3Key": _attribute(rendition["key"]),
                "originalFileSize": {"N": str(source_bytes)},
                "originalFileType": {"S": source_type},
                "countedBytes": {"N": counted},
                "renditions": {"M": {"medium": _attribute(rendition)}},
            },
            _HOLDS_LEASE,
            attempt.lease_values,
        )
        image["UpdateExpression"] += " REMOVE leaseOwner, leaseExpiresAt"
        profile = {
            "TableName": TABLE,
            "Key": _key("user_profile", job.user_id),
            "UpdateExpression": "SET updatedAt = :at, #s.totalImages = #s.totalImages + :one, "
            "#s.totalStorageUsed = #s.totalStorageUsed + :bytes, #s.lastUploadAt = :upload",
            "ConditionExpression": "attribute_exists(#s)",
            "ExpressionAttributeNames": {"#s": "statistics"},
            "ExpressionAttributeValues": {
                ":at": {"S": at},
                ":one": {"N": "1"},
                ":bytes": {"N": counted},
                ":upload": {"S": job.event_time},
            },
        }
        while True:
            try:
                self._client.transact_write_items(
                    TransactItems=[{"Update": image}, {"Update": profile}],
                    ClientRequestToken=attempt.owner[-36:],
                )
            except self._client.exceptions.TransactionCanceledException as error:
                reasons = {reason["Code"] for reason in error.response["CancellationReasons"]}
                if reasons - {"None", "TransactionConflict"}:
                    raise
                time.sleep(random.uniform(0, 0.05))
            else:
                return

    def _write(self, attempt: Attempt, changes: Attributes, condition: str, values: Attributes) -> None:
        self._client.update_item(
            **_update(attempt, changes, condition, values), ReturnValuesOnConditionCheckFailure="ALL_OLD"
        )


def _claim(attempt: Attempt, at: str) -> Attributes:
    job, shard = attempt.job, _shard(attempt.job.image_id)
    return {
        **_progress(attempt, at),
        "status": {"S": "processing"},
        "statusShard": {"S": f"processing#{shard}"},
        "attempt": {"N": str(attempt.number)},
        "leaseOwner": {"S": attempt.owner},
        "leaseExpiresAt": {"N": str(round((time.time() + LEASE_S) * 1000))},
        "recipe": {"S": "medium-text"},
        "originalS3Key": {"S": job.key},
        "originalFileName": {"S": job.key.rpartition("/")[2]},
        "sourceBucket": {"S": job.bucket},
        "sourceVersion": _attribute({"eTag": job.e_tag, "sequencer": job.sequencer}),
        "createdAt": {"S": job.event_time},
        "dateShard": {"S": f"{job.event_time[:10]}#{shard}"},
    }


def _progress(attempt: Attempt, at: str) -> Attributes:
    entries = [
        _attribute({**entry, "attempt": attempt.number, "worker": WORKER}) for entry in attempt.unwritten
    ]
    return {
        "processingSteps": _attribute(attempt.steps),
        "updatedAt": {"S": at},
        "history": {"L": entries},
    }


def _update(attempt: Attempt, changes: Attributes, condition: str, values: Attributes) -> dict[str, Any]:
    """Return the parameters of an `UpdateItem` request."""
    assignments = [
        "history = list_append(if_not_exists(history, :none), :_history)"
        if name == "history"
        else f"{'#status' if name == 'status' else name} = :_{name}"
        for name in changes
    ]
    uses_status = "status" in changes or "#status" in condition
    return {
        "TableName": TABLE,
        "Key": _key(attempt.job.image_id, attempt.job.user_id),
        "UpdateExpression": f"SET {', '.join(assignments)}",
        "ConditionExpression": condition,
        **({"ExpressionAttributeNames": {"#status": "status"}} if uses_status else {}),
        "ExpressionAttributeValues": {
            **{f":_{name}": value for name, value in changes.items()},
            **values,
            ":none": {"L": []},
        },
    }


def _attribute(value: Value) -> Attributes:
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"M": {name: _attribute(member) for name, member in value.items()}}


def _key(image_id: str, user_id: str) -> Attributes:
    return {"imageId": {"S": image_id}, "userId": {"S": user_id}}


def _shard(image_id: str) -> str:
    return f"{zlib.crc32(image_id.encode()) % SHARDS:02d}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
