"""Sets of test images, the same for the same seed, generated before anything is measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.common.photographs import encoded, photograph

_JPEG_QUALITY: Final = 90


@dataclass(frozen=True, slots=True)
class Series:
    """
    Test images of one size.

    Attributes:
        name: Name in reports.
        size: (width, height) in pixels.
        distinct: Number of different images; uploads cycle through them.
        per_s: Uploads per second when latency is measured: few enough for every peer to keep up.
    """

    name: str
    size: tuple[int, int]
    distinct: int
    per_s: float


FULL_HD: Final = Series("1920x1080", (1920, 1080), distinct=16, per_s=6.0)
TWELVE_MEGAPIXELS: Final = Series("12 MP", (4000, 3000), distinct=8, per_s=2.0)
SERIES: Final = (FULL_HD, TWELVE_MEGAPIXELS)


def write_images(series: Series, folder: Path, *, seed: int) -> list[Path]:
    """Write the images of a series to a folder as JPEG files, and return the files."""
    files = []
    for number in range(series.distinct):
        file = folder / f"{series.size[0]}-{number:02d}.jpg"
        image = photograph(*series.size, seed=1000 * seed + number)
        file.write_bytes(encoded(image, "JPEG", quality=_JPEG_QUALITY, subsampling="4:2:0"))
        files.append(file)
    return files
