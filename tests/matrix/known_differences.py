"""Differences between the pipeline and libvips that are right or accepted, each with its reason."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tests.matrix.cases import CUTS, NO_END
from tests.matrix.comparison import AGREED, NEVER, Outcome, Result

_RGB_PROFILES: Final = frozenset({"Display P3", "Adobe RGB", "linear"})
_MAX_DIFFERENCE_OF_16_BITS: Final = 24
_GREY: Final = frozenset({"grey", "white-is-zero"})


@dataclass(frozen=True, slots=True)
class KnownDifference:
    """
    A kind of difference.

    Attributes:
        name: Short name for the report.
        reason: Why the results differ, and which one is right.
        applies: Whether a result is of this kind.
    """

    name: str
    reason: str
    applies: Callable[[Result], bool]


KNOWN_DIFFERENCES: Final = (
    KnownDifference(
        "no end marker",
        "Every pixel is in the file, and browsers show it. libvips, asked to report truncation, rejects it.",
        lambda result: result.outcome is Outcome.ONLY_OURS and result.case.damage == NO_END,
    ),
    KnownDifference(
        "WebP that ends in XMP",
        "Only metadata without effect on the picture is missing. libvips rejects the file.",
        lambda result: (
            result.outcome is Outcome.ONLY_OURS
            and (result.case.format, result.case.orientation) == ("WebP", "XMP only")
            and result.case.damage in CUTS
        ),
    ),
    KnownDifference(
        "profile of a cut TIFF",
        "The file ends within its colour profile, so that its colours would be wrong. libvips ignores the "
        "profile; for profiles of other colours than the picture's the result is the same.",
        lambda result: (
            result.outcome is Outcome.ONLY_SECOND
            and result.case.format == "TIFF"
            and result.case.profile != "none"
            and result.case.damage in CUTS
            and result.reason == "truncated"
        ),
    ),
    KnownDifference(
        "grey of 16 bits with alpha in TIFF",
        "Pillow has no mode for it; the file is rejected by the name of its kind.",
        lambda result: (
            result.outcome is Outcome.ONLY_SECOND
            and (result.case.format, result.case.colours, result.case.depth) == ("TIFF", "grey", 16)
            and result.case.alpha != "none"
            and result.reason == "format_not_allowed"
        ),
    ),
    KnownDifference(
        "12 bits in TIFF",
        "libvips does not read grey of 12 bits.",
        lambda result: result.outcome is Outcome.ONLY_OURS and result.case.depth == 12,
    ),
    KnownDifference(
        "undeclared alpha that is zero everywhere",
        "A channel that ExtraSamples leaves unspecified and that is empty is not alpha: programs write it as "
        "padding. libvips shows an invisible picture.",
        lambda result: (
            result.outcome is Outcome.DIFFERENT
            and (result.case.format, result.case.alpha) == ("TIFF", "zero")
        ),
    ),
    KnownDifference(
        "RGB profile of a grey picture",
        "A profile for RGB is applied to grey as equal red, green and blue, as browsers do. libvips does not "
        "apply it.",
        lambda result: (
            result.outcome is Outcome.DIFFERENT
            and result.case.colours in _GREY
            and result.case.profile in _RGB_PROFILES
        ),
    ),
    KnownDifference(
        "CMYK without a profile",
        "The file does not define its colours. The pipeline renders them as offset printing on coated "
        "paper, computed from eight overprints; libvips uses a built-in profile.",
        lambda result: (
            result.outcome is Outcome.DIFFERENT
            and result.case.colours == "CMYK"
            and result.case.profile != "CMYK"
        ),
    ),
    KnownDifference(
        "saturated colours of 16 bits",
        "LittleCMS converts samples of 16 bits by interpolated tables; the pipeline follows the definition "
        "of the profile to the level, as computed for the pixels that differ most. Only channels near 0 "
        "differ.",
        lambda result: (
            result.outcome is Outcome.DIFFERENT
            and (result.case.colours, result.case.depth) == ("RGB", 16)
            and result.case.profile in _RGB_PROFILES
            and result.difference <= _MAX_DIFFERENCE_OF_16_BITS
        ),
    ),
    KnownDifference(
        "associated alpha of AVIF",
        "libvips leaves the colours multiplied by alpha: they darken where the picture is transparent.",
        lambda result: (
            result.outcome is Outcome.DIFFERENT
            and (result.case.format, result.case.alpha) == ("AVIF", "associated")
        ),
    ),
)


def known_difference(result: Result) -> KnownDifference | None:
    """Return the known difference that explains a result; None for agreement and for unknown ones."""
    if result.outcome in AGREED | NEVER:
        return None
    return next((known for known in KNOWN_DIFFERENCES if known.applies(result)), None)


def unexplained(results: Iterable[Result]) -> list[Result]:
    """Return the results that neither agree nor are explained."""
    return [result for result in results if result.outcome not in AGREED and known_difference(result) is None]
