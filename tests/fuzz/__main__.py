"""
`make fuzz`: damage files of every format at random for a while; exit status 1 if there is a finding.

Environment variables: FUZZ_S (3600), FUZZ_SEED (random), FUZZ_OUT (`out/fuzz`), the folder
for files with findings.
"""

import asyncio
import collections
import hashlib
import logging
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from tests.fuzz.judge import RECIPES, Judgement, judge
from tests.matrix.cases import sampled_cases
from tests.matrix.files import build
from tests.support.mutations import MUTATIONS
from tests.support.pictures import animation
from tests.support.pools import make_pool
from worker.decoder_pool.pool import DecoderPool

_SEED_FILES: Final = 400
_MAX_MUTATIONS: Final = 3
_MIN_BYTES: Final = 16
_PROGRESS_S: Final = 60.0
_STEP_TIMEOUT_S: Final = 60.0


@dataclass(slots=True)
class _Summary:
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    findings: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_mib: int = 0

    def add(self, judgement: Judgement) -> None:
        self.outcomes[judgement.outcome] += 1
        self.slowest_s = max(self.slowest_s, judgement.cpu_s)
        self.peak_mib = max(self.peak_mib, judgement.peak_mib)

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count:,}" for name, count in self.outcomes.most_common())
        return (
            f"{self.outcomes.total():,} files: {counts}; completed ones took at most {self.slowest_s:.2f} s "
            f"of CPU time and {self.peak_mib} MiB; {len(self.findings)} findings"
        )


def seed_files(dice: random.Random) -> list[bytes]:
    """Return valid files of every format."""
    cases = sampled_cases(_SEED_FILES, seed=dice.getrandbits(32))
    animations = [animation(kind, frames=3) for kind in ("GIF", "WEBP", "PNG")]
    return [build(case.undamaged) for case in cases] + animations


def damaged(dice: random.Random, files: list[bytes]) -> bytes:
    """Return a file with one or more kinds of damage."""
    content = dice.choice(files)
    for _ in range(dice.randint(1, _MAX_MUTATIONS)):
        if len(content) > _MIN_BYTES:
            content = dice.choice(MUTATIONS)(content, dice, files)
    return content


async def fuzz(*, seconds: float, seed: int, folder: Path) -> _Summary:
    """Judge damaged files until the time is over, and store those with findings."""
    dice, summary = random.Random(seed), _Summary()
    files = seed_files(dice)
    end, shown = time.monotonic() + seconds, time.monotonic()
    async with make_pool(step_timeout_s=_STEP_TIMEOUT_S) as pool:
        while time.monotonic() < end:
            await _judge_next(pool, dice, files, summary, folder)
            if time.monotonic() - shown > _PROGRESS_S:
                shown = time.monotonic()
                print(summary, flush=True)
    return summary


async def _judge_next(
    pool: DecoderPool, dice: random.Random, files: list[bytes], summary: _Summary, folder: Path
) -> None:
    content = damaged(dice, files)
    judgement = await judge(pool, content, dice.choice(RECIPES))
    summary.add(judgement)
    if not judgement.finding:
        return
    summary.findings.append(judgement.finding)
    number, file = summary.outcomes.total(), _saved(content, folder)
    print(f"finding in file {number:,} of the seed: {judgement.finding} ({file})", flush=True)


def _saved(content: bytes, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / hashlib.sha256(content).hexdigest()[:16]
    file.write_bytes(content)
    return file


def main() -> int:
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(10**9))
    seconds = float(os.environ.get("FUZZ_S") or "3600")
    folder = Path(os.environ.get("FUZZ_OUT") or "out/fuzz")
    print(f"FUZZ_SEED={seed} FUZZ_S={seconds:g}", flush=True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    summary = asyncio.run(fuzz(seconds=seconds, seed=seed, folder=folder))
    print(summary)
    return 1 if summary.findings else 0


if __name__ == "__main__":
    sys.exit(main())
