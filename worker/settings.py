"""The settings: typed, bounded, one sentence each; from the environment or a `.env` file."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Required, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from typing_extensions import TypedDict

FONT: Final = Path(__file__).parent / "data" / "fonts" / "DejaVuSans-Bold.ttf"

SIZES: Final[dict[str, tuple[int, int]]] = {
    "thumbnail": (150, 150),
    "small": (400, 400),
    "medium": (800, 600),
    "large": (1920, 1920),
}
"""Name -> (width, height) in pixels of the box that a rendition is fitted inside."""

Anchor = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"
]
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
Background = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?$")]
Side = Annotated[int, Field(ge=1, le=16_384)]


class SizeSettings(TypedDict, total=False):
    """One named size; whatever is left out is as for the sizes that come with the worker."""

    width: Required[Side]
    height: Required[Side]
    fit: Literal["inside", "cover", "contain", "fill"]
    gravity: Anchor
    background: Background
    enlarge: bool
    format: Literal["source", "jpeg", "png", "webp", "avif", "auto"]
    quality: Annotated[int, Field(ge=1, le=100)]
    target_bytes: Annotated[int, Field(ge=1000)]


class LogFormat(StrEnum):
    """How log lines are written."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


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
        5, ge=1, le=997, description="Tries of a message before it becomes a dead letter."
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
    decoder_memory_mb: int = Field(
        1536, ge=256, le=1_048_576, description="Address space of a decoder child, in mebibytes."
    )
    decoder_max_images: int = Field(
        500, ge=1, description="Pictures after which a decoder child is replaced."
    )
    decoder_growth_mb: int = Field(
        384, ge=32, le=1_048_576, description="Growth in memory after which a decoder child is replaced."
    )
    min_side_px: int = Field(
        1, ge=1, le=65_535, description="Shortest side that a picture may have; below it is refused."
    )

    sizes: dict[str, SizeSettings] = Field(
        default_factory=dict,
        description='Sizes of your own, as JSON: {"card": {"width": 600, "height": 400, "fit": "cover"}}.',
    )
    default_size: str = Field("medium", description="The size that `processedS3Key` names.")
    extra_sizes: list[str] = Field(
        default_factory=list, description='Further sizes of each picture, as a JSON list: ["thumbnail"].'
    )
    animation: Literal["first", "keep", "reject"] = Field(
        "first", description="What becomes of animations: their first frame, all of GIF and WebP, or refusal."
    )
    keep_credits: bool = Field(
        default=True, description="Whether results carry the upload's artist and copyright."
    )
    record_location: bool = Field(
        default=False, description="Whether the record learns where a picture was taken; results never do."
    )
    quality: int = Field(82, ge=1, le=100, description="Of JPEG and WebP results.")
    watermark_enabled: bool = Field(
        default=True, description="Whether pictures are marked unless their owner objects."
    )
    watermark_text: str = Field(
        "Processed by Image Platform", min_length=1, max_length=200, description="What the watermark says."
    )
    watermark_image: str | None = Field(
        None, description="A logo in place of the text: s3://bucket/key, or the path of a file."
    )
    watermark_logos_prefix: str = Field(
        "logos/", description="Where in the upload bucket the logos lie that users name in their wishes."
    )
    watermark_logo_cache_s: float = Field(
        60.0, ge=0, le=86_400, description="How long a logo is used before its eTag is compared again."
    )
    watermark_position: Anchor = Field("bottom-right", description="Where the watermark stands.")
    watermark_tiled: bool = Field(default=False, description="Whether the watermark covers all the picture.")
    watermark_rotation_deg: int = Field(
        0, ge=-180, le=180, description="How far the watermark is turned, counterclockwise."
    )
    watermark_opacity_share: float = Field(
        0.55, gt=0, le=1, description="How much the watermark hides: 1 is solid."
    )
    watermark_text_share: float = Field(
        0.045, gt=0, le=1, description="Height of the text, as a share of the picture's shorter side."
    )
    watermark_image_share: float = Field(
        0.2, gt=0, le=1, description="Longer side of the logo, as a share of the picture's shorter side."
    )
    watermark_min_px: int = Field(1, ge=1, le=10_000, description="Least height of text, or length of logo.")
    watermark_max_px: int = Field(
        10_000, ge=8, le=10_000, description="Greatest height of text, or length of logo."
    )
    watermark_min_side_px: int = Field(
        1, ge=1, le=65_535, description="Results with a shorter side below this are left unmarked."
    )
    watermark_colour: Colour = Field("#ffffff", description="Colour of the text, #rrggbb.")
    watermark_outline: Colour | Literal["none"] = Field(
        "#000000", description="Colour of the outline around the text, #rrggbb, or none."
    )
    font_files: list[Path] = Field(
        default_factory=list,
        description="Fonts for characters that DejaVu Sans has not, as a JSON list of paths.",
    )
    profile_cache_s: float = Field(
        60.0, ge=0, le=86_400, description="How old a user's preferences may be when they are used."
    )
    retention_days: int | None = Field(
        None, ge=1, le=36_500, description="How long records are kept after the upload; for ever if unset."
    )
    http_host: str = Field(
        "0.0.0.0",  # noqa: S104 - probes and scrapes come from outside # nosec B104
        min_length=1,
        description="Where health and metrics are served.",
    )
    http_port: int = Field(
        8080, ge=0, le=65_535, description="Port of /healthz, /readyz and /metrics; 0 for none."
    )
    traces: bool = Field(
        default=False, description="Whether spans go out by OTLP, as the OTEL_* variables say; extra `otel`."
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
    def queue_receives(self) -> int:
        """
        Receives after which the queue itself makes a message a dead letter.

        More than the worker's own tries: a stop, or another worker that has the image, costs a receive too,
        and the worker's own dead letters carry their reasons.
        """
        return self.max_receives + 3

    @property
    def slots(self) -> int:
        """How many messages may be in hand at once."""
        return self.concurrency or 4 * self.processes

    @model_validator(mode="after")
    def _sizes_are_known(self) -> Self:
        known = SIZES.keys() | self.sizes.keys()
        for name in (self.default_size, *self.extra_sizes):
            if name not in known:
                message = f"there is no size {name!r}: these are {', '.join(sorted(known))}; see WORKER_SIZES"
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _marks_have_a_size(self) -> Self:
        if self.watermark_min_px > self.watermark_max_px:
            message = (
                "WORKER_WATERMARK_MIN_PX is above WORKER_WATERMARK_MAX_PX; lower the one or raise the other"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _fonts_are_there(self) -> Self:
        for file in self.font_files:
            if not file.is_file():
                message = f"WORKER_FONT_FILES names {file}, which is no file"
                raise ValueError(message)
        return self

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
