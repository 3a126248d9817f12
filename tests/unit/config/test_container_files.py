import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from typing import Any

import pillow_heif
import pytest
import yaml
from PIL import Image

from tests.support.pictures import difference, quadrants
from worker.cli.app import COMMANDS
from worker.settings import Settings

ROOT = Path(__file__).parents[3]
Instructions = list[tuple[str, str]]

DECODE_HEIC = """
import io
from worker.imaging.heic_threads import decode_in_calling_thread
from worker.imaging.image_file import open_image
assert decode_in_calling_thread()
assert b"x265" not in open("/proc/self/maps", "rb").read()
image = open_image(sys.stdin.buffer.read(), image_format="heic")
sys.stdout.buffer.write(image.tobytes())
"""


@pytest.fixture(scope="module")
def stages() -> list[Instructions]:
    """The stages of the Dockerfile: for each, its instructions with their arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: list[Instructions] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            if name == "FROM":
                found.append([])
            if found:  # arguments before the first stage belong to none
                found[-1].append((name, rest))
    return found


@pytest.fixture(scope="module")
def image(stages: list[Instructions]) -> dict[str, str]:
    """The instructions of the last stage with their arguments."""
    return dict(stages[-1])


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services: dict[str, Any] = document["services"]
    return services


def test_both_stages_use_the_same_slim_base_image_with_a_minor_version(stages: list[Instructions]) -> None:
    assert {stage[0][1].partition(" ")[0] for stage in stages} == {"${PYTHON_IMAGE}"}
    default = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert default
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", default[1])


def test_only_wheels_with_known_hashes_are_installed(stages: list[Instructions]) -> None:
    commands = [one for name, rest in stages[0] if name == "RUN" for one in rest.split("&&")]
    installs = [shlex.split(command) for command in commands if " install " in command]
    assert installs
    for install in installs:
        if "/wheel/*.whl" in install:  # built in this stage
            assert "--no-deps" in install
        else:
            assert {"--require-hashes", "--only-binary"} <= set(install)


def test_the_final_stage_copies_only_the_environment_from_the_build_stage(stages: list[Instructions]) -> None:
    assert [rest for name, rest in stages[-1] if name in {"COPY", "ADD"}] == ["--from=build /venv /venv"]


@pytest.mark.parametrize("package", ["hatchling", "editables", "moto", "pytest", "ministack"])
def test_the_production_image_contains_no_build_tools_and_no_emulators(package: str) -> None:
    assert not _locks("requirements/runtime.lock", package)


def test_no_lock_has_the_discontinued_decoder() -> None:
    assert not any(_locks(f"requirements/{name}.lock", "pi-heif") for name in ("runtime", "demo", "dev"))


@pytest.mark.skipif(sys.platform != "linux", reason="the script changes an ELF library")
def test_heic_is_decoded_after_the_encoder_has_been_removed(
    tmp_path: Path, stages: list[Instructions]
) -> None:
    script = next(rest for name, rest in stages[0] if name == "RUN" and "remove-x265" in rest).split()[0]
    installed = Path(pillow_heif.__file__).parents[1]
    for name in ("pillow_heif", "pillow_heif.libs"):
        shutil.copytree(installed / name, tmp_path / name, ignore=shutil.ignore_patterns("libx265*"))
    for file in installed.glob("_pillow_heif*"):
        shutil.copy(file, tmp_path)
    for file in (installed / "pillow_heif.libs").glob("libx265*"):
        (tmp_path / "pillow_heif.libs" / file.name).touch()
    heic, program = io.BytesIO(), f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{DECODE_HEIC}"
    pillow_heif.from_pillow(quadrants(64, 40)).save(heic, quality=90)

    subprocess.run(
        [ROOT / script, tmp_path],
        check=True,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )

    decoded = subprocess.run(
        [sys.executable, "-c", program], input=heic.getvalue(), capture_output=True, check=True
    )
    assert not list(tmp_path.glob("**/*x265*"))
    pixels = Image.frombytes("RGB", (64, 40), decoded.stdout)
    assert difference(pixels, quadrants(64, 40)) < 3


@pytest.mark.skipif(sys.platform != "linux", reason="the script changes an ELF library")
def test_the_encoder_is_removed_from_the_wheel_for_arm64_too(
    tmp_path: Path, stages: list[Instructions]
) -> None:
    script = next(rest for name, rest in stages[0] if name == "RUN" and "remove-x265" in rest).split()[0]
    lock = (ROOT / "requirements/runtime.lock").read_text()
    pinned = re.search(r"^pillow-heif==.*?(?=^\S)", lock, flags=re.MULTILINE | re.DOTALL)
    assert pinned
    (tmp_path / "heif.lock").write_text(pinned.group())
    tools = Path(sys.executable).parent
    subprocess.run(
        [
            *(tools / "uv", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"),
            *("--python-platform", "aarch64-manylinux_2_28", "--target", tmp_path / "site"),
            *("--require-hashes", "--requirements", tmp_path / "heif.lock"),
        ],
        check=True,
        timeout=100,
    )

    subprocess.run(
        [ROOT / script, tmp_path / "site"], check=True, env={"PATH": f"{tools}:{os.environ['PATH']}"}
    )

    (library,) = (tmp_path / "site" / "pillow_heif.libs").glob("libheif-*")
    needed = subprocess.check_output([tools / "patchelf", "--print-needed", library], text=True)
    assert int.from_bytes(library.read_bytes()[18:20], "little") == 183, (
        "the machine of the ELF file is AArch64"
    )
    assert "libde265" in needed
    assert "x265" not in needed
    assert not list(tmp_path.glob("**/*x265*"))


@pytest.mark.parametrize(
    ("builder", "platforms", "expected"),
    [
        ("docker", "", "docker build --quiet"),
        ("docker", "linux/arm64", "docker build --quiet --platform linux/arm64"),
        (
            "docker",
            "linux/amd64,linux/arm64",
            "docker buildx build --push --quiet --platform linux/amd64,linux/arm64",
        ),
        ("podman", "", "podman build --format docker --quiet"),
        (
            "podman",
            "linux/amd64,linux/arm64",
            "podman build --format docker --quiet --platform linux/amd64,linux/arm64",
        ),
        (
            "buildah",
            "linux/amd64,linux/arm64",
            "buildah build --format docker --quiet --platform linux/amd64,linux/arm64",
        ),
    ],
)
def test_the_image_is_built_for_the_requested_platforms(
    tmp_path: Path, builder: str, platforms: str, expected: str
) -> None:
    for tool in ("docker", "podman", "buildah"):
        (tmp_path / tool).write_text(
            '#!/bin/sh\n[ "$1" = info ] && exit $NO_DOCKER\necho "${0##*/} $*"\n'
            if tool in {"docker", builder}
            else "#!/bin/sh\nexit 127\n"
        )
        if tool in {"docker", builder}:
            (tmp_path / tool).chmod(0o755)
    done = subprocess.run(
        [ROOT / "config/docker/build-image.sh", "name:tag", "--quiet"],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "PLATFORMS": platforms,
            "NO_DOCKER": str(int(builder != "docker")),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    target = "--manifest" if "," in platforms and builder != "docker" else "--tag"
    assert done.stdout.startswith(f"{expected} --build-arg VERSION=")
    assert done.stdout.endswith(f" {target} name:tag .\n")


def test_the_demo_image_adds_only_the_embedded_aws() -> None:
    pinned = {
        name: set(re.findall(r"^([a-z0-9.-]+==\S+)", (ROOT / name).read_text(), flags=re.MULTILINE))
        for name in ("requirements/runtime.lock", "requirements/demo.lock")
    }
    assert pinned["requirements/runtime.lock"] < pinned["requirements/demo.lock"]
    assert _locks("requirements/demo.lock", "ministack")


def test_the_build_context_contains_every_file_that_the_dockerfile_copies(stages: list[Instructions]) -> None:
    copied = [name for kind, rest in stages[0] if kind == "COPY" for name in rest.split()[:-1]]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"requirements/build.lock", "requirements/runtime.lock", "requirements/demo.lock"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed


def test_the_build_context_is_an_allow_list() -> None:
    first, *others = (ROOT / ".dockerignore").read_text().splitlines()
    named = {line[1:] for line in others if line.startswith("!")}
    assert first == "*"
    assert not named & {".", ".git", ".env", ".venv", "tests"}


def test_the_user_is_numeric_and_not_root(image: dict[str, str]) -> None:
    uid, _, gid = image["USER"].partition(":")
    assert int(uid) >= 10_000
    assert int(gid) >= 10_000


def test_the_image_runs_and_checks_itself_by_commands_that_exist(image: dict[str, str]) -> None:
    known = {command.name for command in COMMANDS}
    assert json.loads(image["ENTRYPOINT"]) == ["image-worker"]
    assert set(json.loads(image["CMD"])) <= known
    program, command = json.loads(image["HEALTHCHECK"].partition("CMD ")[2])
    assert program == "image-worker"
    assert command in known


def test_the_signal_that_stops_the_container_is_the_one_that_drains_the_worker(image: dict[str, str]) -> None:
    assert image["STOPSIGNAL"] == "SIGTERM"


def test_the_ports_are_the_same_in_settings_image_and_compose(
    image: dict[str, str], services: dict[str, Any]
) -> None:
    settings = Settings()
    assert image["EXPOSE"].split() == [str(settings.http_port), str(settings.console_port)]
    assert services["worker"]["expose"] == [str(settings.http_port)]


def test_the_worker_has_longer_to_stop_than_it_takes_to_drain(services: dict[str, Any]) -> None:
    grace = services["worker"]["stop_grace_period"]
    assert grace.endswith("s")
    assert int(grace[:-1]) > Settings().drain_timeout_s


def test_localstack_may_take_as_long_as_its_script_waits_for_the_stack(services: dict[str, Any]) -> None:
    check = services["localstack"]["healthcheck"]
    script = (ROOT / "config" / "localstack" / "ready.d" / "provision.py").read_text()
    waits = re.search(r'"Delay": (\d+), "MaxAttempts": (\d+)', script)
    assert waits
    start_s = int(check["start_period"].removesuffix("s"))
    assert start_s > int(waits[1]) * int(waits[2])


def test_the_worker_in_compose_can_write_only_to_tmp(services: dict[str, Any]) -> None:
    worker = services["worker"]
    assert worker["read_only"] is True
    assert [mount.partition(":")[0] for mount in worker["tmpfs"]] == ["/tmp"]
    assert worker["cap_drop"] == ["ALL"]
    assert worker["security_opt"] == ["no-new-privileges:true"]
    assert not worker.keys() & {"cap_add", "privileged", "user", "volumes"}


def test_the_console_in_compose_is_reached_from_this_machine_only(services: dict[str, Any]) -> None:
    console, port = services["console"], Settings().console_port
    assert console["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert console["command"] == ["console"]
    assert console["environment"]["WORKER_CONSOLE_HOST"] == "0.0.0.0"  # noqa: S104 - within the container
    assert "WORKER_CONSOLE_AUTHENTICATION" not in console["environment"], "the default needs a token"
    assert Settings().console_authentication == "token"


def test_the_console_in_compose_is_confined_like_the_worker(services: dict[str, Any]) -> None:
    names = ("read_only", "tmpfs", "cap_drop", "security_opt", "init", "image")
    assert [services["console"][name] for name in names] == [services["worker"][name] for name in names]
    assert services["worker"]["environment"].items() <= services["console"]["environment"].items()


def test_every_variable_of_compose_is_a_setting(services: dict[str, Any]) -> None:
    known = {f"WORKER_{name.upper()}" for name in Settings.model_fields}
    for name in ("worker", "console"):
        variables = {one for one in services[name]["environment"] if not one.startswith("AWS_")}
        assert variables <= known


def test_workers_can_be_scaled(services: dict[str, Any]) -> None:
    assert not services["worker"].keys() & {"container_name", "hostname", "ports"}


def test_workers_wait_for_the_resources(services: dict[str, Any]) -> None:
    assert services["worker"]["depends_on"] == {"localstack": {"condition": "service_healthy"}}


def test_localstack_needs_no_token_and_listens_on_this_machine_only(
    services: dict[str, Any],
) -> None:
    assert services["localstack"]["image"] == "localstack/localstack:4.14.0"
    assert services["localstack"]["ports"] == ["127.0.0.1:4566:4566"]


def test_no_service_of_localstack_is_disabled(services: dict[str, Any]) -> None:
    assert "SERVICES" not in services["localstack"]["environment"]


def test_the_mounts_of_localstack_exist_and_are_read_only(services: dict[str, Any]) -> None:
    mounts = [mount.split(":") for mount in services["localstack"]["volumes"]]
    local_mounts = {
        target: (ROOT / source, mode) for source, target, *mode in mounts if source.startswith("./")
    }
    assert set(local_mounts) == {"/etc/localstack/init/ready.d", "/etc/image-worker/storage.yaml"}
    for source, mode in local_mounts.values():
        assert source.exists()
        assert mode == ["ro"]


def test_there_is_one_script_that_the_health_check_waits_for() -> None:
    scripts = [path.name for path in (ROOT / "config/localstack/ready.d").iterdir() if path.is_file()]
    assert scripts == ["provision.py"]


@pytest.mark.skipif(which("curl") is None, reason="the check calls curl")
@pytest.mark.parametrize(
    ("state", "is_healthy"),
    [("UNKNOWN", False), ("RUNNING", False), ("ERROR", False), ("SUCCESSFUL", True)],
)
def test_localstack_is_healthy_once_its_script_has_succeeded(
    services: dict[str, Any], state: str, *, is_healthy: bool
) -> None:
    kind, command = services["localstack"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    with _localstack(state) as port:
        checked = subprocess.run(  # noqa: S602 - the command of the compose file
            command.replace("4566", str(port)), shell=True, check=False, env={"PATH": os.environ["PATH"]}
        )
    assert (checked.returncode == 0) is is_healthy


def _locks(lock: str, package: str) -> bool:
    return re.search(rf"^{package}==", (ROOT / lock).read_text(), flags=re.MULTILINE) is not None


@contextmanager
def _localstack(state: str) -> Iterator[int]:
    """Serve the status of the startup scripts as LocalStack does."""
    scripts = [{"stage": "READY", "name": "provision.py", "state": state}]
    body = json.dumps({"completed": state in {"ERROR", "SUCCESSFUL"}, "scripts": scripts}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/_localstack/init/ready" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
