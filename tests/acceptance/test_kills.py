"""A short chaos test: workers are killed and stopped while AWS requests fail."""

import os
import random
from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos.report import show
from tests.chaos.run import ChaosOptions, run


@pytest.fixture
def seed() -> int:
    """The seed of the run: printed, and taken from CHAOS_SEED to repeat it."""
    drawn = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CHAOS_SEED={drawn}")
    return drawn


@pytest.mark.timeout(300)
async def test_workers_killed_and_suspended_behind_a_faulty_aws_lose_nothing_and_count_nothing_twice(
    ministack_endpoint: str, tmp_path: Path, seed: int
) -> None:
    options = ChaosOptions(seed=seed, uploads=40, backlog=16, pause_s=(0.2, 1.0), final_timeout_s=90)
    result = await run(options, endpoint_url=ministack_endpoint, folder=tmp_path)

    show(result, Console(width=110))
    assert [broken.message for broken in result.broken] == []
    assert result.kills
    assert result.suspensions
    assert sum(result.faults.values()) > 50
