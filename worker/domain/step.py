"""What a decoder child tells of its work on one picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
        format: One of `EXTENSIONS`.
        content: The encoded picture.
    """

    size: str
    width: int
    height: int
    format: str
    content: bytes | bytearray | memoryview


DecoderOutput: TypeAlias = StepReport | EncodedRendition

NONCE_BYTES = 42
"""What a stored rendition weighs more than the encoded one, at the most: see `objects.marks`."""

EXTENSIONS: Mapping[str, str] = {"jpeg": "jpg", "png": "png", "webp": "webp", "gif": "gif", "avif": "avif"}
CONTENT_TYPES: Mapping[str, str] = {name: f"image/{name}" for name in EXTENSIONS}

_ALSO_CALLED: Mapping[str, str] = {
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
_SAYS_NOTHING = frozenset({"", "octet-stream", "binary", "x-www-form-urlencoded", "bin", "tmp", "img"})
_LONGEST_DECLARED = 60


def type_mismatch(found: str, *, content_type: str | None, key: str) -> str | None:
    """
    Return what an upload was declared as, where that is another format than its content; None where it fits.

    Args:
        found: The format of the content.
        content_type: As the object's header says: `image/png`, perhaps with parameters.
        key: Whose ending says something too.
    """
    media = (content_type or "").partition(";")[0].strip().lower()
    _, dot, ending = key.rpartition("/")[2].rpartition(".")
    for said, shown in ((media.rpartition("/")[2], media), (ending.lower() if dot else "", f".{ending}")):
        if said not in _SAYS_NOTHING and _ALSO_CALLED.get(said, said) != found:
            return shown[:_LONGEST_DECLARED]
    return None


def with_type_mismatch(report: StepReport, *, content_type: str | None, key: str) -> StepReport:
    """Return the validation's report with what the upload was declared as, where its content is another."""
    found = report.detail.get("format")
    declared = type_mismatch(found, content_type=content_type, key=key) if isinstance(found, str) else None
    if report.step is not StepName.VALIDATION or declared is None:
        return report
    return replace(report, detail={**report.detail, "typeMismatch": declared})
