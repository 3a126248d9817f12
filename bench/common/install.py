"""
Install pinned dependencies of peers in separate environments.

An environment is installed again when its pinned versions have changed.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_PIP_OPTIONS: Final = ("--quiet", "--disable-pip-version-check", "--require-hashes")
_DIGEST: Final = ".installed"
"""File with the hash of the pinned versions that were installed."""


def install_python(folder: Path, requirements: Path) -> None:
    """
    Create a virtual environment with the pinned requirements, unless it is up to date.

    Raises:
        subprocess.CalledProcessError: The registry is unreachable, or a package does not match its hash.
    """
    if _is_up_to_date(folder, [requirements]):
        return
    _run(sys.executable, "-m", "venv", folder)
    _run(folder / "bin" / "python", "-m", "pip", "install", *_PIP_OPTIONS, "-r", requirements)
    _mark_installed(folder, [requirements])


def install_node(folder: Path, pins: Sequence[Path]) -> None:
    """
    Install the packages of a lock file, unless they are up to date.

    Args:
        folder: Folder to install into; `node_modules` is created in it.
        pins: `package.json`, `package-lock.json`, and `.npmrc` if there is one.

    Raises:
        FileNotFoundError: npm is not installed.
        subprocess.CalledProcessError: The registry is unreachable, or a package does not match its hash.
    """
    if _is_up_to_date(folder, pins):
        return
    folder.mkdir(parents=True)
    for pin in pins:
        shutil.copy(pin, folder)
    _run(find_command("npm"), "ci", "--no-audit", "--no-fund", "--silent", folder=folder)
    _mark_installed(folder, pins)


def find_command(name: str) -> str:
    """
    Return the path of a Node.js command.

    Raises:
        FileNotFoundError: The command is not installed.
    """
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed. The peers on Node.js need version 20.15 or newer, with npm."
        raise FileNotFoundError(message)
    return found


def _is_up_to_date(folder: Path, pins: Sequence[Path]) -> bool:
    """Return whether exactly these pinned versions are installed; delete an outdated installation."""
    digest = folder / _DIGEST
    if digest.exists() and digest.read_text() == _digest(pins):
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _mark_installed(folder: Path, pins: Sequence[Path]) -> None:
    (folder / _DIGEST).write_text(_digest(pins))


def _digest(pins: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()


def _run(*command: str | Path, folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True)
