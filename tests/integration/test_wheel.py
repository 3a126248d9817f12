"""The wheel: what it contains, and that the command works from it without the checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.emulators import stack_name_of, unique_settings
from tests.support.pictures import encoded, quadrants
from worker.local.embedded_aws import embedded_environment

ROOT = Path(__file__).parents[2]
COMMAND = "import sys; from worker.__main__ import main; sys.argv[0] = 'image-worker'; main()"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [*("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"), str(ROOT)]
    subprocess.run([sys.executable, *build, "--wheel-dir", folder], check=True, timeout=60)
    (path,) = folder.glob("image_worker-*.whl")
    return path


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    return tmp_path / "installed"


def run(installed: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command from the unpacked wheel, in a folder outside the checkout."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(installed),
            "WORKER_HTTP_PORT": "0",
            **environment,
        },
        cwd=installed.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_wheel_contains_one_package_and_its_metadata(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"worker", "image_worker"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_wheel_contains_every_file_of_the_package_and_the_template(wheel: Path) -> None:
    in_package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "worker").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    in_wheel = {name for name in ZipFile(wheel).namelist() if name.startswith("worker/")}
    assert in_wheel == in_package | {"worker/data/storage.yaml"}
    template = (ROOT / "config/cloudformation/storage.yaml").read_bytes()
    assert ZipFile(wheel).read("worker/data/storage.yaml") == template


def test_the_code_runs_from_the_wheel_and_not_from_the_checkout(installed: Path) -> None:
    program = "import worker.aws.provision as module; print(module.__file__, module.STORAGE_TEMPLATE)"
    printed = subprocess.check_output(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(installed)},
        cwd=installed.parent,
        text=True,
    )
    assert printed.split() == [
        str(installed / "worker/aws/provision.py"),
        str(installed / "worker/data/storage.yaml"),
    ]


def test_provision_works_from_the_wheel(installed: Path, ministack_endpoint: str) -> None:
    settings = unique_settings(ministack_endpoint)
    environment = embedded_environment(ministack_endpoint) | {
        "WORKER_BUCKET": settings.bucket,
        "WORKER_QUEUE_NAME": settings.queue_name,
        "WORKER_DEAD_LETTER_QUEUE_NAME": settings.dead_letter_queue_name,
        "WORKER_TABLE_NAME": settings.table_name,
    }
    ended = run(installed, "provision", "--stack-name", stack_name_of(settings), **environment)
    assert ended.returncode == 0, ended.stderr


def test_the_demo_works_from_the_wheel(installed: Path) -> None:
    (installed.parent / "mine").mkdir()
    for path in installed.glob("worker/data/demo/[fl]*.jpg"):  # two of the bundled images
        (installed.parent / "mine" / path.name).write_bytes(path.read_bytes())
    (installed.parent / "mine/broken.png").write_bytes(encoded(quadrants(96, 72), "PNG")[:90])
    ended = run(installed, "demo", "mine", "--json", WORKER_PROCESSES="2")
    assert ended.returncode == 0, ended.stderr
    images = {image["file"]: image["status"] for image in json.loads(ended.stdout)["images"]}
    assert images == {"broken.png": "failed", "forest.jpg": "completed", "lake.jpg": "completed"}
