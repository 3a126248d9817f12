"""Processing of one image with boto3, from the S3 notification to the completed record."""

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

import boto3  # type: ignore[import-untyped]  # has no types
from botocore.config import Config

from bench.service.peers.python.record import Client, Job, Record, Value, parse_record
from bench.service.peers.python.steps import STEPS, State


class ImageProcessor:
    """
    Processes images; may be used from several threads.

    Args:
        connections: Maximum number of connections to each AWS service.
    """

    def __init__(self, *, connections: int) -> None:
        session = boto3.session.Session()
        config = Config(
            max_pool_connections=connections,
            parameter_validation=False,
            s3={"addressing_style": "path"},
        )
        self._s3: Client = session.client("s3", config=config)
        self._record = Record(session.client("dynamodb", config=config))

    def process_notification(self, notification: dict[str, Any]) -> None:
        """Process every upload of an S3 notification."""
        for record in notification.get("Records", []):
            self.process(parse_record(record))

    def process(self, job: Job) -> None:
        """Claim, download, process, upload and complete one image."""
        start_s = time.monotonic()
        self._record.get_profile(job.user_id)
        attempt = self._record.claim(job)
        if attempt is None:
            return
        source = self._s3.get_object(Bucket=job.bucket, Key=job.key, IfMatch=f'"{job.e_tag}"')
        state = State(source["Body"].read())
        for name, step in STEPS:
            self._record.complete_step(attempt, name, step(state))
        key = f"processed/{job.user_id}/{job.image_id}.jpg"
        stored = self._s3.put_object(
            Bucket=job.bucket,
            Key=key,
            Body=state.result,
            ContentType="image/jpeg",
            IfNoneMatch="*",
            Metadata={"attempt": str(attempt.number), "source-etag": job.e_tag},
        )
        rendition: dict[str, Value] = {
            "key": key,
            "width": state.image.width,
            "height": state.image.height,
            "bytes": len(state.result),
            "format": "jpeg",
            "eTag": stored["ETag"].strip('"'),
        }
        self._record.complete_image(
            attempt,
            source_bytes=len(state.content),
            result_bytes=len(state.result),
            source_type=source["ContentType"],
            rendition=rendition,
        )
        log(
            event="image.completed",
            image_id=job.image_id,
            user_id=job.user_id,
            ms=round((time.monotonic() - start_s) * 1000),
            bytes_in=len(state.content),
            bytes_out=len(state.result),
        )


def log(**fields: str | int) -> None:
    """Write a log line in JSON."""
    sys.stderr.write(json.dumps({"at": datetime.now(UTC).isoformat(), **fields}) + "\n")
