"""Each fixed defect is found when its fix is reverted."""

from collections.abc import Iterator

import pytest

from tests.docs.pages import ROOT
from tests.simulation.reverted import DEFECTS, Defect, found_by, row
from tests.simulation.schedule import draw
from tests.simulation.world import simulate, simulating


@pytest.fixture(autouse=True)
def _simulation() -> Iterator[None]:
    with simulating():
        yield


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_reverted_fix_is_found(defect: Defect) -> None:
    found = found_by(defect, first=defect.seed)

    assert found is not None


@pytest.mark.parametrize("seed", sorted({defect.seed for defect in DEFECTS}))
def test_the_same_seed_finds_nothing_with_all_fixes(seed: int) -> None:
    assert simulate(draw(seed)).violation is None


def test_the_documentation_lists_the_seed_of_each_defect() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()

    assert [defect.name for defect in DEFECTS if row(defect, defect.seed) not in page] == []
