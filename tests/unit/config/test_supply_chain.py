"""The workflows, the update bot and the base image; each check is shown to fail on a seeded mistake."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
WORKFLOWS = ROOT / ".github/workflows"
DIGEST = f"sha256:{'5e' * 32}"


@pytest.fixture(scope="module")
def release() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((WORKFLOWS / "release.yml").read_text())
    return document


@pytest.fixture(scope="module")
def renovate() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / ".github/renovate.json").read_text())
    return document


@pytest.mark.parametrize("name", ["ci.yml", "dependencies.yml", "release.yml"])
def test_workflows_follow_their_schema(tmp_path: Path, name: str) -> None:
    assert _conforms(WORKFLOWS / name, "vendor.github-workflows")
    broken = tmp_path / name
    broken.write_text((WORKFLOWS / name).read_text().replace("runs-on:", "run-on:", 1))
    assert not _conforms(broken, "vendor.github-workflows")


def test_the_configuration_of_the_update_bot_follows_its_schema(
    tmp_path: Path, renovate: dict[str, Any]
) -> None:
    assert _conforms(ROOT / ".github/renovate.json", "vendor.renovate")
    broken = tmp_path / "renovate.json"
    broken.write_text(json.dumps(renovate | {"packageRules": {"enabled": False}}))
    assert not _conforms(broken, "vendor.renovate")


def test_the_workflows_have_no_known_weakness(tmp_path: Path) -> None:
    assert _is_secure(WORKFLOWS)
    seeded = tmp_path / ".github/workflows"
    shutil.copytree(WORKFLOWS, seeded)
    release = seeded / "release.yml"
    release.write_text(release.read_text().replace('test "$TAG"', 'test "${{ github.ref_name }}"'))
    assert not _is_secure(seeded), "a tag's name would be run as a command"


def test_make_check_runs_each_of_these_checks() -> None:
    commands = _dry_run("check")
    for command in (
        r"check-jsonschema --builtin-schema vendor.github-workflows \.github/workflows/\*\.yml",
        r"check-jsonschema --builtin-schema vendor.renovate \.github/renovate\.json",
        r"zizmor --quiet --offline --no-progress \.github/workflows",
        r"contents\.py licences --check \.venv-image-x86_64 \.venv-image-aarch64",
    ):
        assert re.search(command, commands), command


def test_only_jobs_that_publish_may_write() -> None:
    writers = {}
    for path in WORKFLOWS.glob("*.yml"):
        document = yaml.safe_load(path.read_text())
        assert document["permissions"] == {"contents": "read"}
        for name, job in document["jobs"].items():
            if "permissions" in job:
                writers[path.name, name] = set(job["permissions"])
    assert writers == {
        ("dependencies.yml", "refresh"): {"contents", "pull-requests"},
        ("release.yml", "release"): {"contents", "packages", "id-token"},
    }


def test_a_release_builds_both_processors_with_sbom_and_provenance(release: dict[str, Any]) -> None:
    build = _run_of(release, "Build and push the image for both processors")
    for option in ("--platform linux/amd64,linux/arm64", "--sbom=true", "--provenance=mode=max", "--push"):
        assert option in build
    assert "base=$(config/docker/base-image.sh)" in build
    arguments = set(re.findall(r"^ARG ([A-Z_]+)=", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
    assert {*re.findall(r"--build-arg ([A-Z_]+)=", build)} == arguments - {"LOCK"}


def test_a_release_follows_the_checks_and_signs_by_digest(release: dict[str, Any]) -> None:
    assert release["jobs"]["release"]["needs"] == "ci"
    sign = _run_of(release, "Sign the image and its SBOMs")
    assert 'cosign sign --yes --recursive "$IMAGE@$DIGEST"' in sign
    assert "cosign attest --yes --type cyclonedx" in sign


def test_the_update_bot_pins_what_it_finds_by_digest(renovate: dict[str, Any]) -> None:
    assert {"docker:pinDigests", "helpers:pinGitHubActionDigests"} <= set(renovate["extends"])
    assert set(renovate["enabledManagers"]) == {"dockerfile", "docker-compose", "github-actions"}


def test_every_lock_is_audited_each_week() -> None:
    document = yaml.safe_load((WORKFLOWS / "dependencies.yml").read_text())
    (schedule,) = document[True]["schedule"]  # YAML reads "on" as true
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", schedule["cron"])
    assert {"run": "make audit"}.items() <= document["jobs"]["audit"]["steps"][-1].items()
    commands = _dry_run("audit")
    assert "for lock in requirements/*.lock" in commands
    assert "pip-audit --strict" in commands, "packages that cannot be audited would pass"


def test_the_base_image_gets_the_digest_that_its_registry_has(tmp_path: Path) -> None:
    done = _base_image(tmp_path, "docker.io/library/python:3.13-slim-trixie", registry=DIGEST)
    assert done.stdout == f"docker.io/library/python:3.13-slim-trixie@{DIGEST}\n"


def test_a_base_image_that_is_pinned_stays_as_it_is(tmp_path: Path) -> None:
    done = _base_image(
        tmp_path, f"docker.io/library/python:3.13-slim-trixie@{DIGEST}", registry="never asked"
    )
    assert done.stdout == f"docker.io/library/python:3.13-slim-trixie@{DIGEST}\n"


@pytest.mark.parametrize("answer", ["", "sha256:5e", "manifest unknown"])
def test_a_response_without_a_digest_stops_the_release(tmp_path: Path, answer: str) -> None:
    done = _base_image(tmp_path, "docker.io/library/python:3.13-slim-trixie", registry=answer)
    assert (done.returncode, done.stdout) == (1, "")
    assert "which is not a digest" in done.stderr


def _base_image(folder: Path, name: str, *, registry: str) -> subprocess.CompletedProcess[str]:
    """Run the script on a Dockerfile with this base image, and with a docker that returns `registry`."""
    script = folder / "config/docker/base-image.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "config/docker/base-image.sh", script)
    (folder / "Dockerfile").write_text(f"ARG PYTHON_IMAGE={name}\nFROM ${{PYTHON_IMAGE}}\nARG PYTHON_IMAGE\n")
    docker = folder / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(f"#!/bin/sh\necho '{registry}'\n")
    docker.chmod(0o755)
    environment = os.environ | {"PATH": f"{docker.parent}:{os.environ['PATH']}"}
    return subprocess.run([script], env=environment, capture_output=True, text=True, check=False, timeout=30)


def _dry_run(target: str) -> str:
    make = shutil.which("make")
    assert make
    return subprocess.run([make, "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _run_of(workflow: dict[str, Any], name: str) -> str:
    steps = {step.get("name"): step for step in workflow["jobs"]["release"]["steps"]}
    command: str = steps[name]["run"]
    return command


def _conforms(path: Path, schema: str) -> bool:
    from check_jsonschema import main  # takes a second, and few tests need it

    done = CliRunner().invoke(main, ["--builtin-schema", schema, str(path)])
    assert done.exit_code in {0, 1}, done.output
    return done.exit_code == 0


def _is_secure(workflows: Path) -> bool:
    command: list[str | Path] = [
        BIN / "zizmor",
        "--quiet",
        "--offline",
        "--no-progress",
        "--config",
        ROOT / ".github/zizmor.yml",
        workflows,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0 or "error[" in done.stdout or "warning[" in done.stdout, done.stderr
    return done.returncode == 0
