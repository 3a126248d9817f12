"""Environments of the contenders' own, of exactly what is pinned; made anew when that has changed."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_QUIETLY: Final = ("--quiet", "--disable-pip-version-check", "--require-hashes")
_STAMP: Final = ".installed"


def install_python(folder: Path, requirements: Path) -> None:
    """
    Make a virtual environment of pinned requirements, unless it is there.

    Raises:
        subprocess.CalledProcessError: The registry cannot be reached, or gives what was not pinned.
    """
    if _is_there(folder, [requirements]):
        return
    _run(sys.executable, "-m", "venv", folder)
    _run(folder / "bin" / "python", "-m", "pip", "install", *_QUIETLY, "-r", requirements)
    _stamp(folder, [requirements])


def install_node(folder: Path, pins: Sequence[Path]) -> None:
    """
    Install the packages of a lock file, unless they are there.

    Args:
        folder: Where `node_modules` goes.
        pins: `package.json`, `package-lock.json`, and `.npmrc` where there is one.

    Raises:
        FileNotFoundError: npm is not installed.
        subprocess.CalledProcessError: The registry cannot be reached, or gives what was not pinned.
    """
    if _is_there(folder, pins):
        return
    folder.mkdir(parents=True)
    for pin in pins:
        shutil.copy(pin, folder)
    _run(command("npm"), "ci", "--no-audit", "--no-fund", "--silent", folder=folder)
    _stamp(folder, pins)


def command(name: str) -> str:
    """
    Return the path of a command of Node.js.

    Raises:
        FileNotFoundError: It is not installed.
    """
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed: the contenders on Node need Node.js 20.15 or newer with npm"
        raise FileNotFoundError(message)
    return found


def _is_there(folder: Path, pins: Sequence[Path]) -> bool:
    """Tell whether what is pinned has been installed; take away what was pinned otherwise."""
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text() == _digest(pins):
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _stamp(folder: Path, pins: Sequence[Path]) -> None:
    (folder / _STAMP).write_text(_digest(pins))


def _digest(pins: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()


def _run(*words: str | Path, folder: Path | None = None) -> None:
    subprocess.run(words, cwd=folder, check=True)  # noqa: S603 - nothing in it comes from outside
