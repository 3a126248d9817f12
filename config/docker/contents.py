"""
Describe what the container image contains beyond its base image: licences and SBOM.

    python config/docker/contents.py licences FOLDER...         # write docs/licences.md and the image's label
    python config/docker/contents.py licences --check FOLDER... # fail when they differ from the folders
    python config/docker/contents.py sbom FOLDER --out FILE     # write CycloneDX JSON

A folder has the installed packages of `requirements/runtime.lock` for one processor; `make licences` and
`make sbom` create it. Three sources are read: the metadata of packages; the SBOMs in wheels (PEP 770), which
list what was compiled into them; and the names of the shared libraries in wheels, whose licences
`[tool.licences]` in `pyproject.toml` states. A licence that is unknown or not allowed is an error, as is an
entry that nothing needs.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import AND, BaseSymbol, ExpressionError, get_spdx_licensing

ROOT: Final = Path(__file__).parents[2]
SPDX: Final = get_spdx_licensing()
LABEL: Final = re.compile(r'(org\.opencontainers\.image\.licenses=")([^"]*)(")')
SHARED_LIBRARY: Final = re.compile(r"(lib.+?)-[0-9a-f][0-9a-f-]*\.so")
# The list of a wheel's libraries, as pillow-heif writes it.
BUNDLED_VERSION: Final = re.compile(
    r"^Name: (\S+)$.*?^  Source code: \S*/v?([0-9.]+)$", re.MULTILINE | re.DOTALL
)
STATED_TABLES: Final = ("own", "packages", "bundled", "absent", "removed")


class LicenceError(Exception):
    """A licence is unknown or not allowed, or a generated file is out of date."""


@dataclass(frozen=True, slots=True)
class Component:
    """A library that a package contains, with its licence as an SPDX expression."""

    name: str
    version: str | None
    licence: str
    purl: str | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package, with its licence as an SPDX expression and the libraries within it."""

    name: str
    licence: str
    components: tuple[Component, ...]


@dataclass(slots=True)
class Rules:
    """
    The table `[tool.licences]` of `pyproject.toml`.

    Args:
        allowed: SPDX identifiers, the preferred ones first: of alternatives ("OR") the first is chosen.
        stated: For each further table, the licence (or the reason) by the name of what it concerns.
    """

    allowed: list[str]
    stated: Mapping[str, Mapping[str, str]]
    used: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def read(cls, pyproject: Path) -> "Rules":
        """Read the rules from a `pyproject.toml`."""
        table = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["licences"]
        return cls(table["allowed"], {name: table.get(name, {}) for name in STATED_TABLES})

    def find(self, table: str, name: str) -> str | None:
        """Return what a table states about a name, and remember that the entry is needed."""
        found = self.stated[table].get(name)
        if found is not None:
            self.used.add((table, name))
        return found

    def chosen(self, expression: str, *, of: str) -> frozenset[str]:
        """
        Return the allowed licences under which something is distributed.

        Raises:
            LicenceError: The expression is not SPDX, or needs a licence that is not allowed.
        """
        try:
            parsed = SPDX.parse(expression, validate=True)
        except ExpressionError as error:
            message = (
                f'The licence "{expression}" of {of} is not an SPDX expression ({error}). State it in'
                " [tool.licences] of pyproject.toml, after reading its licence file."
            )
            raise LicenceError(message) from error
        chosen = self._choose(parsed)
        if chosen is None:
            message = (
                f'The licence "{expression}" of {of} is not allowed. Remove {of} from the image, or add the'
                " licence to `allowed` in [tool.licences] of pyproject.toml, if its terms can be kept."
            )
            raise LicenceError(message)
        return chosen

    def unused(self) -> list[str]:
        """Return the entries that nothing needed, as `table.name`. Call it after everything was read."""
        stated = ((table, name) for table, names in self.stated.items() for name in names)
        return [".".join(one) for one in stated if one not in self.used]

    def _choose(self, node: Any) -> frozenset[str] | None:  # noqa: ANN401 - the library's nodes have no common type
        if isinstance(node, BaseSymbol):  # an identifier, or one with an exception
            name = node.render()
            return frozenset({name}) if name in self.allowed else None
        options = [self._choose(part) for part in node.args]
        if isinstance(node, AND):
            parts = [option for option in options if option is not None]
            return frozenset().union(*parts) if len(parts) == len(options) else None
        possible = [option for option in options if option is not None]
        return min(possible, key=self._rank, default=None)

    def _rank(self, licences: Iterable[str]) -> list[int]:
        return sorted((self.allowed.index(one) for one in licences), reverse=True)


def read_packages(folder: Path, rules: Rules) -> list[Package]:
    """
    Return the packages installed in a folder, by name.

    Raises:
        LicenceError: A licence is stated neither by the package nor by the rules.
    """
    found = sorted(distributions(path=[str(folder)]), key=lambda one: _normal(one.name))
    if not found:
        message = f'The folder "{folder}" has no installed packages. Create it with "make licences".'
        raise LicenceError(message)
    libraries = {path.name: path for path in folder.glob("*.libs")}
    packages = []
    for one in found:
        components = [*_compiled_in(one, rules)]
        owned = libraries.pop(f"{_normal(one.name).replace('-', '_')}.libs", None)
        if owned:
            components += _shared_libraries(owned, one, components, rules)
        packages.append(Package(_normal(one.name), _licence_of(one, rules), tuple(components)))
    if libraries:
        names = ", ".join(sorted(libraries))
        message = f"The folders {names} of {folder} belong to no package. Extend {Path(__file__).name}."
        raise LicenceError(message)
    return packages


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _licence_of(distribution: Distribution, rules: Rules) -> str:
    """Return the licence that the package states as SPDX, or else the one that the rules state."""
    name = _normal(distribution.name)
    for key in ("license_expression", "license"):  # as the JSON form names them
        expression = distribution.metadata.json.get(key)
        if isinstance(expression, str) and not SPDX.validate(expression).errors:
            return expression
    expression = rules.find("packages", name)
    if expression is None:
        message = (
            f"The package {name} does not state its licence as an SPDX expression. Read its licence file and"
            f' add {name} = "..." to [tool.licences.packages] in pyproject.toml.'
        )
        raise LicenceError(message)
    return expression


def _compiled_in(distribution: Distribution, rules: Rules) -> Iterator[Component]:
    """Yield what the SBOMs of a wheel list, without the package itself and what the rules state as absent."""
    for file in sorted(distribution.files or (), key=str):
        if file.parent.name != "sboms" or file.suffix != ".json":
            continue
        for one in json.loads(file.read_text(encoding="utf-8")).get("components", ()):
            name = one["name"]
            if _normal(name) == _normal(distribution.name) or rules.find("absent", name):
                continue
            stated = [
                each.get("expression") or each["license"].get("id") or each["license"]["name"]
                for each in one.get("licenses", ())
            ]
            licence = " AND ".join(f"({each})" if " " in each else each for each in stated)
            yield Component(
                name, one.get("version"), licence or _bundled(name, distribution, rules), one.get("purl")
            )


def _shared_libraries(
    folder: Path, distribution: Distribution, listed: list[Component], rules: Rules
) -> Iterator[Component]:
    """Yield the shared libraries that a wheel bundles, except those that the build of the image removes."""
    text = "".join(
        file.read_text(encoding="utf-8")
        for file in distribution.files or ()
        if file.name == "LICENSES_bundled.txt"
    )
    versions = dict(BUNDLED_VERSION.findall(text))
    names = {_without_lib(one.name) for one in listed}
    for path in sorted(folder.iterdir()):
        match = SHARED_LIBRARY.match(path.name)
        if match is None:
            message = (
                f'The name of the library "{path}" has no known form. Extend SHARED_LIBRARY in {__file__}.'
            )
            raise LicenceError(message)
        name = match[1]
        if rules.find("removed", name):
            continue
        licence = _bundled(name, distribution, rules)
        if _without_lib(name) not in names:
            yield Component(name, versions.get(name), licence)


def _without_lib(name: str) -> str:
    return name.lower().removeprefix("lib")


def _bundled(name: str, distribution: Distribution, rules: Rules) -> str:
    licence = rules.find("bundled", name)
    if licence is None:
        message = (
            f'The wheel of {_normal(distribution.name)} contains "{name}", whose licence is not known. Add'
            f' {name} = "..." to [tool.licences.bundled] in pyproject.toml.'
        )
        raise LicenceError(message)
    return licence


PAGE: Final = """# Licences
<!-- Generated by config/docker/contents.py: run `make licences`. -->
What the container image contains beyond its base image, on x86-64 and arm64, and under which licences. Of
several licences that a library offers, the first table has the one under which it is used here. `make check`
compares this page and the image's label `org.opencontainers.image.licenses` with the wheels of
`requirements/runtime.lock`, and fails on a licence that `[tool.licences]` in `pyproject.toml` does not allow.

The licence texts are in the image: those of Python packages in `/venv/lib/python*/site-packages/*.dist-info`,
those of Debian's packages, which the base image has, in `/usr/share/doc/*/copyright`. Versions, and all Rust
crates, are in the [SBOM](releasing.md#what-a-release-contains). `image-worker` is under the MIT licence.
The image of `make image-demo` adds the embedded AWS: it is for trials, not released, and not covered here.

## Licences in use
| licence | of |
| --- | --- |
{licences}

## Packages
| package | licence | contains |
| --- | --- | --- |
{packages}

## Removed
The build of the image removes these libraries from the packages:

{removed}
"""


class _Licences:
    """The names of what is under each licence, as `rules` choose it."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.names: dict[str, set[str]] = {}

    def add(self, expression: str, *, name: str, shown: str | None = None) -> None:
        """Count something, which the table names as `shown`."""
        for one in self.rules.chosen(expression, of=name):
            self.names.setdefault(one, set()).add(shown or name)


def licence_page(folders: Iterable[Path], rules: Rules) -> tuple[str, str]:
    """Return the page about licences, and all of them as one expression, of images with these packages."""
    licences = _Licences(rules)
    rows: dict[str, tuple[str, set[str]]] = {}
    for name, expression in rules.stated["own"].items():
        licences.add(expression, name=f"image-worker ({name})")
        rules.find("own", name)
    for package in (one for folder in folders for one in read_packages(folder, rules)):
        licences.add(package.licence, name=package.name)
        contained = rows.setdefault(package.name, (package.licence, set()))[1]
        for component in package.components:
            is_crate = (component.purl or "").startswith("pkg:cargo/")
            name = f"{component.name} in {package.name}"
            licences.add(component.licence, name=name, shown="Rust crates" if is_crate else None)
            contained.add("Rust crates" if is_crate else f"{component.name} ({component.licence})")
    if unused := rules.unused():
        message = (
            f"[tool.licences] of pyproject.toml states {', '.join(unused)}, which the image does not contain."
            " Remove these entries."
        )
        raise LicenceError(message)
    page = PAGE.format(
        licences=_table((one, _list(names)) for one, names in licences.names.items()),
        packages=_table((name, expression, _list(inner)) for name, (expression, inner) in rows.items()),
        removed="\n".join(f"- `{name}`: {reason}" for name, reason in rules.stated["removed"].items()),
    )
    return page, " AND ".join(sorted(licences.names))


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in sorted(rows))


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names, key=str.lower))


def bill_of_materials(folder: Path, rules: Rules) -> dict[str, Any]:
    """Return the SBOM of an image made from the folder, valid against the schema of CycloneDX 1.6."""
    with tempfile.TemporaryDirectory() as temporary:
        interpreter = Path(temporary) / "python"  # cyclonedx-py asks an interpreter for its path
        script = f'#!/bin/sh\nPYTHONPATH="$FOLDER" exec {sys.executable} "$@"\n'
        interpreter.write_text(script, encoding="utf-8")
        interpreter.chmod(0o755)
        made = subprocess.run(
            [
                *(sys.executable, "-m", "cyclonedx_py", "environment", "-S", "--output-reproducible"),
                *("--spec-version", "1.6", "--pyproject", str(ROOT / "pyproject.toml"), str(interpreter)),
            ],
            env=os.environ | {"FOLDER": str(folder.resolve())},
            check=True,
            stdout=subprocess.PIPE,
        )
    bill: dict[str, Any] = json.loads(made.stdout)
    packages = {package.name: package for package in read_packages(folder, rules)}
    for component in bill["components"]:
        package = packages.pop(_normal(component["name"]))
        component["licenses"] = [{"expression": package.licence}]
        within = {(one.name, one.version): one for one in package.components}
        if within:
            component["components"] = [
                {
                    "type": "library",
                    "name": one.name,
                    **({"version": one.version} if one.version else {}),
                    "licenses": [{"expression": one.licence}],
                    **({"purl": one.purl.partition("#")[0]} if one.purl else {}),
                }
                for one in within.values()
            ]
    if packages:
        message = f"The SBOM lacks {', '.join(packages)}, which {folder} contains."
        raise LicenceError(message)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)):
        message = f"The SBOM of {folder} is not valid CycloneDX: {error}"
        raise LicenceError(message)
    return bill


def main(arguments: list[str] | None = None, *, root: Path = ROOT) -> int:
    """Run the command line, on the files below `root`, and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    licences = commands.add_parser("licences")
    licences.add_argument("--check", action="store_true")
    licences.add_argument("folders", nargs="+", type=Path)
    sbom = commands.add_parser("sbom")
    sbom.add_argument("folder", type=Path)
    sbom.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    rules = Rules.read(root / "pyproject.toml")
    try:
        if options.command == "sbom":
            bill = bill_of_materials(options.folder, rules)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
        else:
            _write_or_compare(root, *licence_page(options.folders, rules), check=options.check)
    except LicenceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _write_or_compare(root: Path, page: str, label: str, *, check: bool) -> None:
    dockerfile = (root / "Dockerfile").read_text(encoding="utf-8")
    wanted = {
        root / "docs/licences.md": page,
        root / "Dockerfile": LABEL.sub(lambda match: f"{match[1]}{label}{match[3]}", dockerfile),
    }
    for path, text in wanted.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            message = f'{path.relative_to(root)} differs from what the image contains. Run "make licences".'
            raise LicenceError(message)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
