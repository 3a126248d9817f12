"""The licences and the SBOM of the container image, made from small folders of packages."""

import json
import re
import runpy
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from PIL import __version__ as pillow_version
from PIL import features

Run = Callable[..., str]

ROOT = Path(__file__).parents[3]
RULES = """
[tool.licences]
allowed = ["MIT", "Apache-2.0", "LGPL-3.0-or-later"]
[tool.licences.own]
worker = "MIT"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a Dockerfile and with rules that allow three licences."""
    root = tmp_path / "project"
    script = root / "config/docker/contents.py"
    script.parent.mkdir(parents=True)
    (root / "docs").mkdir()
    shutil.copy(ROOT / "config/docker/contents.py", script)
    (root / "Dockerfile").write_text('LABEL org.opencontainers.image.licenses="unknown" \\\n  other="x"\n')
    (root / "pyproject.toml").write_text(
        f'[project]\nname = "image-worker"\nversion = "1.2.3"\ndependencies = ["imaging"]\n{RULES}'
    )
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    return folder


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the project's script, and returns its errors, or nothing if it succeeds."""
    script = str(root / "config/docker/contents.py")

    def run(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            runpy.run_path(script, run_name="__main__")
        errors = capsys.readouterr().err
        assert (exited.value.code == 0) is (errors == "")
        return errors

    return run


def test_the_page_and_the_label_name_the_licences_that_are_chosen(root: Path, folder: Path, run: Run) -> None:
    _install(folder, "plain", "License-Expression: MIT")
    _install(folder, "choice", "License-Expression: GPL-2.0-only OR Apache-2.0")

    assert not run("licences", folder)

    page = (root / "docs/licences.md").read_text()
    assert "| MIT | image-worker (worker), plain |" in page
    assert "| Apache-2.0 | choice |" in page
    assert "| choice | GPL-2.0-only OR Apache-2.0 |  |" in page
    assert (root / "Dockerfile").read_text() == (
        'LABEL org.opencontainers.image.licenses="Apache-2.0 AND MIT" \\\n  other="x"\n'
    )
    assert not run("licences", "--check", folder)


@pytest.mark.parametrize(
    "metadata", ["", "License: UNKNOWN", "License: BSD", "License-Expression: Not-A-Licence"]
)
def test_a_package_without_a_known_licence_is_an_error(
    root: Path, folder: Path, run: Run, metadata: str
) -> None:
    _install(folder, "odd", metadata)
    assert "The package odd does not state its licence as an SPDX expression." in run("licences", folder)


@pytest.mark.parametrize(
    "licence",
    ["GPL-3.0-only", "MIT AND GPL-3.0-only", "Apache-2.0 WITH LLVM-exception", "GPL-2.0-only OR SSPL-1.0"],
)
def test_a_licence_that_is_not_allowed_is_an_error(root: Path, folder: Path, run: Run, licence: str) -> None:
    _install(folder, "odd", f"License-Expression: {licence}")
    assert f'The licence "{licence}" of odd is not allowed.' in run("licences", folder)


def test_a_licence_compiled_into_a_wheel_counts(root: Path, folder: Path, run: Run) -> None:
    crate = {
        "name": "crate",
        "version": "1.0",
        "purl": "pkg:cargo/crate@1.0",
        "licenses": [{"expression": "AGPL-3.0-only"}],
    }
    _install(folder, "rusty", "License-Expression: MIT", components=[crate])
    assert "of crate in rusty is not allowed" in run("licences", folder)


def test_a_shared_library_whose_licence_is_not_stated_is_an_error(root: Path, folder: Path, run: Run) -> None:
    _install(folder, "imaging", "License-Expression: MIT", libraries=["libheif-e72ea93c.so.1.23.6"])
    assert 'The wheel of imaging contains "libheif", whose licence is not known.' in run("licences", folder)

    _state(root, '[tool.licences.bundled]\nlibheif = "LGPL-3.0-or-later"\n')
    assert not run("licences", folder)
    assert "| LGPL-3.0-or-later | libheif in imaging |" in (root / "docs/licences.md").read_text()


def test_an_entry_that_nothing_needs_is_an_error(root: Path, folder: Path, run: Run) -> None:
    _install(folder, "plain", "License-Expression: MIT")
    _state(root, '[tool.licences.packages]\ngone = "MIT"\n')
    assert "states packages.gone, which the image does not contain" in run("licences", folder)


@pytest.mark.parametrize("stale", ["docs/licences.md", "Dockerfile"])
def test_a_page_or_label_that_differs_from_the_image_is_an_error(
    root: Path, folder: Path, run: Run, stale: str
) -> None:
    _install(folder, "plain", "License-Expression: MIT")
    assert not run("licences", folder)
    path = root / stale
    path.write_text(path.read_text().replace("MIT", "Apache-2.0"))
    assert f"{stale} differs from what the image contains" in run("licences", "--check", folder)


def test_a_folder_without_packages_is_an_error(root: Path, folder: Path, run: Run) -> None:
    assert "has no installed packages" in run("licences", folder)


def test_the_sbom_lists_packages_with_what_is_in_them_and_without_what_is_removed(
    root: Path, folder: Path, run: Run, tmp_path: Path
) -> None:
    notes = "Name: libheif\n  Source code: https://github.com/strukturag/libheif/tree/v1.23.6\n"
    libraries = ["libheif-e72ea93c.so.1.23.6", "libx265-4883ecb5.so.217"]
    _install(folder, "imaging", "License: MIT", libraries=libraries, notes=notes)
    _state(
        root,
        '[tool.licences.bundled]\nlibheif = "LGPL-3.0-or-later"\n[tool.licences.removed]\nlibx265 = "GPL"\n',
    )
    out = tmp_path / "dist/sbom.json"

    assert not run("sbom", folder, "--out", out)  # which validates it against CycloneDX's schema

    bill: dict[str, Any] = json.loads(out.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "image-worker"
    (package,) = bill["components"]
    assert (package["name"], package["licenses"]) == ("imaging", [{"expression": "MIT"}])
    assert package["components"] == [
        {
            "type": "library",
            "name": "libheif",
            "version": "1.23.6",
            "licenses": [{"expression": "LGPL-3.0-or-later"}],
        }
    ]


def test_the_label_of_the_image_has_the_licences_of_the_page() -> None:
    label = re.search(r'image\.licenses="([^"]*)"', (ROOT / "Dockerfile").read_text())
    page = (ROOT / "docs/licences.md").read_text().partition("## Packages")[0]
    licences = re.findall(r"^\| (\S+(?: WITH \S+)?) \| [^-].* \|$", page, flags=re.MULTILINE)[1:]
    assert label
    assert label[1].split(" AND ") == licences


def test_no_licence_of_the_image_obliges_to_publish_other_code() -> None:
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["licences"]["allowed"]
    assert not [one for one in allowed if re.match(r"A?GPL|SSPL|BUSL", one)]


def test_the_decoders_are_newer_than_their_known_defects() -> None:
    heif = pillow_heif.libheif_info()
    (libde265,) = re.findall(r"libde265 .* ([0-9.]+)$", heif["decoders"]["libde265"])
    assert Version(pillow_version) >= Version("12.3.0")  # PYSEC-2026-2253 to -2257, -3451 to -3453
    assert Version(heif["libheif"]) >= Version(
        "1.23.6"
    )  # CVE-2026-32741: 1.22.0; writes outside a buffer: 1.23.5
    assert Version(libde265) >= Version("1.1.1")  # CVE-2026-33165


def test_the_lower_bounds_exclude_decoders_with_known_defects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    assert not bounds["Pillow"].contains("12.2.99")
    assert not bounds["pillow-heif"].contains("1.8.0")  # 1.8.1 brings libheif 1.23.6 and libde265 1.1.3


def test_pillow_has_no_library_that_the_rules_state_as_absent() -> None:
    absent = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["licences"]["absent"]
    assert set(absent) == {"libimagequant", "FriBiDi"}
    assert not features.check("libimagequant")
    libraries = Path(features.__file__).parents[1] / "pillow.libs"
    assert not list(libraries.glob("*fribidi*"))


def _install(
    folder: Path,
    name: str,
    metadata: str,
    *,
    components: list[dict[str, Any]] | None = None,
    libraries: list[str] | None = None,
    notes: str = "",
) -> None:
    """Create what a wheel leaves behind when it is installed."""
    info = folder / f"{name}-1.0.dist-info"
    (info / "sboms").mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}\n")
    (info / "LICENSES_bundled.txt").write_text(notes)
    (info / "sboms/inner.json").write_text(json.dumps({"components": components or []}))
    for library in libraries or ():
        path = folder / f"{name}.libs" / library
        path.parent.mkdir(exist_ok=True)
        path.touch()
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def _state(root: Path, rules: str) -> None:
    with (root / "pyproject.toml").open("a") as file:
        file.write(rules)
