"""The report page of the matrix, docs/matrix.md."""

import collections
import textwrap
from collections.abc import Sequence
from typing import Final

from tests.matrix.cases import DAMAGES, ORIENTATIONS, PROFILES
from tests.matrix.comparison import AGREED, NEVER, Outcome, Result
from tests.matrix.known_differences import KNOWN_DIFFERENCES, known_difference
from tests.matrix.second_decoder import version

_COLUMNS: Final = 118


def report(results: Sequence[Result]) -> str:
    """Return the page: counts for each format and outcome, and every known difference with its reason."""
    return "\n".join(["# Comparison with libvips", *_introduction(len(results)), *_outcomes(results)]) + "\n"


def _introduction(files: int) -> list[str]:
    return [
        _paragraph(
            "`make matrix` writes this page. Generated files are processed by the whole pipeline, to PNG at "
            f"the size of the upload and without a watermark, and decoded by libvips {version()}. The "
            "results are compared. BMP and HEIC, which libvips in the wheel pyvips-binary does not read, are "
            "compared with the same picture as PNG."
        ),
        "",
        _paragraph(
            f"The matrix has {files:,} files: every format with each depth, kind of colours, layout and kind "
            "of transparency that it can have. Each of these is tested as it is, with each of "
            f"{len(PROFILES) - 1} profiles, with each of {len(ORIENTATIONS) - 1} orientations, and with each "
            f"of {len(DAMAGES) - 1} kinds of truncation and damage; of the combinations of these, a fixed "
            "share is tested."
        ),
        "",
        _paragraph(
            "Colours are compared multiplied by their alpha. They may differ by 1 of 255, by 3 with a "
            "profile, and by one more with associated alpha and in AVIF. In AVIF with colours at half the "
            "resolution, 90 % of the pixels must be within 10 (12 with a profile), because the libraries "
            "interpolate them differently; with a profile and at full resolution, 95 % must be within 4. In "
            "HEIC, 94 % must be within 16, because the reference is the picture before its compression. A "
            "damaged file that completes must have exactly the pixels of the undamaged one."
        ),
        "",
    ]


def _outcomes(results: Sequence[Result]) -> list[str]:
    formats = sorted({result.case.format for result in results})
    by_outcome = collections.Counter((result.outcome, result.case.format) for result in results)
    known = collections.Counter(
        difference.name for result in results if (difference := known_difference(result))
    )
    rows = []
    for outcome in Outcome:
        counts = [by_outcome[outcome, name] for name in formats]
        if sum(counts) or outcome in AGREED | NEVER:
            cells = " | ".join(f"{count:,}" for count in (*counts, sum(counts)))
            rows.append(f"| {outcome} | {cells} |")
    return [
        f"| outcome | {' | '.join(formats)} | all |",
        "| --- |" + " ---: |" * (len(formats) + 1),
        *rows,
        "",
        _paragraph(
            "A file that completes with pixels missing, or crashes a decoder, fails the run. Every other "
            "difference must be one of these, from `tests/matrix/known_differences.py`:"
        ),
        "",
        "| difference | files | reason |",
        "| --- | ---: | --- |",
        *(f"| {each.name} | {known[each.name]:,} | {each.reason} |" for each in KNOWN_DIFFERENCES),
    ]


def _paragraph(text: str) -> str:
    return textwrap.fill(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)
