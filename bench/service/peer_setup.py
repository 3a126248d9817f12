"""The rivals' own environments, installed from the benchmark's pinned requirements."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.common.install import command, install_node, install_python
from bench.common.paths import INSTALLED_PEERS

_HERE: Final = Path(__file__).parent
PEERS: Final = INSTALLED_PEERS / "service"
PYTHON: Final = PEERS / "python" / "bin" / "peers" / "python"
NODE: Final = PEERS / "node"
PYTHON_SOURCES: Final = _HERE / "peers" / "python"
NODE_SOURCES: Final = _HERE / "peers" / "node"


def install() -> None:
    """
    Install what is missing or was pinned otherwise.

    Raises:
        FileNotFoundError: npm or node is not installed.
        subprocess.CalledProcessError: The registry cannot be reached, or gives what was not pinned.
    """
    install_python(PYTHON.parent.parent, PYTHON_SOURCES / "requirements.txt")
    install_node(NODE, [NODE_SOURCES / name for name in ("package.json", "package-lock.json")])
    for source in NODE_SOURCES.glob("*.mjs"):  # modules are looked for beside the file that imports them
        shutil.copy(source, NODE)


def versions() -> str:
    """Name what the rivals run on and with."""
    answer = subprocess.check_output([command("node"), "--version"], text=True)  # noqa: S603 - what `install` found
    frozen = subprocess.check_output([PYTHON, "-m", "pip", "freeze"], text=True)  # noqa: S603 - our own
    pinned = json.loads((NODE_SOURCES / "package.json").read_text())["dependencies"]
    wanted = ("boto3==", "celery==", "kombu==", "pillow==")
    with_python = [line.replace("==", " ") for line in frozen.splitlines() if line.startswith(wanted)]
    with_node = [f"{name} {version}" for name, version in pinned.items()]
    return f"Node.js {answer.strip()}, {', '.join(with_node)}; {', '.join(with_python)}"
