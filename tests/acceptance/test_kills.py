"""The chaos in short: real workers that are killed and stopped while their AWS makes trouble."""

import os
import random
from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos.report import show
from tests.chaos.run import Terms, run


@pytest.fixture
def seed() -> int:
    """The seed of the run: printed, and taken from CHAOS_SEED to repeat it."""
    drawn = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CHAOS_SEED={drawn}")  # noqa: T201
    return drawn


@pytest.mark.timeout(300)
async def test_workers_killed_and_stopped_amid_troubles_of_their_aws_lose_nothing_and_count_nothing_twice(
    ministack_endpoint: str, tmp_path: Path, seed: int
) -> None:
    terms = Terms(seed=seed, uploads=100, backlog=24, pause_s=(0.2, 1.0), patience_s=90)
    outcome = await run(terms, endpoint_url=ministack_endpoint, folder=tmp_path)

    show(outcome, Console(width=110))
    assert [broken.sentence for broken in outcome.broken] == []
    assert outcome.kills
    assert outcome.stops
    assert sum(outcome.troubles.values()) > 50
