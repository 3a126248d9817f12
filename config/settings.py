"""The settings: typed, bounded, one sentence each; from the environment or a `.env` file."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CLOUDFORMATION: Final = Path(__file__).parent / "cloudformation"
FONT: Final = Path(__file__).parent / "fonts" / "DejaVuSans-Bold.ttf"

SIZES: Final[dict[str, tuple[int, int]]] = {
    "thumbnail": (150, 150),
    "small": (400, 400),
    "medium": (800, 600),
    "large": (1920, 1920),
}
"""Name -> (width, height) in pixels of the box that a rendition is fitted inside."""


class LogFormat(StrEnum):
    """How log lines are written."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class SizeName(StrEnum):
    """The sizes that a picture can be made in."""

    THUMBNAIL = "thumbnail"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


def usable_cpus() -> int:
    """Count the CPUs that this process may use: its affinity, less a container's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    if quota_file.exists():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cpus = min(cpus, max(1, round(int(quota) / int(period))))
    return cpus


class Settings(BaseSettings):
    """Everything that can be set. Names are `WORKER_` and the field's name in capitals, but for AWS's own."""

    model_config = SettingsConfigDict(
        env_prefix="WORKER_",
        env_file=".env",
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    region: str | None = Field(None, validation_alias="AWS_REGION", description="The AWS region.")
    endpoint_url: str | None = Field(
        None,
        validation_alias="AWS_ENDPOINT_URL",
        description="Another AWS than Amazon's, such as LocalStack.",
    )

    bucket: str = Field("image-uploads", description="The bucket that pictures are uploaded to.")
    output_bucket: str | None = Field(None, description="The bucket for results; the upload bucket if unset.")
    uploads_prefix: str = Field(
        "uploads/", description="Where uploads lie: {prefix}{userId}/{imageId}.{ext}."
    )
    processed_prefix: str = Field("processed/", description="Where results go.")
    queue_name: str = Field("image-events", description="The queue that S3 announces uploads to.")
    dead_letter_queue_name: str = Field(
        "image-events-dead", description="The queue for messages that nobody can process."
    )
    table_name: str = Field("image-processing-metadata", description="The DynamoDB table of the record.")
    index_shards: int = Field(
        8, ge=1, le=64, description="Key values that a status or a day is spread over; fixed with the table."
    )

    processes: int = Field(
        default_factory=usable_cpus, ge=1, le=256, description="Decoder children; default: the usable CPUs."
    )
    concurrency: int | None = Field(
        None, ge=1, le=1024, description="Messages in hand at once; default: four for each decoder child."
    )
    visibility_timeout_s: int = Field(
        60, ge=6, le=43_200, description="How long a message stays hidden, and a lease valid, unless renewed."
    )
    wait_time_s: int = Field(
        20, ge=0, le=20, description="How long one request to the queue waits for messages."
    )
    max_receives: int = Field(
        5, ge=1, le=1000, description="Tries of a message before it becomes a dead letter."
    )
    drain_timeout_s: float = Field(
        25.0, ge=0, le=3600, description="How long a stopping worker may finish what it has in hand."
    )
    record_delay_ms: int = Field(
        100,
        ge=0,
        le=10_000,
        description="How long a step's outcome may wait to be written with the next one.",
    )

    max_bytes: int = Field(50 * 1024 * 1024, ge=1024, le=2**31, description="Largest upload that is read.")
    max_pixels: int = Field(
        100_000_000,
        ge=1,
        le=2**31,
        description="Most pixels that are decoded, all frames of one picture counted.",
    )
    max_frames: int = Field(500, ge=1, le=100_000, description="Most frames that a picture may have.")
    step_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="How long one step of one picture may take."
    )
    child_memory_mb: int = Field(
        1536, ge=256, le=1_048_576, description="Address space of a decoder child, in mebibytes."
    )
    child_pictures: int = Field(500, ge=1, description="Pictures after which a decoder child is replaced.")

    default_size: SizeName = Field(SizeName.MEDIUM, description="The size that `processedS3Key` names.")
    extra_sizes: list[SizeName] = Field(
        default_factory=list, description='Further sizes of each picture, as a JSON list: ["thumbnail"].'
    )
    quality: int = Field(82, ge=1, le=100, description="Of JPEG and WebP results.")
    watermark_enabled: bool = Field(
        default=True, description="Whether pictures are marked unless their owner objects."
    )
    watermark_text: str = Field(
        "Processed by Image Platform", min_length=1, max_length=200, description="What the watermark says."
    )
    profile_cache_s: float = Field(
        60.0, ge=0, le=86_400, description="How old a user's preferences may be when they are used."
    )
    retention_days: int | None = Field(
        None, ge=1, le=36_500, description="How long records are kept after the upload; for ever if unset."
    )
    log_format: LogFormat = Field(
        LogFormat.AUTO, description="auto: console on a terminal, JSON otherwise; or console, or json."
    )
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error."
    )

    @property
    def results_bucket(self) -> str:
        """The bucket that results are written to."""
        return self.output_bucket or self.bucket

    @property
    def slots(self) -> int:
        """How many messages may be in hand at once."""
        return self.concurrency or 4 * self.processes

    @model_validator(mode="after")
    def _prefixes_do_not_loop(self) -> Self:
        for name in ("uploads_prefix", "processed_prefix"):
            prefix = getattr(self, name)
            if not prefix.endswith("/") or prefix.startswith("/"):
                message = (
                    f"WORKER_{name.upper()} is {prefix!r}: it has to end, and not to begin, with a slash"
                )
                raise ValueError(message)
        nested = self.processed_prefix.startswith(self.uploads_prefix) or self.uploads_prefix.startswith(
            self.processed_prefix
        )
        if nested and self.results_bucket == self.bucket:
            message = (
                f"WORKER_PROCESSED_PREFIX {self.processed_prefix!r} and WORKER_UPLOADS_PREFIX "
                f"{self.uploads_prefix!r} lie inside each other, so results would be announced as uploads; "
                "choose prefixes apart, or set WORKER_OUTPUT_BUCKET"
            )
            raise ValueError(message)
        return self
