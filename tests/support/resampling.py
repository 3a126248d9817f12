"""The functions that scale pictures: every test of scaling runs with each of them."""

from importlib.util import find_spec
from typing import Protocol

from worker.domain.focus import Focus
from worker.domain.recipe import Size
from worker.imaging.picture import Picture
from worker.imaging.resampling import Resample, with_pillow

RESAMPLING: dict[str, Resample] = {"pillow": with_pillow}
"""By name; the SIMD code only where it is installed."""

if find_spec("cykooz_resizer") is not None:
    from worker.imaging.simd_resampling import with_simd

    RESAMPLING["simd"] = with_simd


class Resized(Protocol):
    """Function that decodes a file and makes the sizes of it."""

    def __call__(self, content: bytes, *sizes: Size, focus: Focus | None = None) -> tuple[Picture, ...]: ...
