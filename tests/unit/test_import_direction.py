"""Who may import whom, and how long a file may be. Read from the sources; nothing is imported."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("worker", "config")

ROOMS = ("aws", "intake", "imaging", "objects", "record", "telemetry")
PATH_OF_AN_EVENT = ("delivery", "service", "verdict", "recording")
LEAVES = ("retry", "gatherer", "ports", "resident")
MAY_IMPORT_CONFIG = ("bootstrap", "recipes", "commands", "local", "resources", "checks")
MOST_LINES = 300


@dataclass(frozen=True)
class Source:
    """One file of ours, by the name under which it is imported."""

    module: str
    path: Path

    @property
    def part(self) -> str:
        """The room or module of `worker` that the file belongs to; `config` for the settings."""
        top, _, rest = self.module.partition(".")
        return rest.partition(".")[0] if top == "worker" else top

    @property
    def package(self) -> str:
        return self.module if self.path.name == "__init__.py" else self.module.rpartition(".")[0]


@dataclass(frozen=True)
class Import:
    """One import: the file that holds it, the module that it names, and whether it happens at run time."""

    source: Source
    target: str
    line: int
    for_types_only: bool

    def __str__(self) -> str:
        return f"{self.source.path.relative_to(ROOT)}:{self.line} imports {self.target}"


def part_of(module: str) -> str:
    return Source(module, ROOT).part


@cache
def sources() -> dict[str, Source]:
    files = [path for top in OURS for path in sorted((ROOT / top).rglob("*.py"))]
    return {source.module: source for source in map(source_of, files)}


def source_of(path: Path) -> Source:
    *folders, name = path.relative_to(ROOT).with_suffix("").parts
    return Source(".".join(folders if name == "__init__" else [*folders, name]), path)


@cache
def imports() -> tuple[Import, ...]:
    return tuple(
        found for source in sources().values() for found in imports_in(source, source.path.read_text())
    )


def imports_in(source: Source, text: str) -> Iterator[Import]:
    """Yield every import of a file, those inside functions too; `from a import b` names the module `a.b`."""
    tree = ast.parse(text)
    for_types = {id(node) for block in ast.walk(tree) if is_type_checking(block) for node in walk_body(block)}
    for node in ast.walk(tree):
        for target in targets_of(node, source):
            yield Import(source, target, node.lineno, for_types_only=id(node) in for_types)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def walk_body(block: ast.If) -> Iterator[ast.AST]:
    return (node for statement in block.body for node in ast.walk(statement))


def targets_of(node: ast.AST, source: Source) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            base = absolute(module, level, source)
            return [
                submodule if (submodule := f"{base}.{alias.name}") in sources() else base for alias in names
            ]
    return []


def absolute(module: str | None, level: int, source: Source) -> str:
    if level == 0:
        return module or ""
    above = source.package.split(".")[: len(source.package.split(".")) - level + 1]
    return ".".join([*above, *([module] if module else [])])


def of_ours(found: Import) -> bool:
    return found.target.partition(".")[0] in OURS


def strays(parts: tuple[str, ...], *, allowed: frozenset[str]) -> list[str]:
    """Return the imports of ours, in these parts, of anything but themselves and what is allowed."""
    return [
        str(found)
        for found in imports()
        if found.source.part in parts
        and of_ours(found)
        and part_of(found.target) not in allowed | {found.source.part}
    ]


@cache
def imported_at_run_time() -> dict[str, dict[str, str]]:
    """Return for each module what it imports, each with the line that does."""
    wanted: dict[str, dict[str, str]] = {module: {} for module in sources()}
    for found in imports():
        if not found.for_types_only:
            wanted[found.source.module].setdefault(found.target, str(found))
    return wanted


def loaded_by(module: str) -> dict[str, str]:
    """Return every module that importing this one loads, its packages too, each with who asks for it."""
    asked_by = {module: "it is asked for"}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        package = current.rpartition(".")[0]
        wanted = {package: f"it holds {current}"} if package in sources() else {}
        for target, asker in (wanted | imported_at_run_time().get(current, {})).items():
            if target not in asked_by:
                asked_by[target] = asker
                waiting.append(target)
    return asked_by


def reached_from(module: str) -> set[str]:
    """Return the modules of ours that this one imports, and what they import, itself only in a circle."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        found = (imported_at_run_time()[waiting.pop()].keys() & sources().keys()) - reached
        reached |= found
        waiting += found
    return reached


def test_the_parser_sees_every_form_of_import() -> None:
    text = (
        "import os, worker.retry\n"
        "from worker.domain import clock, nothing_of_ours\n"
        "from .heartbeat import Hold\n"
        "from .. import ports\n"
        "from . import queue\n"
        "if TYPE_CHECKING:\n"
        "    from config.settings import Settings\n"
        "def lazily():\n"
        "    import structlog\n"
    )

    found = list(imports_in(sources()["worker.intake.envelope"], text))

    assert {one.target for one in found} == {
        "os",
        "worker.retry",
        "worker.domain.clock",
        "worker.domain",
        "worker.intake.heartbeat",
        "worker.ports",
        "worker.intake.queue",
        "config.settings",
        "structlog",
    }
    assert [one.target for one in found if one.for_types_only] == ["config.settings"]
    assert str(found[0]) == "worker/intake/envelope.py:1 imports os"


def test_every_file_is_found() -> None:
    assert {"worker", "worker.domain.job", "worker.intake.queue", "config.settings"} <= sources().keys()


def test_the_domain_imports_only_the_standard_library_and_itself() -> None:
    foreign = [
        str(found)
        for found in imports()
        if found.source.part == "domain"
        and not of_ours(found)
        and found.target.partition(".")[0] not in sys.stdlib_module_names
    ]

    assert foreign + strays(("domain",), allowed=frozenset()) == []


def test_the_leaves_import_nothing_of_ours_but_the_domain() -> None:
    assert strays(LEAVES, allowed=frozenset({"domain"})) == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_the_domain_and_the_leaves_and_never_another_room(room: str) -> None:
    assert strays((room,), allowed=frozenset({"domain", *LEAVES})) == []


@pytest.mark.parametrize("part", PATH_OF_AN_EVENT)
def test_the_path_of_an_event_knows_the_rooms_only_through_protocols(part: str) -> None:
    assert strays((part,), allowed=frozenset({"domain", *LEAVES, *PATH_OF_AN_EVENT})) == []


def test_only_those_who_build_things_import_the_configuration() -> None:
    others = [
        str(found)
        for found in imports()
        if found.target.partition(".")[0] == "config"
        and found.source.part not in {*MAY_IMPORT_CONFIG, "config"}
    ]

    assert others == []


def test_the_configuration_imports_nothing_of_the_worker() -> None:
    assert strays(("config",), allowed=frozenset()) == []


def test_only_the_command_line_imports_what_builds_the_service() -> None:
    others = [
        str(found)
        for found in imports()
        if found.target.startswith(("worker.bootstrap", "worker.commands"))
        and found.source.part not in {"bootstrap", "commands", "__main__"}
    ]

    assert others == []


def test_a_decoder_child_loads_neither_aws_nor_the_logs_nor_the_configuration() -> None:
    forbidden = (
        "aiobotocore",
        "botocore",
        "aiohttp",
        "structlog",
        "config",
        "worker.record",
        "worker.intake",
    )
    loaded = loaded_by("worker.imaging.child")

    assert "worker.imaging.pipeline" in loaded
    assert [
        f"{module}, because {asker}"
        for module, asker in loaded.items()
        if module.startswith(tuple(f"{name}." for name in forbidden)) or module in forbidden
    ] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    reached = {module: reached_from(module) for module in sources()}
    circles = {
        " <-> ".join(sorted(other for other in reached[module] if module in reached[other]))
        for module in sources()
        if module in reached[module]
    }

    assert circles == set()


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {
        str(source.path.relative_to(ROOT)): len(source.path.read_text().splitlines())
        for source in sources().values()
    }

    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}
