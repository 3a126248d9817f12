"""A random part of the matrix: our pipeline and libvips agree, or differ for a known reason."""

import os
import subprocess
import sys

from tests.docs.pages import ROOT
from tests.matrix.cases import all_cases

CASES = os.environ.get("MATRIX_CASES", "200")


def test_the_pipeline_and_libvips_agree_or_differ_for_a_known_reason() -> None:
    # libvips has threads, which must not be in a process from which other tests fork.
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.matrix"],
        cwd=ROOT,
        env={**os.environ, "MATRIX_CASES": CASES},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]


def test_the_matrix_has_several_thousand_different_files() -> None:
    cases = all_cases()
    assert len(cases) == len(set(cases)) > 5000
