"""Install and run the libraries that imaging is compared with, each in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypedDict, cast

from bench.common.install import install_node, install_python
from bench.common.paths import INSTALLED_PEERS, ROOT
from worker.decoder_pool.interpreter import MALLOC_ENVIRONMENT

_SOURCES: Final = Path(__file__).parent / "peers"
_INSTALLED: Final = INSTALLED_PEERS / "imaging"
_INSTALLED_PYTHON: Final = _INSTALLED / "python" / "bin" / "python"


class ProcessingTime(TypedDict):
    """Response to a request to process an image: CPU time of one repetition."""

    cpu_ms: float


class ResizedSize(TypedDict):
    """Response to a request to resize an image only."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImagingPeer:
    """
    A library, used in one particular way.

    Attributes:
        name: Name in reports.
        command: Command line of the program that implements `bench.imaging.peers.protocol`.
        environment: Environment variables that select the way.
    """

    name: str
    command: tuple[str | Path, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def _python_peer(module: str, *, python: str | Path = sys.executable) -> tuple[str | Path, ...]:
    return (python, "-m", f"bench.imaging.peers.{module}")


_WORKER: Final = _python_peer("image_worker_peer")
_SHARP: Final = ("node", _INSTALLED / "node" / "sharp_peer.mjs")

IMAGE_WORKER: Final = ImagingPeer("image-worker", _WORKER)
WITHOUT_SIMD: Final = ImagingPeer("image-worker on Linux arm64", _WORKER, {"PEER_RESAMPLING": "pillow"})
"""The same steps, scaled by Pillow, as where `cykooz-resizer` has no wheel; on this machine's processor."""
PILLOW: Final = ImagingPeer("Pillow as usual", _python_peer("pillow_peer"))
FLOOR: Final = ImagingPeer("floor", _python_peer("floor_peer", python=_INSTALLED_PYTHON))
"""Decode, scale and encode without anything else; for JPEG only."""

PYVIPS: Final = ImagingPeer("pyvips", _python_peer("vips_peer", python=_INSTALLED_PYTHON))
SHARP: Final = ImagingPeer("sharp", _SHARP)
EXACT_SHARP: Final = ImagingPeer("sharp, fastShrinkOnLoad false", _SHARP, {"FAST_SHRINK": "no"})

MEDIUM_AND_SMALLER: Final = ImagingPeer(
    "medium, small, thumbnail", _WORKER, {"PEER_SIZES": "medium,small,thumbnail"}
)
LARGE: Final = ImagingPeer("large", _WORKER, {"PEER_SIZES": "large"})
LARGE_AND_SMALLER: Final = ImagingPeer(
    "large, medium, thumbnail", _WORKER, {"PEER_SIZES": "large,medium,thumbnail"}
)


class PeerProcess:
    """A running peer, with malloc configured as for the worker's decoder processes."""

    def __init__(self, peer: ImagingPeer) -> None:
        self._process = subprocess.Popen(
            peer.command,
            env={**os.environ, **MALLOC_ENVIRONMENT, "PYTHONPATH": str(ROOT), **peer.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def process(self, file: Path, *, mark: Path, out: Path, times: int) -> ProcessingTime:
        """Process an image several times and write the last result to `out`; return the CPU time."""
        response = self._request({"file": str(file), "mark": str(mark), "out": str(out), "times": times})
        return cast("ProcessingTime", response)

    def resize(self, file: Path, *, out: Path) -> ResizedSize:
        """Resize an image and write its RGB pixels to `out`; return its size."""
        return cast("ResizedSize", self._request({"file": str(file), "out": str(out), "times": 0}))

    def _request(self, request: Mapping[str, str | int]) -> object:
        assert self._process.stdin is not None  # noqa: S101 - both streams are pipes
        assert self._process.stdout is not None  # noqa: S101 - started with a pipe
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        response: object = json.loads(self._process.stdout.readline())
        return response

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None  # noqa: S101 - started with a pipe
        self._process.stdin.close()
        self._process.wait()


def install() -> None:
    """Install the pinned versions of pyvips and sharp, unless they are installed."""
    install_python(_INSTALLED / "python", _SOURCES / "requirements.txt")
    pins = [_SOURCES / name for name in ("package.json", "package-lock.json", ".npmrc")]
    install_node(_INSTALLED / "node", pins)
    shutil.copy(_SOURCES / "sharp_peer.mjs", _INSTALLED / "node")  # Node.js finds packages next to the script


def versions() -> str:
    """Return the versions of the installed peers."""
    python = _output(_INSTALLED_PYTHON, "-c", _PYTHON_VERSIONS)
    node = _output("node", "-e", _NODE_VERSIONS, folder=_INSTALLED / "node")
    return f"{python}; {node}"


_PYTHON_VERSIONS: Final = (
    "import pyvips, simplejpeg; libvips = '.'.join(str(pyvips.version(part)) for part in range(3)); "
    "print(f'pyvips {pyvips.__version__} with libvips {libvips}, simplejpeg {simplejpeg.__version__}')"
)
_NODE_VERSIONS: Final = (
    "const {versions} = require('sharp'); "
    "console.log(`sharp ${versions.sharp} with libvips ${versions.vips}, Node ${process.version}`)"
)


def _output(*command: str | Path, folder: Path | None = None) -> str:
    return subprocess.check_output(command, cwd=folder, text=True).strip()
