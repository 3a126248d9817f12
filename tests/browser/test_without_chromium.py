"""The tier on a machine without Chromium."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chromium import MISSING


def test_the_tier_is_skipped_with_one_line_that_says_how_to_install_chromium(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--no-header", "test_layout.py"],
        cwd=Path(__file__).parent,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == pytest.ExitCode.OK, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if MISSING in line]
    assert len(lines) == 1
    assert " skipped in " in result.stdout
    assert "apt-get install chromium" in lines[0]
