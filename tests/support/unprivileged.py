"""Run a Python module of the tests as an unprivileged user."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_USER = 10001 if os.geteuid() == 0 else None
"""User of the container image, with no rights to anything here; None for the current user."""
_GROUPS: list[str | int] | None = [] if os.geteuid() == 0 else None
_ROOT = Path(__file__).parents[2]


def run_module(module: str, *arguments: str) -> dict[str, object]:
    """Run a module as an unprivileged user; return the JSON object in the last line of its output."""
    done = subprocess.run(
        [_interpreter(), "-m", module, *arguments],
        cwd=_ROOT,
        env=_environment() | {"AWS_SECRET_ACCESS_KEY": "a secret"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        user=_USER,
        group=_USER,
        extra_groups=_GROUPS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def _environment() -> dict[str, str]:
    modules = [str(_ROOT), *(entry for entry in sys.path if entry.endswith("-packages"))]
    return {"PYTHONPATH": os.pathsep.join(modules), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.defpath}


@functools.cache
def _interpreter() -> str:
    """Return this version of Python at a path that the user can execute; skip the test if there is none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        try:
            done = subprocess.run(
                [path, "-c", "import worker.imaging.decoder"],
                cwd=_ROOT,
                env=_environment(),
                check=False,
                user=_USER,
                group=_USER,
                extra_groups=_GROUPS,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return path
    pytest.skip(f"no {version} that an unprivileged user can execute")
