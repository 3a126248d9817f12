"""
Messages between the worker process and a decoder process, as headers of frames.

```
worker process            decoder process
      ◄──────────────────────── forked      only by a fork of the zygote, or by the zygote: fork_failed
setup ────────────────────────►             only to an interpreter: the zygote, or a decoder without one
      ◄──────────────────────── ready
logo, with its file ──────────►             before the first image that it marks
image, with the upload ───────►
      ◄──────────────────────── accepted    a decoder that dies from here on was killed by this image
      ◄──────────────────────── report      for each step
      ◄──────────────────────── rendition   for each size, with the encoded file
                    or, in place of any report or rendition: rejected
```
A malicious image may have taken over the decoder: the worker process accepts only the message that is
expected next, within its bounds: see `worker.decoder_pool.decoder_output`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, TypedDict, cast

from worker.domain.confinement import Guarantee
from worker.domain.errors import RejectedError
from worker.domain.focus import Focus
from worker.domain.recipe import (
    Anchor,
    Animation,
    Effort,
    Fit,
    Gravity,
    Limits,
    Logo,
    OutputFormat,
    Recipe,
    Size,
    Subsampling,
    Watermark,
)
from worker.domain.step import EncodedRendition, Json, StepReport
from worker.ipc.framing import Frame, Header

FORK_REQUEST: Final = b"f"
"""Sent to the zygote with the file descriptor of a connection."""

ACCEPTED: Final[Header] = {"kind": "accepted"}

_MAX_MESSAGE_CHARACTERS: Final = 500
_MAX_QUOTE_CHARACTERS: Final = 60
_ENCODING_OVERHEAD_BYTES: Final = 65_536
_MAX_ANIMATION_BYTES: Final = 128 * 1024 * 1024

_Fields: TypeAlias = dict[str, Any]
"""A dataclass as JSON: `Any`, because mypy does not check the arguments in `Recipe(**fields)` one by one."""


class SetupHeader(TypedDict):
    """Header of the `setup` message; see `Setup`."""

    kind: Literal["setup"]
    limits: dict[str, int]
    memory_mb: int
    fonts: Sequence[str]
    cpu_s: int
    recipe: _Fields | None


class LogoHeader(TypedDict):
    """Header of the `logo` message; the body is the logo's file."""

    kind: Literal["logo"]
    e_tag: str


class LogoReference(TypedDict):
    """A logo without its content."""

    source: str
    e_tag: str


class ImageHeader(TypedDict):
    """Header of the `image` message; the body is the upload."""

    kind: Literal["image"]
    recipe: _Fields
    logo: LogoReference | None
    focus: Sequence[float] | None


class ReadyHeader(TypedDict):
    """Header of the `ready` message: the guarantees of the decoder's confinement, by name."""

    kind: Literal["ready"]
    guarantees: Sequence[str]


class StepReportHeader(TypedDict):
    """Header of the `report` message; see `StepReport`."""

    kind: Literal["report"]
    step: str
    move: str
    elapsed_ms: int
    detail: Mapping[str, Json]
    metadata: Mapping[str, str]


class RenditionHeader(TypedDict):
    """Header of the `rendition` message; the body is the encoded file."""

    kind: Literal["rendition"]
    size: str
    width: int
    height: int
    format: str


class RejectedHeader(TypedDict):
    """Header of the `rejected` message: the code and message of a `RejectedError`."""

    kind: Literal["rejected"]
    code: str
    message: str


class UnexpectedMessageError(Exception):
    """Raised when a decoder sends anything but the expected message; its state is unknown from then on."""

    def __init__(self, *, expected: str, received: object) -> None:
        super().__init__(
            f"expected a valid {expected!r} message, received {str(received)[:_MAX_QUOTE_CHARACTERS]!r}"
        )


class RejectionReceivedError(Exception):
    """Raised when a decoder rejects the image; the decoder itself is intact. `error` is the reason."""

    def __init__(self, error: RejectedError) -> None:
        super().__init__(str(error))
        self.error = error


class ForkFailedError(Exception):
    """Raised when the zygote cannot fork; the message is the reason of the system."""


@dataclass(frozen=True, slots=True)
class Setup:
    """
    Configuration of a decoder process, sent once.

    Attributes:
        limits: Largest image that is decoded.
        memory_mb: Address space of the process, in mebibytes.
        fonts: Paths of the TrueType files for watermark texts, in order of preference.
        cpu_s: CPU time that a single image may take, in seconds.
        recipe: Recipe whose watermark is rendered in advance; without its logo.
    """

    limits: Limits
    memory_mb: int
    fonts: tuple[str, ...]
    cpu_s: int = 3600
    recipe: Recipe | None = None


def setup_header(setup: Setup) -> SetupHeader:
    """Return the header of the message that configures a decoder."""
    return {
        "kind": "setup",
        "limits": asdict(setup.limits),
        "memory_mb": setup.memory_mb,
        "fonts": setup.fonts,
        "cpu_s": setup.cpu_s,
        "recipe": _recipe_fields(setup.recipe.with_logo(None)) if setup.recipe else None,
    }


def setup_from_header(header: Header) -> Setup:
    """Parse the header of a `setup` message."""
    fields = cast("SetupHeader", header)
    recipe = fields["recipe"]
    return Setup(
        Limits(**fields["limits"]),
        fields["memory_mb"],
        tuple(fields["fonts"]),
        fields["cpu_s"],
        _recipe_from_fields(recipe) if recipe else None,
    )


def ready_header(guarantees: Collection[Guarantee]) -> ReadyHeader:
    """Return the header of the message that ends the start of a decoder."""
    return {"kind": "ready", "guarantees": sorted(guarantees)}


def forked_header(pid: int) -> Header:
    """Return the header of the first message of a fork of the zygote: its process id."""
    return {"kind": "forked", "pid": pid}


def fork_failed_header(error: OSError) -> Header:
    """Return the header of the message that the zygote sends in place of a fork."""
    return {"kind": "fork_failed", "reason": str(error)[:_MAX_MESSAGE_CHARACTERS]}


def logo_header(logo: Logo) -> LogoHeader:
    """Return the header of the message that carries a logo's file."""
    return {"kind": "logo", "e_tag": logo.e_tag}


def image_header(recipe: Recipe, focus: Focus | None = None) -> ImageHeader:
    """
    Return the header of the message that carries an upload.

    It has the recipe, without the logo's content, and the focal point of the image.
    """
    logo = recipe.logo
    return {
        "kind": "image",
        "recipe": _recipe_fields(recipe.with_logo(None) if logo else recipe),
        "logo": {"source": logo.source, "e_tag": logo.e_tag} if logo else None,
        "focus": focus,
    }


@lru_cache(256)
def _recipe_fields(recipe: Recipe) -> _Fields:
    """Return a recipe as JSON; cached, because most images share their recipe with earlier ones."""
    return asdict(recipe)


def recipe_from_header(header: Header, logos: Mapping[str, bytes]) -> Recipe:
    """
    Parse the recipe in the header of an `image` message.

    Args:
        header: Header of the message.
        logos: Contents of the logos received so far, by ETag.
    """
    fields = cast("ImageHeader", header)
    written, logo = fields["recipe"], fields["logo"]
    recipe = _recipe_from_fields(written)
    if logo is None:
        return recipe
    return recipe.with_logo(Logo(**logo, content=logos.get(logo["e_tag"], b"")))


def focus_from_header(header: Header) -> Focus | None:
    """Parse the focal point in the header of an `image` message."""
    focus = cast("ImageHeader", header)["focus"]
    return Focus(*focus) if focus else None


def _recipe_from_fields(fields: _Fields) -> Recipe:
    return Recipe(
        **fields
        | {
            "sizes": tuple(_size_from_fields(size) for size in fields["sizes"]),
            "watermark": _watermark_from_fields(fields["watermark"]),
            "animation": Animation(fields["animation"]),
            "effort": Effort(fields["effort"]),
        }
    )


def _size_from_fields(fields: _Fields) -> Size:
    return Size(
        **fields
        | {
            "fit": Fit(fields["fit"]),
            "gravity": Gravity(fields["gravity"]),
            "format": OutputFormat(fields["format"]),
            "subsampling": Subsampling(fields["subsampling"]),
        }
    )


def _watermark_from_fields(fields: _Fields | None) -> Watermark | None:
    return Watermark(**fields | {"position": Anchor(fields["position"])}) if fields else None


def step_report_header(report: StepReport) -> StepReportHeader:
    """Return the header of the message that reports a step."""
    return {
        "kind": "report",
        "step": report.step,
        "move": report.move,
        "elapsed_ms": report.elapsed_ms,
        "detail": report.detail,
        "metadata": report.metadata,
    }


def rendition_header(rendition: EncodedRendition) -> RenditionHeader:
    """Return the header of the message that carries a rendition."""
    return {
        "kind": "rendition",
        "size": rendition.size,
        "width": rendition.width,
        "height": rendition.height,
        "format": rendition.format,
    }


def rejected_header(error: RejectedError) -> RejectedHeader:
    """Return the header of the message that rejects an image."""
    return {"kind": "rejected", "code": error.code, "message": str(error)[:_MAX_MESSAGE_CHARACTERS]}


def expect_ready(frame: Frame) -> frozenset[Guarantee]:
    """
    Parse the guarantees of a decoder that is ready.

    Raises:
        UnexpectedMessageError: The message is anything else.
    """
    received = frame.header.get("kind")
    try:
        if received == "ready" and isinstance(names := frame.header.get("guarantees"), list):
            return frozenset(map(Guarantee, names))
    except (TypeError, ValueError) as error:
        raise UnexpectedMessageError(expected="ready", received=received) from error
    raise UnexpectedMessageError(expected="ready", received=received)


def expect_forked(frame: Frame) -> int:
    """
    Parse the process id of a fork of the zygote.

    Raises:
        ForkFailedError: The system does not allow another process.
        UnexpectedMessageError: The message is anything else.
    """
    match frame.header:
        case {"kind": "forked", "pid": int(pid)}:
            return pid
        case {"kind": "fork_failed", "reason": str(reason)}:
            raise ForkFailedError(reason)
        case _:
            raise UnexpectedMessageError(expected="forked", received=frame.header.get("kind"))


def max_rendition_bytes(size: Size, *, frames: int = 1) -> int:
    """Return the largest encoded rendition of this size that is accepted, in bytes."""
    still = 5 * size.width * size.height + _ENCODING_OVERHEAD_BYTES
    return min(frames * still, max(still, _MAX_ANIMATION_BYTES))
