"""Run a case through the pipeline and through the second decoder, and judge the two results."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image

from tests.matrix.cases import WHOLE, Case
from tests.matrix.files import build
from tests.matrix.second_decoder import Pixels, SecondDecoderError, decode
from worker.domain.errors import RejectedError
from worker.domain.recipe import Limits, OutputFormat, Recipe, Size
from worker.domain.step import EncodedRendition
from worker.imaging.errors import crash_error_for
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process

RECIPE: Final = Recipe(sizes=(Size("native", 4000, 4000, format=OutputFormat.PNG),), watermark=None)
_FONTS: Final = Fonts(())

UNREAD_BY_LIBVIPS: Final = frozenset({"BMP", "HEIC"})
"""Formats that the libvips of the wheel does not read: the same picture as a PNG is the reference."""


class Outcome(StrEnum):
    """How the two results compare."""

    EQUAL = "both complete, equal"
    BOTH_REJECT = "both reject"
    AGREED_INCOMPLETE = "rejected; libvips completes it with pixels missing"
    DIFFERENT = "both complete, pixels differ"
    ONLY_OURS = "completed whole; libvips rejects it"
    ONLY_SECOND = "rejected; libvips completes it whole"
    INCOMPLETE = "completed with pixels missing"
    CRASHED = "crashed"


AGREED: Final = frozenset({Outcome.EQUAL, Outcome.BOTH_REJECT, Outcome.AGREED_INCOMPLETE})
NEVER: Final = frozenset({Outcome.INCOMPLETE, Outcome.CRASHED})
"""Outcomes that no reason excuses."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """
    How much two results may differ, in levels of 255 of colours multiplied by their alpha.

    Attributes:
        levels: Maximum difference of a pixel.
        outliers: Share of the pixels that may differ by more.
    """

    levels: int
    outliers: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """
    The judgement of a case.

    Attributes:
        case: The case.
        outcome: How the results compare.
        difference: Largest difference of a pixel beyond the outliers that are tolerated; 0 without pixels.
        reason: Error code of a rejection, or the exception of a crash.
    """

    case: Case
    outcome: Outcome
    difference: int = 0
    reason: str = ""


def tolerance(case: Case) -> Tolerance:
    """Return the tolerance of a case: rounding, and colours at half the resolution where libraries differ."""
    has_conversion = case.profile != "none" or case.colours == "CMYK"
    rounding = 3 if has_conversion else 1
    if case.alpha == "associated":  # colours are divided by alpha, and multiplied again by this comparison
        rounding += 1
    match case.format:
        case "AVIF" if "4:2:0" in case.layout:  # libavif and libheif interpolate colours differently
            return Tolerance(rounding + 9, outliers=0.1)
        case "AVIF":
            return Tolerance(rounding + 1, outliers=0.05 if has_conversion else 0.0)
        case "HEIC":  # compared with the pixels before they were compressed
            return Tolerance(16, outliers=0.06)
    return Tolerance(rounding)


def ours(content: bytes) -> Pixels:
    """
    Return the pixels of the rendition at the size of the upload.

    Raises:
        RejectedError: The pipeline rejects the file; `decoder_crashed` for any other exception.
    """
    try:
        outputs = list(process(content, RECIPE, limits=Limits(), fonts=_FONTS))
    except Exception as error:
        raise crash_error_for(error) from error
    (rendition,) = (output for output in outputs if isinstance(output, EncodedRendition))
    with Image.open(io.BytesIO(bytes(rendition.content))) as image:
        return np.asarray(image.convert("RGBA"))


def compare(case: Case) -> Result:
    """Judge a case."""
    content = build(case)
    rejection, pixels = _result(lambda: ours(content), RejectedError)
    if isinstance(rejection, RejectedError) and rejection.code == "decoder_crashed":
        return Result(case, Outcome.CRASHED, reason=str(rejection))
    reason = rejection.code if isinstance(rejection, RejectedError) else ""
    reference = _reference(case, content)
    whole, second_whole = (_ours_whole(case.undamaged), _second_whole(case.undamaged))
    if pixels is not None and case.damage != WHOLE and (whole is None or _difference(pixels, whole) > 0):
        return Result(case, Outcome.INCOMPLETE)
    if pixels is None and reference is None:
        return Result(case, Outcome.BOTH_REJECT, reason=reason)
    if reference is None:
        return Result(case, Outcome.ONLY_OURS)
    if pixels is None:
        is_incomplete = second_whole is None or _difference(reference, second_whole) > 0
        outcome = Outcome.AGREED_INCOMPLETE if is_incomplete else Outcome.ONLY_SECOND
        return Result(case, outcome, reason=reason)
    allowed = tolerance(case)
    difference = _difference(pixels, reference, outliers=allowed.outliers)
    outcome = Outcome.EQUAL if difference <= allowed.levels else Outcome.DIFFERENT
    return Result(case, outcome, difference=difference)


def _reference(case: Case, content: bytes) -> Pixels | None:
    if case.format in UNREAD_BY_LIBVIPS:
        if case.damage in {WHOLE, "damaged ancillary part"}:
            return _result(lambda: decode(build(_as_png(case))), SecondDecoderError)[1]
        return _ours_whole(case.undamaged) if _is_completed(content) else None
    return _result(lambda: decode(content), SecondDecoderError)[1]


def _is_completed(content: bytes) -> bool:
    return _result(lambda: ours(content), RejectedError)[1] is not None


def _as_png(case: Case) -> Case:
    is_unused = case.format == "BMP" and case.alpha == "zero"
    return replace(case.undamaged, format="PNG", layout="plain", alpha="none" if is_unused else case.alpha)


@lru_cache(maxsize=512)
def _ours_whole(case: Case) -> Pixels | None:
    return _result(lambda: ours(build(case)), RejectedError)[1]


@lru_cache(maxsize=512)
def _second_whole(case: Case) -> Pixels | None:
    if case.format in UNREAD_BY_LIBVIPS:
        return None
    return _result(lambda: decode(build(case)), SecondDecoderError)[1]


def _result(make: Callable[[], Pixels], rejection: type[Exception]) -> tuple[Exception | None, Pixels | None]:
    try:
        return None, make()
    except rejection as error:
        return error, None


def _difference(first: Pixels, second: Pixels, *, outliers: float = 0.0) -> int:
    """Return the largest difference of a pixel beyond the share of outliers; 255 for different extents."""
    if first.shape != second.shape:
        return 255
    by_pixel = np.abs(_multiplied(first) - _multiplied(second)).max(axis=2).ravel()
    by_pixel.sort()
    return int(by_pixel[-1 - int(len(by_pixel) * outliers)])


def _multiplied(pixels: Pixels) -> np.ndarray:
    levels = pixels.astype(np.int64)
    levels[..., :3] = (levels[..., :3] * levels[..., 3:] + 127) // 255
    return levels
