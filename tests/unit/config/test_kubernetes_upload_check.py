"""The Kustomize component that looks for uploads that no message announced, read without a cluster."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.support import templates
from tests.support.kubernetes import validate
from worker.cli import enqueue

FOLDER = Path(__file__).parents[3] / "config" / "kubernetes"
COMPONENT = FOLDER / "components" / "upload-check"
NAME = {"app.kubernetes.io/name": "image-worker-upload-check"}


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


@pytest.fixture
def job() -> dict[str, Any]:
    spec: dict[str, Any] = read(COMPONENT / "cron-job.yaml")["spec"]["jobTemplate"]["spec"]
    return spec


@pytest.fixture
def pod(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["template"]["spec"]
    return spec


@pytest.mark.parametrize("name", ["cron-job.yaml", "network-policy.yaml", "service-account.yaml"])
def test_the_manifests_are_valid_without_unknown_fields(name: str) -> None:
    validate(read(COMPONENT / name))


def test_the_command_is_that_of_the_ecs_task_and_tells_by_its_exit_status(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    service = templates.template("service.yaml")["Resources"]["UploadCheckTask"]["Properties"]
    assert [one for one in container["args"] if one != "--exit-code"] == service["ContainerDefinitions"][0][
        "Command"
    ]
    assert "--exit-code" in container["args"]
    known = {option for parameter in get_command(enqueue.app).params for option in parameter.opts}
    assert {one for one in container["args"] if one.startswith("--")} <= known


def test_a_job_that_found_uploads_is_not_repeated_and_is_kept_for_the_alert(job: dict[str, Any]) -> None:
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")
    spec = read(COMPONENT / "cron-job.yaml")["spec"]
    assert (spec["schedule"], spec["concurrencyPolicy"]) == ("17 */6 * * *", "Forbid")
    assert job["ttlSecondsAfterFinished"] == 2 * 6 * 3600


def test_the_pod_is_confined_as_the_worker_is(pod: dict[str, Any]) -> None:
    worker = read(FOLDER / "base" / "deployment.yaml")["spec"]["template"]["spec"]
    for name in ("securityContext", "automountServiceAccountToken", "shareProcessNamespace"):
        assert pod[name] == worker[name]
    assert pod["containers"][0]["securityContext"] == worker["containers"][0]["securityContext"]
    assert pod["containers"][0]["envFrom"] == worker["containers"][0]["envFrom"]


def test_its_pods_are_selected_by_its_own_network_policy_which_allows_what_the_worker_may(
    job: dict[str, Any],
) -> None:
    assert job["template"]["metadata"]["labels"] == NAME
    policy = read(COMPONENT / "network-policy.yaml")["spec"]
    assert policy["podSelector"] == {"matchLabels": NAME}
    assert "ingress" not in policy
    assert policy["egress"] == read(FOLDER / "base" / "network-policy.yaml")["spec"]["egress"]
