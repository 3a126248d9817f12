"""Install and describe the services that image-worker is compared with."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bench.common.install import find_command, install_node, install_python
from bench.common.paths import INSTALLED_PEERS, ROOT
from bench.common.peers import ServicePeer, stop

_PYTHON_SOURCES: Final = Path(__file__).parent / "peers" / "python"
_NODE_SOURCES: Final = Path(__file__).parent / "peers" / "node"
_PYTHON_FOLDER: Final = INSTALLED_PEERS / "service" / "python"
_NODE_FOLDER: Final = INSTALLED_PEERS / "service" / "node"
_PYTHON: Final = str(_PYTHON_FOLDER / "bin" / "python")
_MODULES: Final = "bench.service.peers.python"


def install() -> None:
    """
    Install the dependencies of the peers, unless they are up to date.

    Raises:
        FileNotFoundError: npm is not installed.
        subprocess.CalledProcessError: The registry is unreachable, or a package does not match its hash.
    """
    install_python(_PYTHON_FOLDER, _PYTHON_SOURCES / "requirements.txt")
    install_node(_NODE_FOLDER, [_NODE_SOURCES / name for name in ("package.json", "package-lock.json")])
    for source in _NODE_SOURCES.glob("*.mjs"):  # Node.js finds packages next to the importing file
        shutil.copy(source, _NODE_FOLDER)


def versions() -> str:
    """Return the versions of Node.js and of the peers' dependencies."""
    node = subprocess.check_output([find_command("node"), "--version"], text=True)
    frozen = subprocess.check_output([_PYTHON, "-m", "pip", "freeze"], text=True)
    node_packages = json.loads((_NODE_SOURCES / "package.json").read_text())["dependencies"]
    python_packages = ("boto3==", "celery==", "kombu==", "pillow==")
    return "; ".join(
        [
            ", ".join([f"Node.js {node.strip()}", *(f"{name} {pin}" for name, pin in node_packages.items())]),
            ", ".join(
                line.replace("==", " ") for line in frozen.splitlines() if line.startswith(python_packages)
            ),
        ]
    )


def node() -> ServicePeer:
    """Return the service on sqs-consumer, AWS SDK for JavaScript v3 and sharp."""
    command = (find_command("node"), "worker.mjs")
    return ServicePeer("Node", command, _NODE_FOLDER, environment={"NODE_ENV": "production"})


def celery(concurrency: int) -> ServicePeer:
    """Return the service on Celery with SQS, boto3 and Pillow; one process per image in flight."""
    app = ("-A", f"{_MODULES}.celery_worker")
    pool = ("--concurrency", str(concurrency), "-O", "fair")
    options = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING")
    command = (_PYTHON, "-m", "celery", *app, "worker", *pool, *options)
    return ServicePeer("Celery", command, ROOT, receives_tasks=True)


def threads() -> ServicePeer:
    """Return the service on a thread pool with boto3 and Pillow."""
    return ServicePeer("Threads", (_PYTHON, "-m", f"{_MODULES}.threads_worker"), ROOT)


@asynccontextmanager
async def publisher(environment: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the program that publishes a Celery task for each line and acknowledges it with a line."""
    process = await asyncio.create_subprocess_exec(
        *(_PYTHON, "-m", f"{_MODULES}.publish"),
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        await stop(process)
