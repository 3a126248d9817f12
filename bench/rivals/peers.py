"""The rivals' own environments, installed from the benchmark's pinned requirements."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
PEERS: Final = _HERE.parent / ".peers"
PYTHON: Final = PEERS / "python" / "bin" / "python"
NODE: Final = PEERS / "node"
PYTHON_SOURCES: Final = _HERE / "python"
NODE_SOURCES: Final = _HERE / "node"


def install() -> None:
    """
    Install what is missing or was pinned otherwise.

    Raises:
        FileNotFoundError: npm or node is not installed.
        subprocess.CalledProcessError: The registry cannot be reached, or gives what was not pinned.
    """
    PEERS.mkdir(exist_ok=True)
    (PEERS / ".gitignore").write_text("*\n")
    _install_python()
    _install_node()
    for source in NODE_SOURCES.glob("*.mjs"):  # modules are looked for beside the file that imports them
        shutil.copy(source, NODE)


def node() -> str:
    """
    Return the path of Node.js.

    Raises:
        FileNotFoundError: It is not installed.
    """
    return _command("node")


def versions() -> str:
    """Name what the rivals run on and with."""
    answer = subprocess.check_output([node(), "--version"], text=True)  # noqa: S603 - what `install` found
    frozen = subprocess.check_output([PYTHON, "-m", "pip", "freeze"], text=True)  # noqa: S603 - our own
    pinned = json.loads((NODE_SOURCES / "package.json").read_text())["dependencies"]
    wanted = ("boto3==", "celery==", "kombu==", "pillow==")
    with_python = [line.replace("==", " ") for line in frozen.splitlines() if line.startswith(wanted)]
    with_node = [f"{name} {version}" for name, version in pinned.items()]
    return f"Node.js {answer.strip()}, {', '.join(with_node)}; {', '.join(with_python)}"


def _install_python() -> None:
    requirements = PYTHON_SOURCES / "requirements.txt"
    pinned = _digest(requirements)
    mark = PYTHON.parent.parent / ".installed"
    if _says(mark, pinned):
        return
    shutil.rmtree(PYTHON.parent.parent, ignore_errors=True)
    quietly = ("--quiet", "--disable-pip-version-check", "--require-hashes")
    _run(sys.executable, "-m", "venv", PYTHON.parent.parent)
    _run(PYTHON, "-m", "pip", "install", *quietly, "-r", requirements)
    mark.write_text(pinned)


def _install_node() -> None:
    lock = NODE_SOURCES / "package-lock.json"
    pinned = _digest(lock)
    mark = NODE / ".installed"
    if _says(mark, pinned):
        return
    shutil.rmtree(NODE, ignore_errors=True)
    NODE.mkdir()
    for file in (NODE_SOURCES / "package.json", lock):
        shutil.copy(file, NODE)
    _run(_command("npm"), "ci", "--no-audit", "--no-fund", "--silent", folder=NODE)
    mark.write_text(pinned)


def _run(*command: str | Path, folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - nothing in it comes from outside


def _command(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed: the Node rival needs Node.js 20.15 or newer with npm"
        raise FileNotFoundError(message)
    return found


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _says(mark: Path, pinned: str) -> bool:
    return mark.exists() and mark.read_text() == pinned
