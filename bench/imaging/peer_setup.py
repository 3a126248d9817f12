"""The libraries that imaging is compared with: installed apart, asked in processes of their own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from bench.common.install import install_node, install_python
from bench.common.paths import INSTALLED_PEERS, ROOT
from worker.decoder_pool.process import MALLOC_ENVIRONMENT

SOURCES: Final = Path(__file__).parent / "peers"
INSTALLED: Final = INSTALLED_PEERS / "imaging"

OURS, PILLOW = "image-worker", "Pillow as usual"
PYVIPS, SHARP, CAREFUL_SHARP = "pyvips", "sharp", "sharp, fastShrinkOnLoad false"
THREE_SIZES, LARGE, THREE_WITH_LARGE = "medium+small+thumbnail", "large", "large+medium+thumbnail"

OWN_COMMAND: Final = (sys.executable, SOURCES / "image_worker_peer.py")
COMMANDS: Final[Mapping[str, tuple[Sequence[str | Path], Mapping[str, str]]]] = {
    OURS: (OWN_COMMAND, {}),
    PILLOW: ((sys.executable, SOURCES / "pillow_peer.py"), {}),
    PYVIPS: ((INSTALLED / "python" / "bin" / "python", SOURCES / "vips_peer.py"), {}),
    SHARP: (("node", INSTALLED / "node" / "sharp_peer.mjs"), {}),
    CAREFUL_SHARP: (("node", INSTALLED / "node" / "sharp_peer.mjs"), {"FAST_SHRINK": "no"}),
    THREE_SIZES: (
        OWN_COMMAND,
        {"OWN_SIZES": "medium,small,thumbnail"},
    ),
    LARGE: (OWN_COMMAND, {"OWN_SIZES": "large"}),
    THREE_WITH_LARGE: (
        OWN_COMMAND,
        {"OWN_SIZES": "large,medium,thumbnail"},
    ),
}


class Contender:
    """A process that answers as `peers/imaging/answering.py` says; malloc is set as for a child."""

    def __init__(self, name: str) -> None:
        command, environment = COMMANDS[name]
        self._process = subprocess.Popen(  # noqa: S603 - our own scripts
            command,
            env=os.environ | MALLOC_ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: object) -> dict[str, Any]:
        """Put a request, wait for the answer."""
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(request, default=str) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        self._process.wait()


def install() -> None:
    """Install pyvips and sharp in the pinned versions, unless that has been done."""
    install_python(INSTALLED / "python", SOURCES / "requirements.txt")
    pins = [SOURCES / name for name in ("package.json", "package-lock.json", ".npmrc")]
    install_node(INSTALLED / "node", pins)
    shutil.copy(SOURCES / "sharp_peer.mjs", INSTALLED / "node")  # Node looks for packages beside the script


def versions() -> str:
    """Say which versions are compared."""
    python = _output(INSTALLED / "python" / "bin" / "python", "-c", _PYTHON_VERSIONS)
    node = _output("node", "-e", _NODE_VERSIONS, cwd=INSTALLED / "node")
    return f"{python}; {node}"


_PYTHON_VERSIONS: Final = (
    "import pyvips; print(f'pyvips {pyvips.__version__} with libvips', "
    "'.'.join(str(pyvips.version(part)) for part in range(3)))"
)
_NODE_VERSIONS: Final = (
    "const {versions} = require('sharp'); "
    "console.log(`sharp ${versions.sharp} with libvips ${versions.vips}, Node ${process.version}`)"
)


def _output(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return done.stdout.strip()
