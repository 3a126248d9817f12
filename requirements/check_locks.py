"""
Check that the packages of each lock file have wheels for every platform and Python version that is supported.

    python requirements/check_locks.py [LOCK FILE...]

It queries the package registry, installs nothing, and prints each combination that cannot be installed.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

FOLDER: Final = Path(__file__).parent
PLATFORMS: Final = (
    "x86_64-manylinux_2_28",
    "aarch64-manylinux_2_28",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
)
VERSIONS: Final = ("3.11", "3.13")
"""The oldest version, and that of the container image."""

WITHOUT_WHEELS: Final = {"dev.lock": ("pyvips",)}
"""Packages of the development environment that are pure Python and released as source only."""

_TIMEOUT_S: Final = 180


def error_of(lock: Path, platform: str, version: str, *, target: Path) -> str | None:
    """Return why a lock file cannot be installed on a platform; None if it can."""
    sources = [f"--no-binary={package}" for package in WITHOUT_WHEELS.get(lock.name, ())]
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--dry-run"),
            *("--python-platform", platform, "--python-version", version, "--target", target),
            *("--only-binary", ":all:", *sources, "--require-hashes", "--requirements", lock),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
        env={**os.environ, "UV_NO_PROGRESS": "1"},
    )
    return None if done.returncode == 0 else done.stderr.strip()


def check(locks: Sequence[Path]) -> list[str]:
    """Return a message for each lock file, platform and Python version that do not go together."""
    combinations = tuple(product(locks, PLATFORMS, VERSIONS))
    with TemporaryDirectory() as folder, ThreadPoolExecutor(max_workers=4) as threads:
        errors = threads.map(lambda one: error_of(*one, target=Path(folder)), combinations)
        return [
            f"{lock.name} cannot be installed from wheels on {platform} with Python {version}:\n{error}\n"
            "Add an environment marker to pyproject.toml, or choose another version, then run make lock."
            for (lock, platform, version), error in zip(combinations, errors, strict=True)
            if error is not None
        ]


def main() -> int:
    """Check the lock files, all by default; return 1 if one of them cannot be installed somewhere."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0] if __doc__ else None)
    parser.add_argument("locks", type=Path, nargs="*", metavar="LOCK FILE")
    locks: list[Path] = parser.parse_args().locks or sorted(FOLDER.glob("*.lock"))
    errors = check(locks)
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
