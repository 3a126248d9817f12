"""
What the imaging alone costs: the service's own pipeline in one process, with nothing around it.

`python -m bench.service.imaging_alone PICTURES FILE...` prints the CPU seconds of one picture.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.common.paths import ROOT
from worker.decoder_pool.process import MALLOC_ENVIRONMENT
from worker.domain.recipe import Limits
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process
from worker.recipe_settings import standard_recipe
from worker.settings import FONT, Settings


def measure(files: list[Path], pictures: int) -> float:
    """Return the CPU seconds of one picture, taken in a process of its own."""
    command = (sys.executable, "-m", "bench.service.imaging_alone", str(pictures), *map(str, files))
    environment = os.environ | MALLOC_ENVIRONMENT  # as the children have it
    return float(subprocess.check_output(command, cwd=ROOT, text=True, env=environment))  # noqa: S603 - our own


def main() -> None:
    """Process the files in turn; the first round of them is not counted."""
    pictures, contents = int(sys.argv[1]), [Path(name).read_bytes() for name in sys.argv[2:]]
    settings = Settings()
    recipe, fonts = standard_recipe(settings), Fonts((FONT.read_bytes(),))
    limits = Limits(
        max_bytes=settings.max_bytes,
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        min_side_px=settings.min_side_px,
    )

    def work(count: int) -> None:
        for number in range(count):
            for _ in process(contents[number % len(contents)], recipe, limits=limits, fonts=fonts):
                pass

    work(len(contents))
    start_s = time.process_time()
    work(pictures)
    sys.stdout.write(f"{(time.process_time() - start_s) / pictures}\n")


if __name__ == "__main__":
    main()
