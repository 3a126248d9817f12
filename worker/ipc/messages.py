"""
The messages between pool and child, as headers of frames.

```
parent                          child
setup ────────────────────────►
      ◄──────────────────────── ready
logo, with its file ──────────►             once for each logo, before the first picture that it marks
order + the upload ───────────►
      ◄──────────────────────── taken       from here on, a death is this picture's doing
      ◄──────────────────────── report      one for each step
      ◄──────────────────────── rendition   one for each size, with the encoded picture
                    or, instead of any report or rendition: refusal
```
What a child sends may come from a decoder that a picture has taken over: the parent accepts nothing but
the message that is due, within its bounds.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

from worker.domain.errors import RejectedError
from worker.domain.recipe import (
    Anchor,
    Animation,
    Fit,
    Limits,
    Logo,
    OutputFormat,
    Recipe,
    Size,
    Watermark,
)
from worker.domain.status import StepMove, StepName
from worker.domain.step import CONTENT_TYPES, EncodedRendition, StepReport
from worker.ipc.framing import Frame

READY: Final[Mapping[str, Any]] = {"kind": "ready"}
READY_WITH_NETWORK: Final[Mapping[str, Any]] = {"kind": "ready", "network": "open"}
"""Said where the system has no filter that could forbid the network."""

ACCEPTED: Final[Mapping[str, Any]] = {"kind": "taken"}

_MAX_MESSAGE_CHARACTERS: Final = 500
_MAX_METADATA_CHARACTERS: Final = 200
_MAX_QUOTE_CHARACTERS: Final = 60
_ENCODING_OVERHEAD_BYTES: Final = 65_536
_LONGEST_STEP_MS: Final = 3600 * 1000
"""What `WORKER_STEP_TIMEOUT_S` may be at the most."""
_MAX_ANIMATION_BYTES: Final = 128 * 1024 * 1024
_Kind = TypeVar("_Kind")
_CHILD_MOVES: Final = frozenset({StepMove.COMPLETED, StepMove.SKIPPED})


class UnexpectedMessageError(Exception):
    """The child sent something else than what was due: it cannot be trusted with another picture."""

    def __init__(self, *, due: str, got: object) -> None:
        super().__init__(f"it sent no proper {due}, but {str(got)[:_MAX_QUOTE_CHARACTERS]!r}")


class RejectionReceivedError(Exception):
    """The picture is at fault, and the child that says so is well; `refusal` is what becomes of it."""

    def __init__(self, refusal: RejectedError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Setup:
    """
    What a child is told once.

    Attributes:
        limits: What a picture may be at the most.
        memory_mb: Its address space, in mebibytes.
        fonts: Paths of the TrueType files that watermarks are written in, the preferred one first.
        cpu_s: CPU time that one picture may take.
    """

    limits: Limits
    memory_mb: int
    fonts: tuple[str, ...]
    cpu_s: int = 3600


def setup_header(setup: Setup) -> Mapping[str, Any]:
    """Write a setup down."""
    return asdict(setup)


def setup_from_header(header: Mapping[str, Any]) -> Setup:
    """Read what `setup_header` wrote."""
    return Setup(Limits(**header["limits"]), header["memory_mb"], tuple(header["fonts"]), header["cpu_s"])


def logo_header(logo: Logo) -> Mapping[str, Any]:
    """Write down what accompanies a logo's file."""
    return {"kind": "logo", "e_tag": logo.e_tag}


def image_header(recipe: Recipe) -> Mapping[str, Any]:
    """Write a recipe down, but for the content of its logo."""
    logo = recipe.logo
    kept = recipe.with_logo(None) if logo else recipe
    return {
        "kind": "order",
        "recipe": _written(kept),
        "logo": {"source": logo.source, "e_tag": logo.e_tag} if logo else None,
    }


@lru_cache(256)
def _written(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON has it; kept, because most pictures have one that came before."""
    return asdict(recipe)


def recipe_from_header(header: Mapping[str, Any], logos: Mapping[str, bytes]) -> Recipe:
    """
    Read what `image_header` wrote.

    Args:
        header: Of the order.
        logos: What has come with `logo` messages, by eTag.
    """
    written, named = header["recipe"], header["logo"]
    recipe = Recipe(
        **written
        | {
            "sizes": tuple(_size_from(size) for size in written["sizes"]),
            "watermark": _watermark_from(written["watermark"]),
            "animation": Animation(written["animation"]),
        }
    )
    if named is None:
        return recipe
    return recipe.with_logo(Logo(**named, content=logos.get(named["e_tag"], b"")))


def _size_from(written: Mapping[str, Any]) -> Size:
    return Size(
        **dict(written)
        | {
            "fit": Fit(written["fit"]),
            "gravity": Anchor(written["gravity"]),
            "format": OutputFormat(written["format"]),
        }
    )


def _watermark_from(written: Mapping[str, Any] | None) -> Watermark | None:
    return Watermark(**dict(written) | {"position": Anchor(written["position"])}) if written else None


def step_report_header(report: StepReport) -> Mapping[str, Any]:
    """Write a report down."""
    return {
        "kind": "report",
        "step": report.step,
        "move": report.move,
        "elapsed_ms": report.elapsed_ms,
        "detail": report.detail,
        "metadata": report.metadata,
    }


def rendition_header(rendition: EncodedRendition) -> Mapping[str, Any]:
    """Write down what accompanies an encoded picture."""
    return {
        "kind": "rendition",
        "size": rendition.size,
        "width": rendition.width,
        "height": rendition.height,
        "format": rendition.format,
    }


def rejection_header(error: RejectedError) -> Mapping[str, Any]:
    """Write a refusal down."""
    return {"kind": "refusal", "code": error.code, "message": str(error)[:_MAX_MESSAGE_CHARACTERS]}


def expect_report(frame: Frame, step: StepName) -> StepReport:
    """
    Read the report of this step.

    Raises:
        RefusalReceivedError: The picture was refused instead.
        UnexpectedMessageError: It is neither.
    """
    with _readable("report", frame):
        return _report(frame.header, step)


def expect_rendition(frame: Frame, size: Size) -> EncodedRendition:
    """
    Read the rendition of this size.

    Raises:
        RefusalReceivedError: The picture was refused instead.
        UnexpectedMessageError: It is neither.
    """
    with _readable("rendition", frame):
        return _rendition(frame.header, frame.body, size)


def max_rendition_bytes(size: Size, *, frames: int = 1) -> int:
    """Return what an encoded picture of this size can weigh at the most."""
    still = 5 * size.width * size.height + _ENCODING_OVERHEAD_BYTES
    return min(frames * still, max(still, _MAX_ANIMATION_BYTES))


@contextmanager
def _readable(due: str, frame: Frame) -> Iterator[None]:
    """Turn every fault of a message into one error, once it is of the kind that is due."""
    kind = frame.header.get("kind")
    try:
        if kind == "refusal":
            raise RejectionReceivedError(_refusal(frame.header))
        if kind != due:
            raise UnexpectedMessageError(due=due, got=kind)
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedMessageError(due=due, got=kind) from error


def _report(header: Mapping[str, Any], step: StepName) -> StepReport:
    report = StepReport(
        step=StepName(header["step"]),
        move=StepMove(header["move"]),
        elapsed_ms=_checked(int, header["elapsed_ms"]),
        detail=_checked(dict, header["detail"]),
        metadata={
            _checked(str, name): _checked(str, value)[:_MAX_METADATA_CHARACTERS]
            for name, value in _checked(dict, header["metadata"]).items()
        },
    )
    is_due = report.step is step and report.move in _CHILD_MOVES
    if not is_due or not 0 <= report.elapsed_ms <= _LONGEST_STEP_MS:
        raise ValueError(step)
    return report


def _rendition(header: Mapping[str, Any], content: bytearray, size: Size) -> EncodedRendition:
    rendition = EncodedRendition(
        size=_checked(str, header["size"]),
        width=_checked(int, header["width"]),
        height=_checked(int, header["height"]),
        format=_checked(str, header["format"]),
        content=content,
    )
    fits = 1 <= rendition.width <= size.width and 1 <= rendition.height <= size.height
    if rendition.size != size.name or rendition.format not in CONTENT_TYPES or not fits or not content:
        raise ValueError(size.name)
    return rendition


def _refusal(header: Mapping[str, Any]) -> RejectedError:
    code = _checked(str, header["code"])
    if code not in {kind.code for kind in RejectedError.__subclasses__()}:
        raise ValueError(code)
    return RejectedError.from_report(code, _checked(str, header["message"])[:_MAX_MESSAGE_CHARACTERS])


def _checked(kind: type[_Kind], value: object) -> _Kind:
    if not isinstance(value, kind):
        raise TypeError(value)
    return value
