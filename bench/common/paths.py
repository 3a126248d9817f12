"""Folders that several benchmarks use."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
"""The working copy of the project."""

PAGES: Final = ROOT / "docs" / "performance"
"""Generated sections of `docs/performance.md`, `<benchmark>.md`, and their plots."""

INSTALLED_PEERS: Final = ROOT / "bench" / ".peers"
"""Installed dependencies of the peers, in a folder for each benchmark. Git ignores it."""
