"""The table of faults in docs/reliability.md names tests that exist."""

import re

import pytest

from tests.docs.pages import ROOT

ROWS = re.findall(
    r"^\| (\d+) \| .+ \| (.+) \|$",
    (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
FAULT_TESTS = re.findall(
    r"^async def test_(fault_\d+)_",
    (ROOT / "tests" / "integration" / "test_faults.py").read_text(),
    re.MULTILINE,
)


def test_the_faults_are_numbered_from_1_to_40() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 41))


@pytest.mark.parametrize(("number", "tests"), ROWS)
def test_a_fault_names_existing_tests(number: str, tests: str) -> None:
    names = re.findall(r"`([^`]+)`", tests)
    assert names
    for name in names:
        if name.endswith(".py"):
            assert (ROOT / "tests" / name).is_file(), name
        elif name.startswith("fault_"):
            assert name == f"fault_{number}"
            assert name in FAULT_TESTS


def test_every_test_of_a_numbered_fault_is_in_the_table() -> None:
    assert set(FAULT_TESTS) == {name for _, tests in ROWS for name in re.findall(r"`(fault_\d+)`", tests)}


def test_the_readme_counts_what_the_runs_of_chaos_without_hostile_uploads_did() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| `CHAOS_SEED=\d+ make chaos` \|$", page, re.MULTILINE)
    counted = [
        sum(int(count.replace(",", "")) for row in rows for count in re.findall(rf"([\d,]+) {what}", row)[:1])
        for what in ("kills", "suspensions", "faults", "stale writes")
    ]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    found = re.search(
        r"killed (\d+) times and suspended (\d+) times behind an AWS that failed ([\d,]+) calls: "
        r"of [\d,]+ uploads none was lost and none counted twice, and all (\d+) writes",
        readme,
    )
    assert found
    assert [int(number.replace(",", "")) for number in found.groups()] == counted
