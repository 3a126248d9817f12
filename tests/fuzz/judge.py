"""Judge what a decoder process made of a file: its code, its dimensions, its CPU time and memory."""

import io
import math
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from tests.support.pools import outputs_of, until
from worker.decoder_pool.pool import DecoderPool
from worker.domain.errors import ImageWorkerError, RejectedError
from worker.domain.recipe import Animation, Recipe, Size, Watermark
from worker.domain.status import StepName
from worker.domain.step import DecoderOutput, EncodedRendition, StepReport
from worker.imaging.cost import max_decoding_seconds, max_pixels_in_memory
from worker.imaging.geometry import layout
from worker.imaging.picture import Extent

RECIPES: Final = (
    Recipe(sizes=(Size("medium", 800, 600), Size("small", 60, 60)), watermark=Watermark("Fuzz")),
    Recipe(sizes=(Size("small", 60, 60),), watermark=None, animation=Animation.KEEP),
)
FILE_CODES: Final = frozenset(
    {
        "not_an_image",
        "format_not_allowed",
        "too_many_bytes",
        "too_many_pixels",
        "too_many_frames",
        "too_many_scans",
        "too_small",
        "truncated",
        "corrupt",
    }
)
"""Codes of files. Crashes, timeouts and exhausted memory are findings: bounds should have rejected them."""

_AFTER_DECODING_S: Final = 3
_SLACK_MIB: Final = 16
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
_OPENED_BY_PILLOW: Final = ("JPEG", "PNG", "BMP")


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    What became of a file.

    Attributes:
        outcome: `completed`, or the code of the rejection.
        finding: What is wrong; empty if nothing is.
        cpu_s: CPU time of the decoder process.
        peak_mib: Largest resident memory of the decoder process; 0 if it cannot be read.
    """

    outcome: str
    finding: str = ""
    cpu_s: float = 0.0
    peak_mib: int = 0


async def judge(pool: DecoderPool, content: bytes, recipe: Recipe) -> Judgement:
    """Process a file in a pool of one decoder, and judge the result."""
    await until(lambda: bool(pool.pids))
    (pid,) = pool.pids
    _reset_peak(pid)
    before_s = _cpu_s(pid)
    try:
        outputs = await outputs_of(pool, content, recipe)
    except RejectedError as rejected:
        finding = "" if rejected.code in FILE_CODES else f"{rejected.code}: {rejected}"
        return Judgement(rejected.code, finding)
    except ImageWorkerError as error:
        return Judgement(type(error).__name__, f"{type(error).__name__}: {error}")
    cpu_s, peak_mib = max(0.0, _cpu_s(pid) - before_s), _peak_mib(pid)
    finding = _finding(content, recipe, outputs, cpu_s=cpu_s, peak_mib=peak_mib)
    return Judgement("completed", finding, cpu_s, peak_mib)


def _finding(
    content: bytes, recipe: Recipe, outputs: list[DecoderOutput], *, cpu_s: float, peak_mib: int
) -> str:
    details = {output.step: output.detail for output in outputs if isinstance(output, StepReport)}
    renditions = {output.size: output for output in outputs if isinstance(output, EncodedRendition)}
    image_format, frames = str(details[StepName.VALIDATION]["format"]), details[StepName.VALIDATION]["frames"]
    original = _original(details)
    is_kept = recipe.animation is Animation.KEEP and image_format in {"gif", "webp"}
    pixels = original.pixels * (int(str(frames)) if is_kept else 1)
    limit_s = max_decoding_seconds(pixels=pixels, size_bytes=len(content)) + _AFTER_DECODING_S
    if cpu_s > limit_s:
        return f"{cpu_s:.1f} s of CPU time, above {limit_s} s for {pixels:,} pixels, {len(content):,} bytes"
    fitting = max_pixels_in_memory(
        image_format,
        str(details[StepName.VALIDATION]["mode"]),
        memory_mb=peak_mib - _SLACK_MIB,
        size_bytes=len(content),
        sizes=recipe.sizes,
    )
    if not is_kept and fitting > pixels:
        return f"{peak_mib} MiB for {pixels:,} pixels, of which {fitting:,} should fit into that"
    announced = _announced(content)
    if announced is not None and sorted(announced) != sorted(original):
        return f"the header announces {announced}, the record has {tuple(original)}"
    for size in recipe.sizes:
        expected = layout(original, size).uncropped
        found = Extent(renditions[size.name].width, renditions[size.name].height)
        if found != expected:
            return f"size {size.name} is {tuple(found)} instead of {tuple(expected)}"
    return ""


def _original(details: Mapping[StepName, Mapping[str, object]]) -> Extent:
    dimensions = details[StepName.RESIZE]["dimensions"]
    assert isinstance(dimensions, dict)
    original = dimensions["original"]
    return Extent(original["width"], original["height"])


def _announced(content: bytes) -> tuple[int, int] | None:
    """Return the size in the header as Pillow reads it; None for formats whose size depends on more."""
    with suppress(Exception), warnings.catch_warnings(action="ignore"):
        return Image.open(io.BytesIO(content), formats=_OPENED_BY_PILLOW).size
    return None


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it was replaced after this image
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _reset_peak(pid: int) -> None:
    with suppress(OSError):  # only root may, for a confined process
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak_mib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0")
    return math.ceil(int(line.split()[1]) / 1024)
