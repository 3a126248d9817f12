"""Copies of the Terraform module with one seeded mistake."""

from pathlib import Path
from shutil import copytree

from tests.terraform import hcl


def mutated(folder: Path, name: str, old: str, new: str) -> Path:
    """Return a copy of the module with the first occurrence of a text in a file replaced."""
    copy = Path(copytree(hcl.MODULE, folder / "module"))
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1))
    return copy
