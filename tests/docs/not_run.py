"""
What stands in the pages and cannot be run by a test: why, and what is looked at in its place.

Whatever is neither run nor listed here fails.
"""

import re
from collections.abc import Callable

import yaml

from tests.docs.pages import ROOT, Line
from tests.support import templates

Check = Callable[[Line], None]


def made(line: Line) -> None:
    """Look whether the Makefile has the targets."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(line.words[1:]) <= set(targets)


def composed(line: Line) -> None:
    """Look whether docker-compose.yml has the services that are named."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    scaled = {word.partition("=")[0] for word in line.words if re.fullmatch(r"\w+=\d+", word)}
    run = set(line.words) & {"worker"} if "run" in line.words else set()
    assert scaled | run <= services.keys()


def deployed(line: Line) -> None:
    """Look whether the template has the parameters."""
    words = list(line.words)
    parameters = templates.template(words[words.index("--template-file") + 1])["Parameters"]
    given = {word.partition("=")[0] for word in words if re.match(r"[A-Z][A-Za-z]+=", word)}
    assert given
    assert given <= parameters.keys()


def applied(line: Line) -> None:
    """Look whether the overlay is there."""
    assert (ROOT / line.words[-1] / "kustomization.yaml").is_file()


def named(line: Line) -> None:
    """Look whether the files and folders that are named are there."""
    paths = [word.partition("::")[0] for word in line.words[1:] if "/" in word or word.endswith(".py")]
    assert paths
    assert all((ROOT / path).exists() for path in paths)


def in_a_module(line: Line) -> None:
    """Look whether there is such a module."""
    path = ROOT / line.words[2].replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def tested(line: Line) -> None:
    """Look whether the file of tests is there, and has the test."""
    for word in line.words[1:]:
        if word.startswith("tests/"):
            file, _, name = word.partition("::")
            assert (ROOT / file).exists()
            assert not name or f"def {name}(" in (ROOT / file).read_text()


def nothing(_line: Line) -> None:
    """Look at nothing: there is nothing of ours in the line."""


NOT_RUN: tuple[tuple[str, str, Check], ...] = (
    (r"make( [\w-]+)+", "makes an environment of its own, or runs this test", made),
    (r"\S*image-worker local( .*)?", "takes port 4566, of which a machine has one", nothing),
    (r"docker compose .*", "needs a container engine", composed),
    (r"aws cloudformation deploy .*", "needs an account", deployed),
    (r"aws cloudformation describe-stacks .*", "needs an account", nothing),
    (r"kubectl apply -k .*", "needs a cluster", applied),
    (r"kubectl .*", "needs a cluster", nothing),
    (r"cd .*", "is for the commands after it", nothing),
    (r"git clone .*", "needs the repository's address", nothing),
    (r"\.venv/bin/pytest .*", "would run tests inside a test", tested),
    (r"\.venv/bin/pre-commit install", "changes the repository", nothing),
    (r"\.venv/bin/python -m .*", "takes minutes", in_a_module),
    (r"\.venv/bin/python docs/.*", "writes the pages", named),
)
