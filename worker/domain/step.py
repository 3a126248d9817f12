"""The output of a decoder process for one image: step reports and renditions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from worker.domain.focus import Focus
from worker.domain.status import StepMove, StepName

Json: TypeAlias = str | int | bool | list["Json"] | dict[str, "Json"] | None
"""JSON without fractions, as the record stores it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """
    A completed or skipped step.

    Attributes:
        step: The step.
        move: `completed`, or `skipped` with the reason in the detail.
        elapsed_ms: Duration of the step in the decoder process.
        detail: Attributes of the step in the record's `processingSteps`.
        metadata: Metadata in the file (camera, takenAt, ...); only from validation.
    """

    step: StepName
    move: StepMove
    elapsed_ms: int
    detail: Mapping[str, Json] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedRendition:
    """
    An encoded rendition.

    Attributes:
        size: Name of the size in the recipe.
        width: Width in pixels.
        height: Height in pixels.
        format: A key of `EXTENSIONS`.
        content: Content of the file.
    """

    size: str
    width: int
    height: int
    format: str
    content: bytes | bytearray | memoryview


DecoderOutput: TypeAlias = StepReport | EncodedRendition

NONCE_BYTES = 42
"""Maximum by which a stored rendition is larger than the encoded one: see `worker.s3.nonce`."""

EXTENSIONS: Mapping[str, str] = {"jpeg": "jpg", "png": "png", "webp": "webp", "gif": "gif", "avif": "avif"}
CONTENT_TYPES: Mapping[str, str] = {name: f"image/{name}" for name in EXTENSIONS}

_ALIASES: Mapping[str, str] = {
    "jpg": "jpeg",
    "jpe": "jpeg",
    "jfif": "jpeg",
    "pjpeg": "jpeg",
    "mpo": "jpeg",
    "tif": "tiff",
    "x-tiff": "tiff",
    "apng": "png",
    "x-png": "png",
    "dib": "bmp",
    "x-bmp": "bmp",
    "x-ms-bmp": "bmp",
    "heif": "heic",
    "hif": "heic",
    "heic-sequence": "heic",
    "heif-sequence": "heic",
    "avifs": "avif",
}
_UNSPECIFIC = frozenset({"", "octet-stream", "binary", "x-www-form-urlencoded", "bin", "tmp", "img"})
_MAX_DECLARED_LENGTH = 60


def type_mismatch(found: str, *, content_type: str | None, key: str) -> str | None:
    """
    Return the declared format of an upload if it differs from the format of its content, otherwise None.

    Args:
        found: Format of the content.
        content_type: `Content-Type` header of the object: `image/png`, possibly with parameters.
        key: Key of the upload, whose extension declares a format too.
    """
    media = (content_type or "").partition(";")[0].strip().lower()
    _, dot, extension = key.rpartition("/")[2].rpartition(".")
    for declared, shown in (
        (media.rpartition("/")[2], media),
        (extension.lower() if dot else "", f".{extension}"),
    ):
        if declared not in _UNSPECIFIC and _ALIASES.get(declared, declared) != found:
            return shown[:_MAX_DECLARED_LENGTH]
    return None


def with_type_mismatch(report: StepReport, *, content_type: str | None, key: str) -> StepReport:
    """Return the report of validation with the declared format if it differs from that of the content."""
    found = report.detail.get("format")
    declared = type_mismatch(found, content_type=content_type, key=key) if isinstance(found, str) else None
    return _with_detail(report, StepName.VALIDATION, "typeMismatch", declared)


def with_ignored_preferences(report: StepReport, ignored: Mapping[str, str]) -> StepReport:
    """Return the report of validation with the owner's preferences that cannot be used, and why."""
    return _with_detail(report, StepName.VALIDATION, "ignoredPreferences", dict(ignored))


def with_ignored_metadata(report: StepReport, ignored: Mapping[str, str]) -> StepReport:
    """Return the report of validation with the uploader's metadata that cannot be used, and why."""
    return _with_detail(report, StepName.VALIDATION, "ignoredMetadata", dict(ignored))


def with_focus(report: StepReport, focus: Focus | None) -> StepReport:
    """Return the report of the resize step with the focal point that it has used."""
    return _with_detail(report, StepName.RESIZE, "focus", str(focus) if focus else None)


def _with_detail(report: StepReport, step: StepName, name: str, value: Json) -> StepReport:
    """Return the report of a step with a further value, unless that is empty; any other report as it is."""
    if report.step is not step or not value:
        return report
    return replace(report, detail={**report.detail, name: value})
