"""
CPU time and fidelity of processing one image, compared with other imaging libraries.

`python -m bench.imaging [--rounds N] [FOLDER]`: each peer makes a watermarked 800x600 JPEG of quality 82 from
a file in memory, in one thread of a separate process. The images are synthetic photographs, or the files of a
folder. pyvips and sharp are installed in `bench/.peers` on the first run.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from bench.common import report
from bench.common.photographs import encoded, photograph
from bench.imaging.peer_setup import (
    EXACT_SHARP,
    FLOOR,
    IMAGE_WORKER,
    LARGE,
    LARGE_AND_SMALLER,
    MEDIUM_AND_SMALLER,
    PILLOW,
    PYVIPS,
    SHARP,
    WITHOUT_SIMD,
    PeerProcess,
    install,
    versions,
)
from worker.domain.recipe import Size, Watermark
from worker.imaging.fonts import Fonts
from worker.imaging.geometry import fit_inside
from worker.imaging.picture import Extent
from worker.imaging.watermark import margin_px, text_height_px
from worker.imaging.watermark_text import text_tile
from worker.settings import FONT

OPTIMIZED_PEERS: Final = (PYVIPS, SHARP, EXACT_SHARP)
COMPARED: Final = (IMAGE_WORKER, PILLOW, *OPTIMIZED_PEERS)
SEVERAL_SIZES: Final = ((MEDIUM_AND_SMALLER, IMAGE_WORKER), (LARGE_AND_SMALLER, LARGE))
"""Three sizes of one upload, and the largest of them alone."""

FIDELITY_TOLERANCE_DB: Final = 3
"""A peer has comparable fidelity if it is at most this much below the worker's."""

MAX_RATIOS: Final[Mapping[str, float]] = {
    "1920x1080 JPEG": 0.80,
    "12 MP JPEG": 0.90,
    "2000x1500 PNG": 0.65,
    "1600x1200 WebP": 0.75,
}
"""Targets for image-worker / fastest peer of comparable fidelity: reported, never asserted."""
MAX_FLOOR_RATIO: Final = 1.15
"""Target for image-worker / floor."""

REPETITIONS: Final = 5
"""How often an image is processed in one measurement."""

_PLOT_TITLE: Final = "CPU time per image, by format and library"
_BOX: Final = Size("medium", 800, 600)
_MARK: Final = Watermark("Processed by Image Platform")
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True, slots=True)
class Upload:
    """An image to process, and the file of the watermark that fits it."""

    name: str
    file: Path
    mark: Path
    is_jpeg: bool


@dataclass(slots=True)
class Measurement:
    """
    Results of one peer for one image.

    Attributes:
        fidelity_db: PSNR of the resized image, before watermark and encoding.
        cpu_ms: CPU time per image, in each round.
        size_bytes: Size of the result.
    """

    fidelity_db: float
    cpu_ms: list[float] = field(default_factory=list)
    size_bytes: int = 0


Measurements: TypeAlias = Mapping[str, Mapping[str, Measurement]]
"""By name of the image, and by name of the peer."""


def measure(folder: Path | None, *, rounds: int) -> Measurements:
    """Measure all images with all peers, which take turns."""
    install()
    with TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        out = Path(scratch) / "out"
        images = [_with_mark(name, file, Path(scratch)) for name, file in _files(folder, Path(scratch))]
        peers = (*COMPARED, FLOOR, WITHOUT_SIMD, *(several for several, _ in SEVERAL_SIZES), LARGE)
        processes = {peer.name: stack.enter_context(PeerProcess(peer)) for peer in peers}
        measurements: dict[str, dict[str, Measurement]] = {}
        for image in images:
            measurements[image.name] = {}
            for name, process in _peers_for(image, processes):
                measurements[image.name][name] = Measurement(_fidelity_db(process, image, out))
                process.process(image.file, mark=image.mark, out=out, times=1)  # warm-up
        for _ in range(rounds):
            for image in images:
                for name, process in _peers_for(image, processes):
                    used = process.process(image.file, mark=image.mark, out=out, times=REPETITIONS)
                    measurement = measurements[image.name][name]
                    measurement.cpu_ms.append(used["cpu_ms"])
                    measurement.size_bytes = out.stat().st_size
    return measurements


def _peers_for(image: Upload, processes: Mapping[str, PeerProcess]) -> list[tuple[str, PeerProcess]]:
    """Return name and process of each peer that can process the image."""
    return [(name, process) for name, process in processes.items() if image.is_jpeg or name != FLOOR.name]


def section(measurements: Measurements) -> str:
    """Return the section of `docs/performance.md`."""
    rounds = len(next(iter(measurements.values()))[IMAGE_WORKER.name].cpu_ms)
    rows = [
        _row(image, peer.name, by_peer)
        for image, by_peer in measurements.items()
        for peer in (*COMPARED, FLOOR)
        if peer.name in by_peer
    ]
    fastest = [
        (
            image,
            *_fastest(by_peer),
            *_fastest(by_peer, min_db=by_peer[IMAGE_WORKER.name].fidelity_db - FIDELITY_TOLERANCE_DB),
            f"at most {MAX_RATIOS[image]:.2f}" if image in MAX_RATIOS else "",
        )
        for image, by_peer in measurements.items()
    ]
    floor = [
        (image, _ratio(by_peer, IMAGE_WORKER.name, FLOOR.name), f"at most {MAX_FLOOR_RATIO}")
        for image, by_peer in measurements.items()
        if FLOOR.name in by_peer
    ]
    usual = [
        (image, _ratio(by_peer, IMAGE_WORKER.name, PILLOW.name)) for image, by_peer in measurements.items()
    ]
    without_simd = [
        (
            image,
            _ratio(by_peer, WITHOUT_SIMD.name, IMAGE_WORKER.name),
            f"{by_peer[WITHOUT_SIMD.name].fidelity_db:.1f}",
        )
        for image, by_peer in measurements.items()
    ]
    sizes = [
        (image, *(_ratio(by_peer, several.name, one.name) for several, one in SEVERAL_SIZES))
        for image, by_peer in measurements.items()
    ]
    table = report.markdown_table
    return f"""## Imaging
CPU time of one thread to turn a file in memory into a watermarked 800x600 JPEG of quality 82, and the
fidelity of the resized image before watermark and encoding (PSNR against Pillow's Lanczos from full size).
pyvips and sharp run in their fastest form (shrink-on-load, sequential reading, watermark on its bounding
box); "Pillow as usual" is `thumbnail`, a full-size layer for the watermark, and `save`. All render the
watermark once and have malloc configured as for decoder processes. Only image-worker also checks headers and
checksums, reads EXIF, and computes dominant colour, BlurHash and perceptual hash. The images are synthetic
photographs, unless the first column names a file. Medians of {rounds} rounds of {REPETITIONS} repetitions,
peers in turn.

The floor is what no service on libjpeg-turbo goes below: its scaled decode, scaling by SIMD code and its
encoding of the same file, at the scale and quality that image-worker chooses, without watermark, checks and
colours (simplejpeg and cykooz-resizer).

{table(("image", "library", "CPU ms", "fidelity dB", "result kB"), rows)}
![{_PLOT_TITLE}](performance/imaging.webp)

CPU time of image-worker divided by that of the fastest peer (below 1, image-worker is faster), and by that of
the fastest peer of comparable fidelity (at most {FIDELITY_TOLERANCE_DB} dB lower):

{table(("image", "fastest", "ratio", "fastest of comparable fidelity", "ratio", "target"), fastest)}
{table(("image", "image-worker / floor", "target"), floor)}
What image-worker does above the floor is the watermark, the checks of the file, orientation and EXIF,
dominant colour, BlurHash and perceptual hash. It grows less than the size of the image, so that its share is
largest for small images.

{table(("image", "image-worker / Pillow as usual"), usual)}
CPU time with Pillow's `resize`, used on Linux arm64 because `cykooz-resizer` has no wheel there, divided by
that with SIMD code, both on this machine; and the fidelity with Pillow's:

{table(("image", "Pillow's resize / SIMD", "fidelity dB"), without_simd)}
CPU time of three sizes from one upload, divided by that of the largest of them alone:

{table(("image", "medium, small, thumbnail / medium", "large, medium, thumbnail / large"), sizes)}
{report.describe_machine("pillow", "cykooz-resizer", "kornia-rs")}; {versions()}.
`python -m bench.imaging [--rounds N] [FOLDER]`
"""


def _files(folder: Path | None, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and file of the images in the folder, or of synthetic photographs."""
    if folder is not None:
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in _SUFFIXES:
                yield file.name, file
        return
    for name, width, height, image_format, options in (
        ("1920x1080 JPEG", 1920, 1080, "JPEG", {"quality": 88}),
        ("12 MP JPEG", 4032, 3024, "JPEG", {"quality": 90}),
        ("2000x1500 PNG", 2000, 1500, "PNG", {}),
        ("1600x1200 WebP", 1600, 1200, "WEBP", {"quality": 85}),
    ):
        file = scratch / name
        file.write_bytes(encoded(photograph(width, height), image_format, **options))
        yield name, file


def _with_mark(name: str, file: Path, scratch: Path) -> Upload:
    """Render the watermark for an image, including the margin to the corner."""
    with Image.open(file) as image:
        is_jpeg = image.format == "JPEG"
        extent = fit_inside(Extent(*ImageOps.exif_transpose(image).size), _BOX)
    fonts = Fonts((FONT.read_bytes(),))
    tile = text_tile(_MARK, height_px=text_height_px(extent, mark=_MARK, fonts=fonts), fonts=fonts).rgba
    margin = margin_px(extent)
    mark = Image.new("RGBA", (tile.width + margin, tile.height + margin))
    mark.paste(tile)
    path = scratch / f"{name}.mark.png"
    mark.save(path)
    return Upload(name, file, path, is_jpeg)


def _fidelity_db(process: PeerProcess, image: Upload, out: Path) -> float:
    """Return the PSNR against Pillow's Lanczos from full size, scaled to the size that the peer chose."""
    size = process.resize(image.file, out=out)
    extent = (size["width"], size["height"])
    with Image.open(image.file) as original:
        upright = ImageOps.exif_transpose(original).convert("RGB")
    reference = np.asarray(upright.resize(extent, Image.Resampling.LANCZOS), np.float64).ravel()
    resized = np.frombuffer(out.read_bytes(), np.uint8).astype(np.float64)
    error = float(np.mean((resized - reference) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def _row(image: str, peer: str, by_peer: Mapping[str, Measurement]) -> Sequence[object]:
    measurement = by_peer[peer]
    return (
        image,
        peer,
        f"{report.Spread.of(measurement.cpu_ms).median:.1f}",
        f"{measurement.fidelity_db:.1f}",
        f"{measurement.size_bytes / 1000:.0f}",
    )


def _fastest(by_peer: Mapping[str, Measurement], *, min_db: float = 0) -> tuple[str, object]:
    """Return the fastest peer of at least this fidelity, and image-worker's ratio to it."""
    peers = [peer.name for peer in OPTIMIZED_PEERS if by_peer[peer.name].fidelity_db >= min_db]
    if not peers:
        return "none", ""
    fastest = min(peers, key=lambda name: report.Spread.of(by_peer[name].cpu_ms).median)
    return fastest, _ratio(by_peer, IMAGE_WORKER.name, fastest)


def _ratio(by_peer: Mapping[str, Measurement], numerator: str, denominator: str) -> report.Spread:
    return report.Spread.of_ratios(by_peer[numerator].cpu_ms, by_peer[denominator].cpu_ms)


def _plot(measurements: Measurements) -> None:
    figure = report.new_figure()
    axes = figure.subplots()
    positions = np.arange(len(measurements))
    for number, peer in enumerate(COMPARED):
        by_image = [by_peer[peer.name] for by_peer in measurements.values()]
        medians = [report.Spread.of(measurement.cpu_ms).median for measurement in by_image]
        bars = axes.bar(positions + 0.16 * (number - 2), medians, 0.15, label=peer.name)
        axes.bar_label(bars, [f"{measurement.fidelity_db:.0f} dB" for measurement in by_image], fontsize=7)
    axes.set_xticks(positions, list(measurements))
    axes.set_ylabel("CPU ms per image")
    axes.legend(frameon=False)
    axes.grid(axis="y", alpha=0.3)
    report.save_figure(figure, "imaging", alt=_PLOT_TITLE)


def main() -> None:
    """Measure and print the section; save it and its plot unless a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="measure the images of this folder instead")
    parser.add_argument("--rounds", type=int, default=9, help="number of rounds (default: %(default)s)")
    arguments = parser.parse_args()
    measurements = measure(arguments.folder, rounds=arguments.rounds)
    text = section(measurements)
    if arguments.folder is None:
        _plot(measurements)
        report.save_section("imaging", text)
    print(text)


if __name__ == "__main__":
    main()
