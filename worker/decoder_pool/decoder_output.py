"""
Validate what a decoder process reports about an image, and the renditions that it made of it.

A malicious image may have taken over the decoder. Every report has a schema: the names of its attributes,
their types and their bounds. A rendition has a format and dimensions that the recipe allows, and its file has
those that are stated. Control characters in texts are replaced.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal, NotRequired, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from worker.decoder_pool.rendition_files import check_rendition_file
from worker.domain.errors import (
    CorruptError,
    DecodeOutOfMemoryError,
    DecoderCrashedError,
    FormatNotAllowedError,
    NotAnImageError,
    RejectedError,
    TooManyBytesError,
    TooManyFramesError,
    TooManyPixelsError,
    TooManyScansError,
    TooSmallError,
    TruncatedError,
)
from worker.domain.recipe import OutputFormat, Size
from worker.domain.status import StepMove, StepName
from worker.domain.step import EncodedRendition, StepReport
from worker.ipc.framing import Frame
from worker.ipc.messages import RejectionReceivedError, UnexpectedMessageError

_STRICT: Final = ConfigDict(strict=True, extra="forbid")

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _without_control_characters(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


Text: TypeAlias = Annotated[str, Field(max_length=500), AfterValidator(_without_control_characters)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=2**31 - 1)]
Milliseconds: TypeAlias = Annotated[int, Field(ge=0, le=3_600_000)]
"""The upper bound is that of `WORKER_STEP_TIMEOUT_S`."""


@with_config(_STRICT)
class _Extent(TypedDict):
    width: Count
    height: Count


@with_config(_STRICT)
class _Dimensions(TypedDict):
    original: _Extent
    processed: _Extent


@with_config(_STRICT)
class _ValidationDetail(TypedDict):
    result: Literal["valid"]
    format: Literal["jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic"]
    mode: Annotated[str, Field(pattern=r"^[A-Za-z0-9;]{1,12}$")]
    frames: Count
    orientation: NotRequired[Annotated[int, Field(ge=1, le=8)]]
    profile: NotRequired[Text]
    hdr: NotRequired[Literal[True]]
    contentCredentials: NotRequired[Literal[True]]


@with_config(_STRICT)
class _ResizeDetail(TypedDict):
    dimensions: _Dimensions
    profileIgnored: NotRequired[Text]
    dominantColor: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]
    blurHash: Annotated[str, Field(pattern="^[0-9A-Za-z#$%*+,.:;=?@^_{|}~\\[\\]-]{28}$")]
    perceptualHash: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


@with_config(_STRICT)
class _WatermarkDetail(TypedDict):
    watermarkType: Literal["text", "image"]
    watermarkText: NotRequired[Text]
    watermarkImage: NotRequired[Text]
    reason: NotRequired[Text]


@with_config(_STRICT)
class _SkippedDetail(TypedDict):
    reason: Text


@with_config(_STRICT)
class _Metadata(TypedDict):
    camera: NotRequired[Text]
    lens: NotRequired[Text]
    exposure: NotRequired[Text]
    takenAt: NotRequired[Text]
    location: NotRequired[Text]


@with_config(_STRICT)
class _NoMetadata(TypedDict):
    pass


@with_config(_STRICT)
class _ValidationReport(TypedDict):
    kind: Literal["report"]
    step: Literal["validation"]
    move: Literal["completed"]
    elapsed_ms: Milliseconds
    detail: _ValidationDetail
    metadata: _Metadata


@with_config(_STRICT)
class _ResizeReport(TypedDict):
    kind: Literal["report"]
    step: Literal["resize"]
    move: Literal["completed"]
    elapsed_ms: Milliseconds
    detail: _ResizeDetail
    metadata: _NoMetadata


@with_config(_STRICT)
class _WatermarkReport(TypedDict):
    kind: Literal["report"]
    step: Literal["watermark"]
    move: Literal["completed"]
    elapsed_ms: Milliseconds
    detail: _WatermarkDetail
    metadata: _NoMetadata


@with_config(_STRICT)
class _SkippedReport(TypedDict):
    kind: Literal["report"]
    step: Literal["watermark"]
    move: Literal["skipped"]
    elapsed_ms: Milliseconds
    detail: _SkippedDetail
    metadata: _NoMetadata


@with_config(_STRICT)
class _Rendition(TypedDict):
    kind: Literal["rendition"]
    size: str
    width: Count
    height: Count
    format: Literal["jpeg", "png", "webp", "gif", "avif"]


@with_config(_STRICT)
class _Rejection(TypedDict):
    kind: Literal["rejected"]
    code: str
    message: Text


_REPORTS: Final[Mapping[StepName, TypeAdapter[Any]]] = {
    StepName.VALIDATION: TypeAdapter(_ValidationReport),
    StepName.RESIZE: TypeAdapter(_ResizeReport),
    StepName.WATERMARK: TypeAdapter(
        Annotated[_WatermarkReport | _SkippedReport, Field(discriminator="move")]
    ),
}
_RENDITION: Final = TypeAdapter(_Rendition)
_REJECTION: Final = TypeAdapter(_Rejection)

_FORMATS: Final[Mapping[OutputFormat, frozenset[str]]] = {
    OutputFormat.SOURCE: frozenset({"jpeg", "png", "webp", "gif", "avif"}),
    OutputFormat.AUTO: frozenset({"jpeg", "png", "webp"}),
    **{
        each: frozenset({each.value})
        for each in OutputFormat
        if each.value in {"jpeg", "png", "webp", "avif"}
    },
}
"""Formats that a rendition of each output format can have."""

REJECTIONS: Final = (
    NotAnImageError,
    FormatNotAllowedError,
    TooManyBytesError,
    TooManyPixelsError,
    TooManyScansError,
    TooManyFramesError,
    TooSmallError,
    TruncatedError,
    CorruptError,
    DecodeOutOfMemoryError,
    DecoderCrashedError,
)
"""Errors that a decoder may report; the others are the worker process's own."""


def expect_report(frame: Frame, step: StepName) -> StepReport:
    """
    Parse the report of a step.

    Args:
        frame: The decoder's next message.
        step: Step that is due.

    Raises:
        RejectionReceivedError: The decoder rejected the image.
        UnexpectedMessageError: The message is anything else, or out of bounds.
    """
    with _expecting("report", frame):
        report = _REPORTS[step].validate_python(frame.header)
        return StepReport(
            step=step,
            move=StepMove(report["move"]),
            elapsed_ms=report["elapsed_ms"],
            detail=report["detail"],
            metadata=report["metadata"],
        )


def expect_rendition(frame: Frame, size: Size) -> EncodedRendition:
    """
    Parse a rendition, and check that its file is what the decoder states and the recipe allows.

    Args:
        frame: The decoder's next message.
        size: Size that is due.

    Raises:
        RejectionReceivedError: The decoder rejected the image.
        UnexpectedMessageError: The message is anything else, or out of bounds.
    """
    with _expecting("rendition", frame):
        rendition = _RENDITION.validate_python(frame.header)
        extent = rendition["width"], rendition["height"]
        if rendition["size"] != size.name or rendition["format"] not in _FORMATS[size.format]:
            message = f"{rendition['size']} in format {rendition['format']} was not requested"
            raise ValueError(message)
        if extent[0] > size.width or extent[1] > size.height:
            message = f"{extent[0]}x{extent[1]} pixels are larger than the size {size.name}"
            raise ValueError(message)
        check_rendition_file(frame.body, image_format=rendition["format"], extent=extent)
        return EncodedRendition(
            size=size.name,
            width=extent[0],
            height=extent[1],
            format=rendition["format"],
            content=frame.body,
        )


@contextmanager
def _expecting(kind: str, frame: Frame) -> Iterator[None]:
    """Map every fault of a message to the two errors of `expect_report`."""
    received = frame.header.get("kind")
    try:
        if received == "rejected":
            raise RejectionReceivedError(_parse_rejection(frame))
        if received != kind:
            raise UnexpectedMessageError(expected=kind, received=received)
        yield
    except ValueError as error:  # includes pydantic's ValidationError
        raise UnexpectedMessageError(expected=kind, received=received) from error


def _parse_rejection(frame: Frame) -> RejectedError:
    rejection = _REJECTION.validate_python(frame.header)
    if frame.body or rejection["code"] not in {error.code for error in REJECTIONS}:
        message = f"code {rejection['code']} with {len(frame.body)} bytes"
        raise ValueError(message)
    return RejectedError.from_report(rejection["code"], rejection["message"])
