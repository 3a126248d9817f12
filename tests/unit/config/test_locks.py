"""The check of the lock files finds a package that has no wheel for a platform."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHECK = ROOT / "requirements" / "check_locks.py"


def pinned(lock: str, package: str) -> str:
    """Return the lines of a package in a lock file."""
    text = (ROOT / "requirements" / lock).read_text()
    found = re.search(rf"^{package}==.*?(?=^\S)", text, flags=re.MULTILINE | re.DOTALL)
    assert found
    return found.group()


def checked(lock: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHECK, lock], capture_output=True, text=True, check=False, timeout=110
    )


def test_a_package_without_a_wheel_for_a_platform_is_found(tmp_path: Path) -> None:
    lock = tmp_path / "runtime.lock"
    resizer = re.sub(r" ; .*? \\", r" \\", pinned("runtime.lock", "cykooz-resizer"))
    lock.write_text("".join((resizer, *(pinned("runtime.lock", name) for name in ("numpy", "pillow")))))

    done = checked(lock)

    assert done.returncode == 1
    found = re.findall(r"^runtime.lock cannot be installed from wheels on (\S+)", done.stderr, re.MULTILINE)
    assert set(found) == {"aarch64-manylinux_2_28"}
    assert "cykooz-resizer" in done.stderr


def test_a_lock_file_with_a_marker_for_that_package_is_accepted(tmp_path: Path) -> None:
    lock = tmp_path / "runtime.lock"
    names = ("cykooz-resizer", "numpy", "pillow")
    lock.write_text("".join(pinned("runtime.lock", name) for name in names))

    done = checked(lock)

    assert (done.returncode, done.stderr) == (0, "")


def test_make_check_includes_the_check_of_all_lock_files() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    commands = subprocess.run(
        [make, "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"python requirements/check_locks.py$", commands, flags=re.MULTILINE)
