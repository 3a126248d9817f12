"""Scaling equals a Lanczos filter computed in floating point, and uses what is installed."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.pictures import noise
from tests.support.resampling import RESAMPLING
from worker.imaging.picture import Extent
from worker.imaging.resampling import Box, Resample
from worker.imaging.resize import INSTALLED_RESAMPLING, scale

ROOT = Path(__file__).parents[3]
Planes = NDArray[np.float64]


def weights(length: int, result: int, start: float, end: float) -> Planes:
    """Return a row of Lanczos weights for each pixel of the result, normalized where the picture ends."""
    step = (end - start) / result
    spread = max(step, 1.0)
    centres = start + (np.arange(result) + 0.5) * step
    distance = (np.arange(length)[np.newaxis, :] + 0.5 - centres[:, np.newaxis]) / spread
    row: Planes = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
    # The SIMD code reads no pixels outside of a crop, Pillow none outside of the picture.
    return row / row.sum(axis=1, keepdims=True)


def lanczos(image: Image.Image, extent: Extent, box: Box) -> Planes:
    """Return the scaled picture; colours are multiplied by alpha before, and divided after."""
    planes = multiplied(image)
    across = weights(image.width, extent.width, box[0], box[2])
    down = weights(image.height, extent.height, box[1], box[3])
    scaled: Planes = np.einsum("yh,hwc,xw->yxc", down, planes, across, optimize=True)
    if image.mode == "RGBA":  # no colour is more than white
        scaled[..., :3] = np.minimum(scaled[..., :3], scaled[..., 3:])
    return scaled


def multiplied(image: Image.Image) -> Planes:
    """Return the planes of a picture, its colours multiplied by alpha."""
    planes = np.asarray(image, np.float64).reshape(image.height, image.width, -1)
    if image.mode == "RGBA":
        return np.concatenate([planes[..., :3] * planes[..., 3:] / 255, planes[..., 3:]], axis=2)
    return planes


def zone_plate(side: int) -> Image.Image:
    """Return circles of every frequency, which shows what a filter lets through that it should not."""
    x = np.linspace(-1, 1, side)
    radius = x[np.newaxis, :] ** 2 + x[:, np.newaxis] ** 2
    return Image.fromarray((127.5 + 127.5 * np.cos(math.pi * side / 4 * radius)).astype(np.uint8))


def picture(content: str, mode: str) -> Image.Image:
    """Return a picture of medium contrast: both functions clip what overshoots between their two passes."""
    if content == "noise":
        full = noise(240, 180, mode=mode)
    else:
        plate = zone_plate(240).crop((0, 0, 240, 180))
        bands = [plate, plate.rotate(180), plate.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        bands.append(Image.linear_gradient("L").resize((240, 180)))
        full = Image.merge(mode, bands[: len(mode)])
    return full.point(lambda level: 96 + level // 4)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("content", ["noise", "zone plate"])
@pytest.mark.parametrize(
    "extent",
    [Extent(120, 90), Extent(77, 43), Extent(31, 170), Extent(10, 8), Extent(400, 300), Extent(1, 1)],
)
def test_scaling_equals_the_filter(resample: Resample, content: str, mode: str, extent: Extent) -> None:
    image = picture(content, mode)
    error = np.abs(
        multiplied(scale(image, extent, resample=resample)) - lanczos(image, extent, (0, 0, 240, 180))
    )
    assert error.max() < 3
    assert error.mean() < 0.7


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 120.0, 180.0), (60.5, 30.25, 180.5, 150.75), (239.0, 0.0, 240.0, 180.0)]
)
def test_scaling_a_part_equals_the_filter_except_at_its_edges(
    resample: Resample, mode: str, box: Box
) -> None:
    """At the edges of a crop Pillow uses the pixels outside, the SIMD code does not."""
    image, extent = picture("zone plate", mode), Extent(60, 60)
    smooth = image.resize((24, 18), Image.Resampling.BOX).resize((240, 180), Image.Resampling.BICUBIC)
    found, expected = (
        multiplied(scale(smooth, extent, box=box, resample=resample)),
        lanczos(smooth, extent, box),
    )
    error = np.abs(found - expected)
    assert error[4:-4, 4:-4].max() < 3
    assert error.mean() < 2


def in_an_environment(
    program: str, tmp_path: Path, *, cykooz: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a program with the packages of this environment and this `cykooz_resizer`, or without it."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for folder in map(Path, sys.path):
        if folder.name == "site-packages":
            for package in folder.iterdir():
                if not package.name.startswith("cykooz") and package.suffix != ".pth":
                    (packages / package.name).symlink_to(package)
    if cykooz is not None:
        (packages / "cykooz_resizer.py").write_text(cykooz)
    paths = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(packages)!r}]\n"
    return subprocess.run(
        [sys.executable, "-S", "-P", "-c", paths + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_pillow_scales_where_the_package_of_the_simd_code_is_not_installed(tmp_path: Path) -> None:
    program = """
from worker.imaging.fonts import Fonts
from worker.imaging.resize import INSTALLED_RESAMPLING
from worker.imaging.warm_up import warm_up
from pathlib import Path
import worker
warm_up(Fonts(((Path(worker.__file__).parent / "data/fonts/DejaVuSans-Bold.ttf").read_bytes(),)))
print(INSTALLED_RESAMPLING.__name__, "cykooz_resizer" in sys.modules)
"""
    done = in_an_environment(program, tmp_path, cykooz=None)
    assert (done.returncode, done.stdout) == (0, "with_pillow False\n"), done.stderr


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError('libgcc_s.so.1: cannot open shared object file')",
        "from no_such_package import Resizer",
        "",
    ],
    ids=["library", "dependency", "other package"],
)
def test_a_package_of_the_simd_code_that_cannot_be_imported_is_an_error(tmp_path: Path, source: str) -> None:
    done = in_an_environment("import worker.imaging.resize", tmp_path, cykooz=source)
    assert done.returncode == 1
    assert "Error: " in done.stderr.splitlines()[-1]
    assert "simd_resampling" in done.stderr


def test_the_simd_code_is_used_where_it_is_installed() -> None:
    assert INSTALLED_RESAMPLING is RESAMPLING.get("simd", RESAMPLING["pillow"])
