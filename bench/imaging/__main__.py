"""
CPU time and fidelity of one picture, against other libraries.

`python -m bench.imaging [--rounds N] [FOLDER]`: each contender makes an 800x600 JPEG of quality 82 with a
text on it from a file in memory, in one thread of a process of its own. The pictures are like photographs and
made from a seed, or those of a folder. pyvips and sharp are installed under `bench/.peers` the first time.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from bench.common import report
from bench.common.photographs import encoded, photograph
from bench.imaging.peer_setup import (
    CAREFUL_SHARP,
    LARGE,
    OURS,
    PILLOW,
    PYVIPS,
    SHARP,
    THREE_SIZES,
    THREE_WITH_LARGE,
    Contender,
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

PEERS: Final = (PYVIPS, SHARP, CAREFUL_SHARP)
COMPARED: Final = (OURS, PILLOW, *PEERS)
SIZES: Final = ((THREE_SIZES, OURS), (THREE_WITH_LARGE, LARGE))
"""Three sizes of one upload, and the largest of them alone."""

LIKE_DB: Final = 3
"""By how much less fidelity counts as alike."""

TIMES: Final = 5
"""How often a picture is made in one measurement."""

_SAYS: Final = "CPU time of one picture, by format and library"
_BOX: Final = Size("medium", 800, 600)
_MARK: Final = Watermark("Processed by Image Platform")
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture to make something of, and where it lies."""

    name: str
    file: Path
    mark: Path


@dataclass(slots=True)
class Measured:
    """
    What one contender made of one picture.

    Attributes:
        cpu_ms: Of one picture, in each round.
        fidelity_db: PSNR of the resized picture, before mark and encoding.
        size_bytes: Of the result.
    """

    fidelity_db: float
    cpu_ms: list[float] = field(default_factory=list)
    size_bytes: int = 0


Figures = Mapping[str, Mapping[str, Measured]]
"""By the name of the picture, and by contender."""


def measure(folder: Path | None, *, rounds: int) -> Figures:
    """Measure all pictures with all contenders, in turns."""
    install()
    with TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        out = Path(scratch) / "out"
        uploads = [_with_mark(name, file, Path(scratch)) for name, file in _files(folder, Path(scratch))]
        names = [*COMPARED, *(name for pair in SIZES for name in pair if name not in COMPARED)]
        contenders = {name: stack.enter_context(Contender(name)) for name in names}
        figures: dict[str, dict[str, Measured]] = {}
        for upload in uploads:
            figures[upload.name] = {}
            for name, contender in contenders.items():
                figures[upload.name][name] = Measured(_fidelity_db(contender, upload, out))
                contender.ask(times=1, file=upload.file, mark=upload.mark, out=out)  # warms it up
        for _ in range(rounds):
            for upload in uploads:
                for name, contender in contenders.items():
                    told = contender.ask(times=TIMES, file=upload.file, mark=upload.mark, out=out)
                    measured = figures[upload.name][name]
                    measured.cpu_ms.append(told["cpu_ms"])
                    measured.size_bytes = out.stat().st_size
    return figures


def section(figures: Figures) -> str:
    """Write the section of `docs/performance.md`."""
    rounds = len(next(iter(figures.values()))[OURS].cpu_ms)
    made = [_row(name, contender, by) for name, by in figures.items() for contender in COMPARED]
    against = [
        (name, *_fastest(by, at_least_db=0), *_fastest(by, at_least_db=by[OURS].fidelity_db - LIKE_DB))
        for name, by in figures.items()
    ]
    usual = [(name, _ratio(by, OURS, PILLOW)) for name, by in figures.items()]
    sizes = [(name, *(_ratio(by, three, one) for three, one in SIZES)) for name, by in figures.items()]
    return f"""## Imaging
One picture from a file in memory to an 800x600 JPEG of quality 82 with a text on it, in one thread: CPU
milliseconds of the process, and fidelity (PSNR of the resized picture, before mark and encoding, against
Pillow's Lanczos from full size). Each library in its best form: shrinking while it decodes, reading in
sequence, the mark rendered once, malloc set as the worker sets it for its children. Only the worker checks
headers and checksums, reads EXIF, and computes dominant colour, BlurHash and perceptual hash on the way. The
pictures are like photographs and made from a seed, unless the names of files say otherwise.
Medians of {rounds} rounds of {TIMES} pictures, taken in turns; in brackets the middle half.

{report.table(("picture", "made by", "CPU ms", "fidelity dB", "result kB"), made)}
![{_SAYS}](performance/imaging.webp)

Ratios of CPU time, below 1 where the worker is faster; of like fidelity is whoever is no more than
{LIKE_DB} dB below it:

{report.table(("picture", "fastest", "worker / it", "fastest of like fidelity", "worker / it"), against)}
{report.table(("picture", "worker / Pillow as usual"), usual)}
Three sizes from one upload against the largest of them alone:

{report.table(("picture", "medium, small, thumbnail / medium", "large, medium, thumbnail / large"), sizes)}
{report.machine("pillow", "cykooz-resizer", "kornia-rs")}; {versions()}.
`python -m bench.imaging [--rounds N] [FOLDER]`
"""


def _files(folder: Path | None, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Yield names and files: those of the folder, or made ones."""
    if folder is not None:
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in _SUFFIXES:
                yield file.name, file
        return
    for name, width, height, picture_format, options in (
        ("1920x1080 JPEG", 1920, 1080, "JPEG", {"quality": 88}),
        ("12 MP JPEG", 4032, 3024, "JPEG", {"quality": 90}),
        ("2000x1500 PNG", 2000, 1500, "PNG", {}),
        ("1600x1200 WebP", 1600, 1200, "WEBP", {"quality": 85}),
    ):
        file = scratch / name
        file.write_bytes(encoded(photograph(width, height), picture_format, **options))
        yield name, file


def _with_mark(name: str, file: Path, scratch: Path) -> Upload:
    """Draw the mark of this picture's result, with the margin that keeps it from the corner."""
    with Image.open(file) as image:
        extent = fit_inside(Extent(*ImageOps.exif_transpose(image).size), _BOX)
    fonts = Fonts((FONT.read_bytes(),))
    tile = text_tile(_MARK, height_px=text_height_px(extent, mark=_MARK, fonts=fonts), fonts=fonts).rgba
    margin = margin_px(extent)
    mark = Image.new("RGBA", (tile.width + margin, tile.height + margin))
    mark.paste(tile)
    path = scratch / f"{name}.mark.png"
    mark.save(path)
    return Upload(name, file, path)


def _fidelity_db(contender: Contender, upload: Upload, out: Path) -> float:
    """Return the PSNR against a full-size Lanczos of Pillow, to the size that the contender chose."""
    told = contender.ask(times=0, file=upload.file, mark=upload.mark, out=out)
    extent = (told["width"], told["height"])
    with Image.open(upload.file) as image:
        reference = ImageOps.exif_transpose(image).convert("RGB").resize(extent, Image.Resampling.LANCZOS)
    made = np.frombuffer(out.read_bytes(), np.uint8).astype(np.float64)
    error = float(np.mean((made - np.asarray(reference, np.float64).ravel()) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def _row(picture: str, contender: str, made: Mapping[str, Measured]) -> Sequence[object]:
    measured = made[contender]
    return (
        picture,
        contender,
        f"{report.Spread.of(measured.cpu_ms).median:.1f}",
        f"{measured.fidelity_db:.1f}",
        f"{measured.size_bytes / 1000:.0f}",
    )


def _fastest(made: Mapping[str, Measured], *, at_least_db: float) -> tuple[str, object]:
    peers = [name for name in PEERS if made[name].fidelity_db >= at_least_db]
    if not peers:
        return "nobody", ""
    fastest = min(peers, key=lambda name: report.Spread.of(made[name].cpu_ms).median)
    return fastest, _ratio(made, OURS, fastest)


def _ratio(made: Mapping[str, Measured], one: str, other: str) -> report.Spread:
    return report.Spread.of_ratios(made[one].cpu_ms, made[other].cpu_ms)


def _draw(figures: Figures) -> None:
    figure = report.figure()
    axes = figure.subplots()
    places = np.arange(len(figures))
    for number, contender in enumerate(COMPARED):
        spreads = [report.Spread.of(made[contender].cpu_ms) for made in figures.values()]
        bars = axes.bar(places + 0.16 * (number - 2), [one.median for one in spreads], 0.15, label=contender)
        axes.bar_label(
            bars, [f"{made[contender].fidelity_db:.0f} dB" for made in figures.values()], fontsize=7
        )
    axes.set_xticks(places, figures)
    axes.set_ylabel("CPU ms of one picture")
    axes.legend(frameon=False)
    axes.grid(axis="y", alpha=0.3)
    report.save(figure, "imaging", says=_SAYS)


def main() -> None:
    """Measure and print the section; leave it in `docs/performance` where no folder was named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="pictures of your own")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    figures = measure(arguments.folder, rounds=arguments.rounds)
    text = section(figures)
    if arguments.folder is None:
        _draw(figures)
        report.save_section("imaging", text)
    print(text)  # noqa: T201 - a command


if __name__ == "__main__":
    main()
