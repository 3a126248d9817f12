"""
Commands in the documentation that tests do not run: why, and what is checked instead.

A command that is neither run nor listed here fails the test.
"""

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.docs.pages import ROOT, Line
from tests.support import templates

Check = Callable[[Line], None]


def check_make_targets(line: Line) -> None:
    """Assert that the Makefile has the targets."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(line.words[1:]) <= set(targets)


def check_compose_services(line: Line) -> None:
    """Assert that docker-compose.yml has the services."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    scaled = {word.partition("=")[0] for word in line.words if re.fullmatch(r"\w+=\d+", word)}
    run = set(line.words) & {"worker"} if "run" in line.words else set()
    assert scaled | run <= services.keys()


def check_template_parameters(line: Line) -> None:
    """Assert that the template has the parameters."""
    words = list(line.words)
    name = Path(words[words.index("--template-file") + 1]).name
    parameters = templates.template(name)["Parameters"]
    given = {word.partition("=")[0] for word in words if re.match(r"[A-Z][A-Za-z]+=", word)}
    assert given
    assert given <= parameters.keys()


def check_overlay(line: Line) -> None:
    """Assert that the Kustomize overlay exists."""
    assert (ROOT / line.words[-1] / "kustomization.yaml").is_file()


def check_paths(line: Line) -> None:
    """Assert that the files and folders exist."""
    paths = [word.partition("::")[0] for word in line.words[1:] if "/" in word or word.endswith(".py")]
    assert paths
    assert all((ROOT / path).exists() for path in paths)


def check_module(line: Line) -> None:
    """Assert that the module exists."""
    path = ROOT / line.words[2].replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def check_tests(line: Line) -> None:
    """Assert that the test files exist and define the tests."""
    for word in line.words[1:]:
        if word.startswith("tests/"):
            file, _, name = word.partition("::")
            assert (ROOT / file).exists()
            assert not name or f"def {name}(" in (ROOT / file).read_text()


def no_check(_line: Line) -> None:
    """Check nothing: the command names nothing of this project."""


NOT_RUN: tuple[tuple[str, str, Check], ...] = (
    (r"make( [\w-]+)+", "creates an environment, or runs this test", check_make_targets),
    (r"\S*image-worker local( .*)?", "uses port 4566, which may be in use", no_check),
    (r"\S*image-worker console", "runs until a signal, on port 8081", no_check),
    (
        r"\S*image-worker events (tail|forward|delete-expired) .*",
        "runs until Ctrl-C; acceptance tests run it",
        no_check,
    ),
    (r"docker compose .*", "needs a container engine", check_compose_services),
    (r"aws cloudformation deploy .*", "needs an AWS account", check_template_parameters),
    (r"aws (cloudformation describe-stacks|ecr|iam|service-quotas) .*", "needs an AWS account", no_check),
    (r"docker (tag|push|buildx) .*", "needs a container engine and a registry", no_check),
    (r"cosign .*", "needs a registry and a release", no_check),
    (r"git (tag|push) .*", "would make a release", no_check),
    (r"kubectl apply -k .*", "needs a cluster", check_overlay),
    (r"kubectl .*", "needs a cluster", no_check),
    (r"cd .*", "has no effect on the test", no_check),
    (r"git clone .*", "needs the address of the repository", no_check),
    (r"\.venv/bin/pytest .*", "would run tests inside a test", check_tests),
    (r"\.venv/bin/pre-commit install", "changes the repository", no_check),
    (r"\.venv/bin/python -m .*", "takes minutes", check_module),
    (r"\.venv/bin/python docs/.*", "writes the pages", check_paths),
)
