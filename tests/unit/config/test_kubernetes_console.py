"""The Kustomize component of the web console, and the overlay that uses it, read without a cluster."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kubernetes import validate
from worker.settings import Settings

FOLDER = Path(__file__).parents[3] / "config" / "kubernetes"
COMPONENT, OVERLAY = FOLDER / "components" / "console", FOLDER / "overlays" / "example-console"
NAME = {"app.kubernetes.io/name": "image-worker-console"}


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def kustomization(folder: Path) -> dict[str, Any]:
    return read(folder / "kustomization.yaml")


def variables(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def set_by_overlay(name: str) -> dict[str, str]:
    """Return the settings that the overlay adds to a config map of the component."""
    (file,) = [
        one["path"]
        for one in kustomization(OVERLAY)["patches"]
        if one["target"] == {"kind": "ConfigMap", "name": name}
    ]
    operations = yaml.safe_load((OVERLAY / file).read_text())
    return {one["path"].removeprefix("/data/"): one["value"] for one in operations}


@pytest.fixture
def deployment() -> dict[str, Any]:
    return read(COMPONENT / "deployment.yaml")


@pytest.fixture
def containers(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in deployment["spec"]["template"]["spec"]["containers"]}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of the console in the example: those of the workers, then its own."""
    given = variables(FOLDER / "base" / "settings.env") | variables(COMPONENT / "console.env")
    for name, value in (given | set_by_overlay("image-worker-console")).items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


def test_the_console_is_off_unless_an_overlay_adds_it() -> None:
    assert kustomization(COMPONENT)["kind"] == "Component"
    for folder in (FOLDER / "base", FOLDER / "overlays" / "example"):
        assert "../../components/console" not in kustomization(folder).get("components", [])
    assert kustomization(OVERLAY)["components"] == ["../../components/console"]


@pytest.mark.parametrize("folder", [COMPONENT, OVERLAY], ids=["component", "overlay"])
def test_every_file_of_a_folder_is_used_by_it(folder: Path) -> None:
    wanted = kustomization(folder)
    used = {entry for entry in wanted["resources"] if not (folder / entry).is_dir()}
    used |= {patch["path"] for patch in wanted.get("patches", [])}
    used |= {file for generator in wanted.get("configMapGenerator", []) for file in generator["envs"]}
    assert {file.name for file in folder.iterdir()} == used | {"kustomization.yaml"}


@pytest.mark.parametrize(
    "path",
    [
        *(COMPONENT / name for name in ("deployment.yaml", "service.yaml", "service-account.yaml")),
        COMPONENT / "network-policy.yaml",
        OVERLAY / "ingress.yaml",
    ],
    ids=lambda path: path.name,
)
def test_the_manifests_are_valid_without_unknown_fields(path: Path) -> None:
    validate(read(path))


def test_every_variable_is_a_setting() -> None:
    known = {f"WORKER_{name.upper()}" for name in Settings.model_fields}
    assert (
        variables(COMPONENT / "console.env").keys() | set_by_overlay("image-worker-console").keys() <= known
    )


def test_the_console_believes_the_proxy_in_its_pod_only(settings: Settings) -> None:
    assert settings.console_authentication == "header"
    assert settings.console_proxies == ["127.0.0.1"]
    proxy = variables(COMPONENT / "proxy.env")
    assert proxy["OAUTH2_PROXY_UPSTREAMS"] == f"http://127.0.0.1:{settings.console_port}/"
    assert {"OAUTH2_PROXY_PASS_USER_HEADERS": "true"}.items() <= proxy.items()
    assert settings.console_user_header == "X-Forwarded-Email"


def test_requests_reach_the_proxy_and_never_the_console_itself(
    containers: dict[str, dict[str, Any]], settings: Settings
) -> None:
    ports = {name: one["ports"] for name, one in containers.items()}
    proxy_port = int(variables(COMPONENT / "proxy.env")["OAUTH2_PROXY_HTTP_ADDRESS"].rpartition(":")[2])
    assert ports == {
        "console": [{"name": "console", "containerPort": settings.console_port}],
        "proxy": [{"name": "http", "containerPort": proxy_port}],
    }
    (port,) = read(COMPONENT / "service.yaml")["spec"]["ports"]
    assert port["targetPort"] == "http"
    (ingress,) = read(COMPONENT / "network-policy.yaml")["spec"]["ingress"]
    assert ingress["ports"] == [{"port": "http", "protocol": "TCP"}]


def test_everything_that_selects_pods_selects_the_console_and_no_worker(deployment: dict[str, Any]) -> None:
    assert deployment["spec"]["template"]["metadata"]["labels"] == NAME
    assert deployment["spec"]["selector"] == {"matchLabels": NAME}
    assert read(COMPONENT / "service.yaml")["spec"]["selector"] == NAME
    assert read(COMPONENT / "network-policy.yaml")["spec"]["podSelector"] == {"matchLabels": NAME}


def test_both_containers_keep_to_the_restricted_security_standard(
    deployment: dict[str, Any], containers: dict[str, dict[str, Any]]
) -> None:
    worker = read(FOLDER / "base" / "deployment.yaml")["spec"]["template"]["spec"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"] == worker["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    for one in containers.values():
        assert one["securityContext"] == worker["containers"][0]["securityContext"]


def test_the_memory_limit_covers_the_console_and_its_decoder(
    containers: dict[str, dict[str, Any]], settings: Settings
) -> None:
    limit = re.fullmatch(r"(\d+)Gi", containers["console"]["resources"]["limits"]["memory"])
    assert limit
    assert settings.processes == 1
    assert 150 + 64 + settings.decoder_memory_mb <= int(limit[1]) * 1024


def test_there_is_one_console_at_a_time(deployment: dict[str, Any]) -> None:
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_the_example_names_the_same_host_everywhere(settings: Settings) -> None:
    (rule,) = read(OVERLAY / "ingress.yaml")["spec"]["rules"]
    assert settings.console_url == f"https://{rule['host']}"
    proxy = set_by_overlay("image-worker-console-proxy")
    assert proxy["OAUTH2_PROXY_REDIRECT_URL"] == f"https://{rule['host']}/oauth2/callback"
    assert json.loads(set_by_overlay("image-worker-console")["WORKER_CONSOLE_OPERATORS"])


def test_no_secret_is_in_a_config_map() -> None:
    names = variables(COMPONENT / "proxy.env").keys() | set_by_overlay("image-worker-console-proxy").keys()
    assert not [name for name in names if "SECRET" in name or "CLIENT_ID" in name]
