"""What a decoder child tells of its work on one picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from worker.domain.status import StepMove, StepName

Json: TypeAlias = str | int | bool | list["Json"] | dict[str, "Json"] | None
"""What the record can hold: JSON without fractions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """
    One step that ended well.

    Attributes:
        step: Which one.
        move: `completed`, or `skipped` with the reason in the detail.
        elapsed_ms: How long the child computed.
        detail: What the record keeps under `processingSteps`, by its attribute names.
        metadata: What the picture says of itself (camera, takenAt, ...); only validation fills it.
    """

    step: StepName
    move: StepMove
    elapsed_ms: int
    detail: Mapping[str, Json] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedRendition:
    """
    One finished picture.

    Attributes:
        size: The name of the size, as in the recipe.
        width: In pixels.
        height: In pixels.
        format: `jpeg`, `png` or `webp`.
        content: The encoded picture.
    """

    size: str
    width: int
    height: int
    format: str
    content: bytes | bytearray | memoryview


Outcome: TypeAlias = StepReport | EncodedRendition

EXTENSIONS: Mapping[str, str] = {"jpeg": "jpg", "png": "png", "webp": "webp"}
CONTENT_TYPES: Mapping[str, str] = {name: f"image/{name}" for name in EXTENSIONS}
