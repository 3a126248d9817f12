"""One picture from its notification to the end, with boto3: what the Celery worker and the threads share."""

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config
from picture import STEPS
from record import Job, Record, job_of


class Settler:
    """
    Settles pictures; safe to use from several threads.

    Args:
        connections: Kept open to each service.
    """

    def __init__(self, *, connections: int) -> None:
        session = boto3.session.Session()
        config = Config(
            max_pool_connections=connections,
            parameter_validation=False,
            s3={"addressing_style": "path"},
        )
        self._s3: Any = session.client("s3", config=config)
        self._record = Record(session.client("dynamodb", config=config))

    def settle_all(self, notification: dict[str, Any]) -> None:
        """Settle everything that a notification of S3 tells of."""
        for record in notification.get("Records", []):
            self.settle(job_of(record))

    def settle(self, job: Job) -> None:
        """Take one picture to its end."""
        began = time.monotonic()
        self._record.profile_of(job.user_id)
        claimed = self._record.claim(job)
        if claimed is None:
            return
        source = self._s3.get_object(Bucket=job.bucket, Key=job.key, IfMatch=f'"{job.e_tag}"')
        state: dict[str, Any] = {"content": source["Body"].read()}
        for name, step in STEPS:
            self._record.step_ended(claimed, name, step(state))
        key = f"processed/{job.user_id}/{job.image_id}.jpg"
        stored = self._s3.put_object(
            Bucket=job.bucket,
            Key=key,
            Body=state["result"],
            ContentType="image/jpeg",
            IfNoneMatch="*",
            Metadata={"attempt": str(claimed.attempt), "source-etag": job.e_tag},
        )
        rendition = {
            "key": key,
            "width": state["size"][0],
            "height": state["size"][1],
            "bytes": len(state["result"]),
            "format": "jpeg",
            "eTag": stored["ETag"].strip('"'),
        }
        self._record.complete(
            claimed, bytes_in=len(state["content"]), file_type=source["ContentType"], rendition=rendition
        )
        log(
            event="image.completed",
            image_id=job.image_id,
            user_id=job.user_id,
            ms=round((time.monotonic() - began) * 1000),
            bytes_in=len(state["content"]),
            bytes_out=len(state["result"]),
        )


def log(**fields: str | int) -> None:
    """Write one line."""
    sys.stderr.write(json.dumps({"at": datetime.now(UTC).isoformat(), **fields}) + "\n")
