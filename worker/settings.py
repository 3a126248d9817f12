"""Settings of the worker, read from environment variables, a `.env` file or a configuration file."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Required, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
    with_config,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import TypedDict

from worker.configuration_file import ConfigurationFile, read_configuration_file, suggestion
from worker.domain.key_template import KeyTemplateError
from worker.domain.keys import DEFAULT_UPLOAD_KEY, UploadKeyTemplate
from worker.domain.result_keys import DEFAULT_RESULT_KEY, ResultKeyTemplate
from worker.setting_errors import describe

FONT: Final = Path(__file__).parent / "data" / "fonts" / "DejaVuSans-Bold.ttf"

SIZES: Final[dict[str, tuple[int, int]]] = {
    "thumbnail": (150, 150),
    "small": (400, 400),
    "medium": (800, 600),
    "large": (1920, 1920),
}
"""Name of each built-in size -> (width, height) in pixels of the box that a rendition fits into."""

Anchor = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"
]
Gravity = Anchor | Literal["smart"]
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
Background = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?$")]
Side = Annotated[int, Field(ge=1, le=16_384)]
SizeName = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]


_STRICT: Final = ConfigDict(extra="forbid")
MAX_SIZES: Final = 16
"""Sizes that one image is made in at most."""

OneOrMore = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(min_length=1),
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
]
"""A text, or a list of several."""


@with_config(_STRICT)
class SizeSettings(TypedDict, total=False):
    """One named size; keys that are left out have the values of the built-in sizes."""

    width: Required[Side]
    height: Required[Side]
    fit: Literal["inside", "cover", "contain", "fill"]
    gravity: Gravity
    background: Background
    enlarge: bool
    format: Literal["source", "jpeg", "png", "webp", "avif", "auto"]
    quality: Annotated[int, Field(ge=1, le=100)]
    target_bytes: Annotated[int, Field(ge=1000)]
    progressive: bool
    subsampling: Literal["auto", "4:4:4", "4:2:2", "4:2:0"]


@with_config(_STRICT)
class WatermarkSettings(TypedDict, total=False):
    """The watermark of a recipe; keys that are left out have the values of the settings `watermark_*`."""

    enabled: bool
    text: Annotated[str, Field(min_length=1, max_length=200)]
    image: str
    position: Anchor
    tiled: bool
    rotation_deg: Annotated[int, Field(ge=-180, le=180)]
    opacity_share: Annotated[float, Field(gt=0, le=1)]
    text_share: Annotated[float, Field(gt=0, le=1)]
    image_share: Annotated[float, Field(gt=0, le=1)]
    min_px: Annotated[int, Field(ge=1, le=10_000)]
    max_px: Annotated[int, Field(ge=8, le=10_000)]
    min_side_px: Annotated[int, Field(ge=1, le=65_535)]
    colour: Colour
    outline: Colour | Literal["none"]


@with_config(_STRICT)
class RecipeSettings(TypedDict, total=False):
    """
    A recipe for the images that it matches; keys that are left out have the values of the settings.

    `match` and `user` select images, `preferences` is whether their owners' preferences apply. `format`,
    `fit`, `gravity` and `quality` apply to all of its sizes.
    """

    match: OneOrMore
    user: OneOrMore
    sizes: Annotated[list[SizeName], Field(min_length=1, max_length=MAX_SIZES)]
    format: Literal["source", "jpeg", "png", "webp", "avif", "auto"]
    fit: Literal["inside", "cover", "contain", "fill"]
    gravity: Gravity
    quality: Annotated[int, Field(ge=1, le=100)]
    cache_control: Annotated[str, Field(pattern="^[ -~]*$")]
    watermark: Annotated[
        WatermarkSettings,
        BeforeValidator(lambda value: {"enabled": value} if isinstance(value, bool) else value),
    ]
    animation: Literal["first", "keep", "reject"]
    keep_credits: bool
    record_location: bool
    preferences: bool


class LogFormat(StrEnum):
    """Format of log lines."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


def usable_cpus() -> int:
    """Return the number of CPUs available to this process, by its affinity and its container's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    if quota_file.exists():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cpus = min(cpus, max(1, round(int(quota) / int(period))))
    return cpus


class Settings(BaseSettings):
    """
    All settings.

    The environment variable of a field is `WORKER_` and the field's name in capitals, except for AWS's own.
    """

    model_config = SettingsConfigDict(
        env_prefix="WORKER_",
        env_file=".env",
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    config_file: str | None = Field(
        None,
        description="Configuration file in TOML, with settings and recipes: a path, or s3://bucket/key.",
    )
    region: str | None = Field(None, validation_alias="AWS_REGION", description="AWS region.")
    endpoint_url: str | None = Field(
        None,
        validation_alias="AWS_ENDPOINT_URL",
        description="Endpoint of an AWS emulator, such as LocalStack.",
    )
    aws_fast_path: bool = Field(
        default=True,
        description="Whether the calls made for every image skip most of botocore's work, to save CPU time.",
    )

    bucket: str = Field("image-uploads", description="Bucket that images are uploaded to.")
    output_bucket: str | None = Field(None, description="Bucket for results; the upload bucket if unset.")
    uploads_prefix: str = Field(
        "uploads/",
        description="Key prefix of uploads, {prefix} in WORKER_UPLOAD_KEY; empty for the whole bucket.",
    )
    upload_key: str = Field(
        DEFAULT_UPLOAD_KEY,
        description="Key of an upload: a template of {prefix}, {userId}, {folders}, {imageId} or "
        "{imageId:hash}, and {ext}.",
    )
    upload_user: str | None = Field(
        None, description="Owner of all uploads, if WORKER_UPLOAD_KEY does not contain {userId}."
    )
    processed_prefix: str = Field("processed/", description="Key prefix of results.")
    result_key: str = Field(
        DEFAULT_RESULT_KEY,
        description="Key of a result: a template of {prefix}, {userId}, {imageId}, {@size} or {size}, "
        "{version} and {ext}.",
    )
    queue_name: str = Field("image-events", description="Queue that receives the S3 event notifications.")
    dead_letter_queue_name: str = Field(
        "image-events-dead", description="Dead-letter queue for messages that cannot be processed."
    )
    table_name: str = Field("image-processing-metadata", description="DynamoDB table of the records.")
    index_shards: int = Field(
        8,
        ge=1,
        le=64,
        description="Index partition keys for each status and each day; fixed when the table is created.",
    )
    compact_history: bool = Field(
        default=False,
        description="Whether history entries omit attempt and worker, which the first of the attempt has.",
    )

    processes: int = Field(
        default_factory=usable_cpus,
        ge=1,
        le=256,
        description="Number of decoder processes; default: one for each available CPU.",
    )
    concurrency: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Maximum number of messages in flight; default: four for each decoder process.",
    )
    visibility_timeout_s: int = Field(
        60,
        ge=6,
        le=43_200,
        description="SQS visibility timeout and duration of a lease; both are renewed while work goes on.",
    )
    wait_time_s: int = Field(
        20, ge=0, le=20, description="SQS long-polling wait time of one receive request."
    )
    max_receives: int = Field(
        5, ge=1, le=997, description="Receives of a message before it is sent to the dead-letter queue."
    )
    drain_timeout_s: float = Field(
        25.0,
        ge=0,
        le=3600,
        description="How long a worker that shuts down may finish the messages in flight.",
    )
    record_delay_ms: int = Field(
        100,
        ge=0,
        le=10_000,
        description="How long the outcome of a step may wait to be written together with the next.",
    )

    max_bytes: int = Field(80 * 1024 * 1024, ge=1024, le=2**31, description="Maximum size of an upload.")
    max_pixels: int = Field(
        100_000_000,
        ge=1,
        le=2**31,
        description="Maximum number of pixels that are decoded of an image, over all its frames.",
    )
    max_stored_pixels: int = Field(
        300_000_000,
        ge=1,
        le=2**31,
        description="Maximum number of pixels in a file; a JPEG may be decoded at a fraction of its size.",
    )
    max_frames: int = Field(500, ge=1, le=100_000, description="Maximum number of frames of an image.")
    step_timeout_s: float = Field(30.0, gt=0, le=3600, description="Timeout of one step of one image.")
    decoder_memory_mb: int = Field(
        1536, ge=256, le=1_048_576, description="Limit of a decoder process's address space."
    )
    decoder_confinement: Literal["best-effort", "require"] = Field(
        "best-effort",
        description="Whether the worker starts where the system cannot confine decoder processes fully.",
    )
    decoder_reuse: Literal["batch", "same-user", "never"] = Field(
        "same-user",
        description="Images that a decoder process may process after its first: any, of the same user, none.",
    )
    decoder_max_images: int = Field(
        500, ge=1, description="Number of images after which a decoder process is replaced."
    )
    decoder_growth_mb: int = Field(
        384, ge=32, le=1_048_576, description="Memory growth after which a decoder process is replaced."
    )
    min_side_px: int = Field(
        1,
        ge=1,
        le=65_535,
        description="Minimum length of an image's shorter side; smaller images are rejected.",
    )

    sizes: dict[SizeName, SizeSettings] = Field(
        default_factory=dict,
        description='Additional sizes, as JSON: {"card": {"width": 600, "height": 400, "fit": "cover"}}.',
    )
    default_size: str = Field("medium", description="Size of the main result, whose key is `processedS3Key`.")
    extra_sizes: list[str] = Field(
        default_factory=list,
        max_length=MAX_SIZES - 1,
        description='Further sizes of each result, at most 15, as a JSON list: ["thumbnail"].',
    )
    recipes: list[RecipeSettings] = Field(
        default_factory=list,
        description="Recipes for images by key or user, the first match winning; see docs/recipes.md.",
    )
    animation: Literal["first", "keep", "reject"] = Field(
        "first",
        description="Animations: the first frame only, all frames (GIF, WebP, PNG, AVIF), or rejected.",
    )
    keep_credits: bool = Field(
        default=True, description="Whether results keep the artist, copyright and credit of the upload."
    )
    record_location: bool = Field(
        default=False,
        description="Whether the GPS position of the upload is recorded; results never contain it.",
    )
    cache_control: str | None = Field(
        None,
        max_length=256,
        description="Cache-Control header of results, or empty for none; if unset, no-cache, and with "
        "{version} in their keys: public, max-age=31536000, immutable.",
    )
    quality: int = Field(82, ge=1, le=100, description="Quality of JPEG, WebP and AVIF results.")
    encoder_effort: Literal["low", "medium", "high"] = Field(
        "low", description="How much CPU time encoders take to make results of the same quality smaller."
    )
    watermark_enabled: bool = Field(
        default=True, description="Whether results get a watermark unless the user's preferences turn it off."
    )
    watermark_text: str = Field(
        "Processed by Image Platform", min_length=1, max_length=200, description="Text of the watermark."
    )
    watermark_image: str | None = Field(
        None, description="Logo used in place of the text: s3://bucket/key, or the path of a file."
    )
    watermark_logos_prefix: str = Field(
        "logos/",
        description="Key prefix, in the upload bucket, of the logos that users name in their preferences.",
    )
    watermark_logo_cache_s: float = Field(
        60.0, ge=0, le=86_400, description="How long a logo is cached before its ETag is compared again."
    )
    watermark_position: Anchor = Field("bottom-right", description="Position of the watermark.")
    watermark_tiled: bool = Field(
        default=False, description="Whether the watermark is repeated over the whole image."
    )
    watermark_rotation_deg: int = Field(
        0, ge=-180, le=180, description="Rotation of the watermark, counterclockwise."
    )
    watermark_opacity_share: float = Field(
        0.55, gt=0, le=1, description="Opacity of the watermark; 1 is opaque."
    )
    watermark_text_share: float = Field(
        0.045, gt=0, le=1, description="Height of the text, as a share of the image's shorter side."
    )
    watermark_image_share: float = Field(
        0.2, gt=0, le=1, description="Longer side of the logo, as a share of the image's shorter side."
    )
    watermark_min_px: int = Field(
        1, ge=1, le=10_000, description="Minimum height of the text, or length of the logo."
    )
    watermark_max_px: int = Field(
        10_000, ge=8, le=10_000, description="Maximum height of the text, or length of the logo."
    )
    watermark_min_side_px: int = Field(
        1, ge=1, le=65_535, description="Results whose shorter side is below this get no watermark."
    )
    watermark_colour: Colour = Field("#ffffff", description="Colour of the text: #rrggbb.")
    watermark_outline: Colour | Literal["none"] = Field(
        "#000000", description="Colour of the outline of the text: #rrggbb, or none."
    )
    font_files: list[Path] = Field(
        default_factory=list,
        description="Fonts for characters that DejaVu Sans does not have, as a JSON list of paths.",
    )
    profile_cache_s: float = Field(
        60.0, ge=0, le=86_400, description="How long a user's preferences are cached."
    )
    require_scan: bool = Field(
        default=False,
        description="Whether images start only after GuardDuty has found no malware in them.",
    )
    cors_origins: list[str] = Field(
        default_factory=list,
        description="Origins whose pages may upload by a form, as a JSON list; used by `provision`.",
    )
    events: bool = Field(
        default=False,
        description="Whether the table has a stream, which is the source of events for applications.",
    )
    events_target: str = Field(
        "default",
        min_length=1,
        description="Where `events replay` publishes: a bus, or the ARN of an SQS queue or SNS topic.",
    )
    events_pipe_name: str = Field(
        "image-worker-events", min_length=1, description="EventBridge pipe that publishes events."
    )
    events_dead_letter_queue_name: str = Field(
        "image-state-changes-dead", description="Dead-letter queue for events that cannot be delivered."
    )
    webhook_secret: SecretStr | None = Field(
        None, description="Secret that `events forward` signs with: whsec_ and 24 to 64 bytes in base64."
    )
    retention_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="How long records are kept after the first claim of an upload; forever if unset.",
    )
    delete_expired_objects: bool = Field(
        default=False,
        description="Whether `events delete-expired` deletes upload and results when a record expires.",
    )
    http_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address that health and metrics are served on; the container image sets 0.0.0.0.",
    )
    http_port: int = Field(
        8080, ge=0, le=65_535, description="Port of /healthz, /readyz and /metrics; 0 turns them off."
    )
    console_host: str = Field(
        "127.0.0.1", min_length=1, description="Address that the web console listens on."
    )
    console_port: int = Field(
        8081, ge=0, le=65_535, description="Port of the web console; with 0, `local` starts none."
    )
    console_prefix: str = Field(
        "", description="Path prefix of the web console's pages, such as /images, without a slash at its end."
    )
    console_url: str | None = Field(
        None, description="URL at which browsers reach the web console; unset if only from this machine."
    )
    console_authentication: Literal["none", "token", "alb", "header"] = Field(
        "token",
        description="How the web console authenticates users: not at all (from this machine only), by the "
        "link printed at its start, by an Application Load Balancer, or by a header of an authenticating "
        "proxy.",
    )
    console_operators: list[str] = Field(
        default_factory=list,
        description="Names of the operators, with `alb` and `header`; all other users are viewers.",
    )
    console_operator_groups: list[str] = Field(
        default_factory=list,
        description="Groups whose members are operators, with `alb` and `header`.",
    )
    console_alb_arn: str | None = Field(
        None, description="ARN of the load balancer that authenticates the users, with `alb`."
    )
    console_alb_issuer: str | None = Field(
        None, description="Issuer of the identity provider, with `alb`; any if unset."
    )
    console_alb_client_id: str | None = Field(
        None, description="Client id of the load balancer at the identity provider, with `alb`; any if unset."
    )
    console_name_claim: str = Field(
        "email", min_length=1, description="Claim with the name of a user, with `alb`."
    )
    console_groups_claim: str | None = Field(None, description="Claim with the groups of a user, with `alb`.")
    console_user_header: str | None = Field(
        None, description="Header in which the proxy names the user, with `header`: X-Forwarded-User."
    )
    console_groups_header: str | None = Field(
        None, description="Header in which the proxy lists the groups of the user, with `header`."
    )
    console_proxies: list[str] = Field(
        default_factory=list,
        description="Addresses or networks of the authenticating proxy, with `header`, as a JSON list.",
    )
    console_grafana_url: str | None = Field(
        None,
        pattern="^https?://",
        description="URL of a Grafana dashboard, to which the queue's page links.",
    )
    traces: bool = Field(
        default=False,
        description="Whether traces are exported by OTLP, as set by OTEL_* variables; needs extra `otel`.",
    )
    log_format: LogFormat = Field(
        LogFormat.AUTO, description="Log format; auto is console on a terminal and JSON otherwise."
    )
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="Minimum level of log lines."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as in the base class
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the one with the highest precedence first."""
        return init_settings, env_settings, dotenv_settings, ConfigurationFileSource(settings_cls)

    def read_file(self) -> ConfigurationFile | None:
        """Read the configuration file again; None if there is none. Raises `ConfigurationError`."""
        if not self.config_file:
            return None
        return read_configuration_file(self.config_file, endpoint_url=self.endpoint_url, region=self.region)

    @property
    def results_bucket(self) -> str:
        """Bucket that results are written to."""
        return self.output_bucket or self.bucket

    @property
    def upload_keys(self) -> UploadKeyTemplate:
        """Template of the keys of uploads; their prefix is that of the notifications and the permissions."""
        return UploadKeyTemplate.parse(
            self.upload_key, prefix=self.uploads_prefix, constant_user=self.upload_user or None
        )

    @property
    def result_keys(self) -> ResultKeyTemplate:
        """Template of the keys of results."""
        return ResultKeyTemplate.parse(self.result_key, prefix=self.processed_prefix)

    @property
    def queue_receives(self) -> int:
        """
        Receives after which SQS itself moves a message to the dead-letter queue.

        It is higher than `max_receives`, because a shutdown and another worker's lease use up a receive too,
        and because dead letters sent by the worker contain the reason.
        """
        return self.max_receives + 3

    @property
    def slots(self) -> int:
        """Maximum number of messages in flight."""
        return self.concurrency or 4 * self.processes

    @model_validator(mode="after")
    def _require_known_sizes(self) -> Self:
        known = SIZES.keys() | self.sizes.keys()
        used = [("WORKER_DEFAULT_SIZE", self.default_size)]
        used += [("WORKER_EXTRA_SIZES", name) for name in self.extra_sizes]
        for variable, name in used:
            if name not in known:
                message = (
                    f"{variable} contains {name!r}, which is not a known size; use one of "
                    f"{', '.join(sorted(known))}, or define it in WORKER_SIZES"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _require_ordered_watermark_limits(self) -> Self:
        if self.watermark_min_px > self.watermark_max_px:
            message = (
                f"WORKER_WATERMARK_MIN_PX is {self.watermark_min_px}, above WORKER_WATERMARK_MAX_PX "
                f"({self.watermark_max_px}); lower the first or raise the second"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _require_font_files(self) -> Self:
        for file in self.font_files:
            if not file.is_file():
                message = (
                    f"WORKER_FONT_FILES contains {file}, which is not a file; correct the path or remove it"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _require_separate_prefixes(self) -> Self:
        for name in ("uploads_prefix", "processed_prefix"):
            prefix = getattr(self, name)
            if prefix == "" and name == "uploads_prefix":
                continue  # uploads anywhere in the bucket; results then need a bucket of their own
            if not prefix.endswith("/") or prefix.startswith("/"):
                message = (
                    f"WORKER_{name.upper()} is {prefix!r}, which is not a valid key prefix; "
                    "it must end with a slash and not begin with one"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _require_valid_upload_key(self) -> Self:
        try:
            prefix = self.upload_keys.prefix
        except KeyTemplateError as error:
            message = f"WORKER_UPLOAD_KEY is {self.upload_key!r}, which {error}"
            raise ValueError(message) from error
        if "uploads_prefix" in self.model_fields_set and not prefix.startswith(self.uploads_prefix):
            message = (
                f"WORKER_UPLOAD_KEY is {self.upload_key!r}, which does not begin with WORKER_UPLOADS_PREFIX "
                f"{self.uploads_prefix!r}; begin it with {{prefix}}, or unset WORKER_UPLOADS_PREFIX"
            )
            raise ValueError(message)
        overlap = self.processed_prefix.startswith(prefix) or prefix.startswith(self.processed_prefix)
        if overlap and self.results_bucket == self.bucket:
            is_set = prefix == self.uploads_prefix
            setting = "WORKER_UPLOADS_PREFIX" if is_set else "the prefix of WORKER_UPLOAD_KEY"
            message = (
                f"WORKER_PROCESSED_PREFIX {self.processed_prefix!r} and {setting} {prefix!r} overlap in one "
                "bucket, so S3 would announce results as uploads; "
                "choose prefixes that do not overlap, or set WORKER_OUTPUT_BUCKET"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _require_distinct_result_keys(self) -> Self:
        try:
            _ = self.result_keys
        except KeyTemplateError as error:
            message = f"WORKER_RESULT_KEY is {self.result_key!r}, which {error}"
            raise ValueError(message) from error
        return self

    @model_validator(mode="after")
    def _require_header_value(self) -> Self:
        if self.cache_control and not (self.cache_control.isascii() and self.cache_control.isprintable()):
            message = (
                f"WORKER_CACHE_CONTROL is {self.cache_control!r}, which is not a header value; "
                "set directives such as public, max-age=300"
            )
            raise ValueError(message)
        return self


class ConfigurationFileSource(PydanticBaseSettingsSource):
    """The values of the configuration file, if the environment or the `.env` file names one."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002 - as in the base class
        field_name: str,
    ) -> tuple[Any, str, bool]:
        """Return nothing: all values are returned at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """
        Return the values of the file.

        Raises:
            ConfigurationError: The file cannot be read, or contains a name or a value that is invalid.
        """
        name = self.current_state.get("config_file")
        if not name:
            return {}
        file = read_configuration_file(
            name,
            endpoint_url=self.current_state.get("AWS_ENDPOINT_URL"),
            region=self.current_state.get("AWS_REGION"),
        )
        check_values(file)
        return dict(file.values)


def check_values(file: ConfigurationFile) -> None:
    """
    Check the names and the values of a configuration file, each by itself.

    Raises:
        ConfigurationError: One is invalid; the message has its line, and what to write instead.
    """
    known = [name for name in Settings.model_fields if name != "config_file"]
    for name, value in file.values.items():
        if name not in known:
            raise file.error([name], f"there is no setting of this name; {suggestion(name, known)}")
        field = Settings.model_fields[name]
        adapter: TypeAdapter[object] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]  # a type that is known at run time
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            details = error.errors(include_url=False)[0]
            path = [name, *(part for part in details["loc"] if part != "[key]")]
            if details["type"] == "extra_forbidden":
                known = sorted(_names_at(path))
                message = f"there is no value of this name; {suggestion(str(path[-1]), known)}"
                raise file.error(path, message) from None
            raise file.error(path, describe(details)) from None


def _names_at(path: list[int | str]) -> frozenset[str]:
    """Return the names that a table may contain, from the path of one of its values."""
    if path[0] == "sizes":
        return SizeSettings.__optional_keys__ | SizeSettings.__required_keys__
    return (WatermarkSettings if path[-2] == "watermark" else RecipeSettings).__optional_keys__
