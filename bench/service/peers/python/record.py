"""The record: a claim under a lease, the steps as they end, the completion with the owner's statistics."""

import os
import random
import socket
import time
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

TABLE = os.environ["WORKER_TABLE_NAME"]
WORKER = f"{socket.gethostname()}-{os.getpid()}"
LEASE_S = 60
PROGRESS_S = 1.0  # ours waits 100 ms at the most: with that, this would write twice more
PROFILE_S = 60.0
SHARDS = 8
_NAMES = ("validation", "resize", "watermark")
_HELD = "leaseOwner = :owner AND attempt = :attempt AND #status = :processing"


class HeldByAnotherError(Exception):
    """Somebody else works on the picture."""


@dataclass
class Job:
    """What a notification tells of an upload."""

    bucket: str
    key: str
    user_id: str
    image_id: str
    e_tag: str
    sequencer: str
    event_time: str


def job_of(record: dict[str, Any]) -> Job:
    """Read one record of an S3 notification; the keys of the benchmark need no decoding."""
    stored = record["s3"]["object"]
    _, user_id, name = stored["key"].split("/")
    return Job(
        bucket=record["s3"]["bucket"]["name"],
        key=stored["key"],
        user_id=user_id,
        image_id=name.rpartition(".")[0],
        e_tag=stored["eTag"],
        sequencer=stored["sequencer"],
        event_time=record["eventTime"],
    )


@dataclass
class Claimed:
    """A picture in hand."""

    job: Job
    owner: str = field(default_factory=lambda: f"{WORKER}/{uuid4()}")
    attempt: int = 1
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)
    wrote_at: float = field(default_factory=time.monotonic)

    @property
    def held(self) -> dict[str, Any]:
        """The values of the condition under which anything is written."""
        return {
            ":owner": {"S": self.owner},
            ":attempt": {"N": str(self.attempt)},
            ":processing": {"S": "processing"},
        }


class Record:
    """The table, on one client of boto3."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - boto3 makes its classes as it runs
        self._client = client
        self._profiles: dict[str, tuple[float, Any]] = {}

    def profile_of(self, user_id: str) -> Any:  # noqa: ANN401 - an item, or None
        """Read the owner's wishes, at most a minute old."""
        read_at, item = self._profiles.get(user_id, (-PROFILE_S, None))
        if time.monotonic() - read_at >= PROFILE_S:
            answer = self._client.get_item(TableName=TABLE, Key=_key("user_profile", user_id))
            item = answer.get("Item")
            self._profiles[user_id] = (time.monotonic(), item)
        return item

    def claim(self, job: Job) -> Claimed | None:
        """Take the picture; None when it is done."""
        claimed, at = Claimed(job), _now()
        claimed.steps = {name: {"status": "pending"} for name in _NAMES}
        claimed.steps["validation"] = {"status": "processing", "startedAt": at}
        claimed.entries = [
            {"at": at, "status": "processing"},
            {"at": at, "step": "validation", "status": "processing"},
        ]
        try:
            self._write(claimed, _claim(claimed, at), "attribute_not_exists(imageId)", {})
        except self._client.exceptions.ConditionalCheckFailedException as refused:
            item = refused.response["Item"]
            if item["status"]["S"] == "completed":
                return None
            if item["status"]["S"] == "processing" and int(item["leaseExpiresAt"]["N"]) > time.time() * 1000:
                raise HeldByAnotherError from refused
            claimed.attempt = int(item["attempt"]["N"]) + 1
            seen = {":seen": item["attempt"], ":lease": item["leaseExpiresAt"]}
            self._write(claimed, _claim(claimed, at), "attempt = :seen AND leaseExpiresAt = :lease", seen)
        claimed.entries = []
        return claimed

    def step_ended(self, claimed: Claimed, name: str, detail: dict[str, Any]) -> None:
        """Note the end of a step and the start of the next; within a second it goes with the next write."""
        at = _now()
        claimed.steps[name] |= {"status": "completed", "completedAt": at, **detail}
        claimed.entries.append({"at": at, "step": name, "status": "completed"})
        for following in _NAMES[_NAMES.index(name) + 1 :][:1]:
            claimed.steps[following] = {"status": "processing", "startedAt": at}
            claimed.entries.append({"at": at, "step": following, "status": "processing"})
        if time.monotonic() - claimed.wrote_at >= PROGRESS_S:
            self._write(claimed, _progress(claimed, at), _HELD, claimed.held)
            claimed.entries, claimed.wrote_at = [], time.monotonic()

    def complete(self, claimed: Claimed, *, bytes_in: int, file_type: str, rendition: dict[str, Any]) -> None:
        """Write the end and the owner's statistics in one transaction."""
        at, job = _now(), claimed.job
        counted = str(bytes_in + rendition["bytes"])
        claimed.entries.append({"at": at, "status": "completed"})
        image = _update(
            claimed,
            {
                **_progress(claimed, at),
                "status": {"S": "completed"},
                "statusShard": {"S": f"completed#{_shard(job.image_id)}"},
                "processedAt": {"S": at},
                "processedS3Key": {"S": rendition["key"]},
                "originalFileSize": {"N": str(bytes_in)},
                "originalFileType": {"S": file_type},
                "countedBytes": {"N": counted},
                "renditions": {"M": {"medium": _wrap(rendition)}},
            },
            _HELD,
            claimed.held,
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
                    ClientRequestToken=claimed.owner[-36:],
                )
            except self._client.exceptions.TransactionCanceledException as cancelled:
                reasons = {reason["Code"] for reason in cancelled.response["CancellationReasons"]}
                if reasons - {"None", "TransactionConflict"}:
                    raise
                time.sleep(random.uniform(0, 0.05))  # noqa: S311 - spreads load only
            else:
                return

    def _write(
        self, claimed: Claimed, changes: dict[str, Any], condition: str, values: dict[str, Any]
    ) -> None:
        self._client.update_item(
            **_update(claimed, changes, condition, values), ReturnValuesOnConditionCheckFailure="ALL_OLD"
        )


def _claim(claimed: Claimed, at: str) -> dict[str, Any]:
    job, shard = claimed.job, _shard(claimed.job.image_id)
    return {
        **_progress(claimed, at),
        "status": {"S": "processing"},
        "statusShard": {"S": f"processing#{shard}"},
        "attempt": {"N": str(claimed.attempt)},
        "leaseOwner": {"S": claimed.owner},
        "leaseExpiresAt": {"N": str(round((time.time() + LEASE_S) * 1000))},
        "recipe": {"S": "medium-text"},
        "originalS3Key": {"S": job.key},
        "originalFileName": {"S": job.key.rpartition("/")[2]},
        "sourceBucket": {"S": job.bucket},
        "sourceVersion": _wrap({"eTag": job.e_tag, "sequencer": job.sequencer}),
        "createdAt": {"S": job.event_time},
        "dateShard": {"S": f"{job.event_time[:10]}#{shard}"},
    }


def _progress(claimed: Claimed, at: str) -> dict[str, Any]:
    entries = [_wrap({**entry, "attempt": claimed.attempt, "worker": WORKER}) for entry in claimed.entries]
    return {
        "processingSteps": _wrap(claimed.steps),
        "updatedAt": {"S": at},
        "history": {"L": entries},
    }


def _update(
    claimed: Claimed, changes: dict[str, Any], condition: str, values: dict[str, Any]
) -> dict[str, Any]:
    parts = [
        "history = list_append(if_not_exists(history, :none), :_history)"
        if name == "history"
        else f"{'#status' if name == 'status' else name} = :_{name}"
        for name in changes
    ]
    uses_status = "status" in changes or "#status" in condition
    return {
        "TableName": TABLE,
        "Key": _key(claimed.job.image_id, claimed.job.user_id),
        "UpdateExpression": f"SET {', '.join(parts)}",
        "ConditionExpression": condition,
        **({"ExpressionAttributeNames": {"#status": "status"}} if uses_status else {}),
        "ExpressionAttributeValues": {
            **{f":_{name}": value for name, value in changes.items()},
            **values,
            ":none": {"L": []},
        },
    }


def _wrap(value: str | int | dict[str, Any]) -> dict[str, Any]:
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"M": {name: _wrap(one) for name, one in value.items()}}


def _key(image_id: str, user_id: str) -> dict[str, Any]:
    return {"imageId": {"S": image_id}, "userId": {"S": user_id}}


def _shard(image_id: str) -> str:
    return f"{zlib.crc32(image_id.encode()) % SHARDS:02d}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
