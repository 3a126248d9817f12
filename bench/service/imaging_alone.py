"""
CPU time of the imaging pipeline alone, in one process.

`python -m bench.service.imaging_alone IMAGES FILE...` prints the CPU seconds per image.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Final

from bench.common.paths import ROOT
from bench.imaging.peer_setup import FLOOR, PeerProcess
from worker.decoder_pool.interpreter import MALLOC_ENVIRONMENT
from worker.domain.recipe import Limits
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process
from worker.recipe_settings import standard_recipe
from worker.settings import FONT, Settings

_REPETITIONS: Final = 3


def measure_ms(files: Sequence[Path], images: int) -> float:
    """Return the CPU milliseconds per image, measured in a new process."""
    command = (sys.executable, "-m", "bench.service.imaging_alone", str(images), *map(str, files))
    environment = {**os.environ, **MALLOC_ENVIRONMENT}  # as for decoder processes
    output = subprocess.check_output(command, cwd=ROOT, text=True, env=environment)
    return 1000 * float(output)


def measure_floor_ms(files: Sequence[Path]) -> float:
    """Return the CPU milliseconds per image of the floor of `bench.imaging`."""
    with PeerProcess(FLOOR) as floor, TemporaryDirectory(prefix="image-worker-bench-") as folder:
        out = Path(folder) / "out"
        floor.process(files[0], mark=out, out=out, times=1)  # warm-up
        return mean(floor.process(file, mark=out, out=out, times=_REPETITIONS)["cpu_ms"] for file in files)


def main() -> None:
    """Process the files in turn, after each has been processed once as warm-up."""
    images, contents = int(sys.argv[1]), [Path(name).read_bytes() for name in sys.argv[2:]]
    settings = Settings()
    recipe, fonts = standard_recipe(settings), Fonts((FONT.read_bytes(),))
    limits = Limits(
        max_bytes=settings.max_bytes,
        max_pixels=settings.max_pixels,
        max_stored_pixels=settings.max_stored_pixels,
        max_frames=settings.max_frames,
        min_side_px=settings.min_side_px,
    )

    def process_images(count: int) -> None:
        for number in range(count):
            for _ in process(contents[number % len(contents)], recipe, limits=limits, fonts=fonts):
                pass

    process_images(len(contents))
    start_s = time.process_time()
    process_images(images)
    sys.stdout.write(f"{(time.process_time() - start_s) / images}\n")


if __name__ == "__main__":
    main()
