"""
The schema of an image's item: the attributes that are read, with their types and ranges.

Attributes that it does not name are ignored, and any text is a status or the name of a step: other programs
and newer versions may add some. A change that older versions must not ignore raises `schemaVersion`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NotRequired, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from worker.domain import clock
from worker.domain.errors import NewerRecordError, UnreadableRecordError

_OPEN: Final = ConfigDict(strict=True, extra="allow")


def _time(text: str) -> str:
    try:
        clock.from_text(text)
    except OverflowError as error:  # a day before the first year, or after the last
        raise ValueError(str(error)) from error
    return text


Time: TypeAlias = Annotated[str, AfterValidator(_time)]
Number: TypeAlias = Annotated[int, Field(ge=0, lt=10**38)]
EpochMilliseconds: TypeAlias = Annotated[int, Field(ge=-62_000_000_000_000, le=250_000_000_000_000)]
"""From the year 6 to 9892, because Python's times begin with the year 1 and end with 9999."""

SCHEMA_VERSION: Final = 1
"""Version of the items that this version reads; those without a `schemaVersion` have it."""


@with_config(_OPEN)
class _Version(TypedDict):
    eTag: NotRequired[str]
    versionId: NotRequired[str]
    sequencer: NotRequired[str]


@with_config(_OPEN)
class _Step(TypedDict):
    status: str
    startedAt: NotRequired[Time]
    completedAt: NotRequired[Time]


@with_config(_OPEN)
class _Rendition(TypedDict):
    key: str
    width: Number
    height: Number
    bytes: Number
    format: str
    eTag: str


@with_config(_OPEN)
class _Leftover(TypedDict):
    key: str
    eTag: str


@with_config(_OPEN)
class _Failure(TypedDict):
    code: str
    message: str
    step: NotRequired[str]
    retryable: bool


@with_config(_OPEN)
class _Entry(TypedDict):
    at: Time
    step: NotRequired[str]
    status: str
    attempt: NotRequired[Number]
    worker: NotRequired[str]
    detail: NotRequired[dict[str, Any]]


@with_config(_OPEN)
class _Deletion(TypedDict):
    by: str
    via: str
    at: Time
    leaseOwner: NotRequired[str]
    leaseExpiresAt: NotRequired[EpochMilliseconds]


@with_config(_OPEN)
class _Summary(TypedDict):
    imageId: str
    userId: str
    status: str
    createdAt: Time
    processedAt: NotRequired[Time]
    originalFileName: str
    originalFileSize: NotRequired[Number]
    originalS3Key: str
    processedS3Key: NotRequired[str]
    ttl: NotRequired[Number]


@with_config(_OPEN)
class _Image(_Summary):
    sourceBucket: str
    sourceVersion: NotRequired[_Version]
    updatedAt: Time
    originalFileType: NotRequired[str]
    processingSteps: dict[str, _Step]
    attempt: Number
    leaseOwner: NotRequired[str]
    leaseExpiresAt: NotRequired[EpochMilliseconds]
    recipe: NotRequired[str]
    renditions: NotRequired[dict[str, _Rendition]]
    leftovers: NotRequired[list[_Leftover]]
    error: NotRequired[_Failure]
    history: NotRequired[list[_Entry]]
    tags: NotRequired[list[str]]
    metadata: NotRequired[dict[str, Any]]
    countedBytes: NotRequired[Number]
    deletion: NotRequired[_Deletion]


@with_config(_OPEN)
class _Failed(TypedDict):
    imageId: str
    userId: str
    status: str
    createdAt: Time
    updatedAt: Time
    originalFileName: str
    originalFileSize: NotRequired[Number]
    processedS3Key: NotRequired[str]
    error: NotRequired[_Failure]


FAILED_ATTRIBUTES: Final = tuple(_Failed.__annotations__)
"""What a list of failed images reads of each record."""

_SUMMARY: Final = TypeAdapter(_Summary)
_FAILED: Final = TypeAdapter(_Failed)
_IMAGE: Final = TypeAdapter(_Image)


def require_image(item: Mapping[str, Any]) -> None:
    """Raise `UnreadableRecordError` unless the item is an image that this version can read."""
    version = item.get("schemaVersion")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        reason = f"its schemaVersion is {version}, and this version reads {SCHEMA_VERSION}"
        raise NewerRecordError(
            image_id=str(item.get("imageId")), user_id=str(item.get("userId")), reason=reason
        )
    _require(_IMAGE, item)


def require_summary(item: Mapping[str, Any]) -> None:
    """Raise `UnreadableRecordError` unless the item of an index is an image that this version can read."""
    _require(_SUMMARY, item)


def require_failed(item: Mapping[str, Any]) -> None:
    """Raise `UnreadableRecordError` unless the item has what a list of failed images reads."""
    _require(_FAILED, item)


def _require(schema: TypeAdapter[Any], item: Mapping[str, Any]) -> None:
    try:
        schema.validate_python(item)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = ".".join(str(part) for part in first["loc"] if part != "[key]")
        value = "" if first["type"] == "missing" else f" is {str(first['input'])[:_MAX_VALUE]!r}:"
        reason = f"attribute {path}{value} {first['msg'][0].lower()}{first['msg'][1:]}"
        raise unreadable(item, reason) from error


def unreadable(item: Mapping[str, Any], reason: str) -> UnreadableRecordError:
    """Return the error of an item that cannot be read."""
    return UnreadableRecordError(
        image_id=str(item.get("imageId")), user_id=str(item.get("userId")), reason=reason
    )


_MAX_VALUE: Final = 60
