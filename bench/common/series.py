"""Photographs to work on: the same for the same seed, made before anything is measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.common.photographs import encoded, photograph

_QUALITY: Final = 90


@dataclass(frozen=True, slots=True)
class Series:
    """
    Pictures of one size.

    Attributes:
        name: For people.
        size: (width, height) in pixels.
        distinct: How many different ones there are; uploads take them in turn.
        per_s: How many a second are uploaded where time to completion is measured: few enough for everyone.
    """

    name: str
    size: tuple[int, int]
    distinct: int
    per_s: float


FULL_HD: Final = Series("1920x1080", (1920, 1080), distinct=16, per_s=6.0)
TWELVE_MEGAPIXELS: Final = Series("12 MP", (4000, 3000), distinct=8, per_s=2.0)
SERIES: Final = (FULL_HD, TWELVE_MEGAPIXELS)


def make(series: Series, folder: Path, *, seed: int) -> list[Path]:
    """Write the pictures of a series to a folder as JPEGs and return their files."""
    files = []
    for number in range(series.distinct):
        file = folder / f"{series.size[0]}-{number:02d}.jpg"
        picture = photograph(*series.size, seed=1000 * seed + number)
        file.write_bytes(encoded(picture, "JPEG", quality=_QUALITY, subsampling="4:2:0"))
        files.append(file)
    return files
