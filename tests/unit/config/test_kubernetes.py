"""What `kubectl apply -k` would send: the base, and the example with its patches, read without a cluster."""

import ipaddress
import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kubernetes import validate
from worker.delivery.consumer import RELEASE_TIMEOUT_S
from worker.settings import Settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "config" / "kubernetes"
BASE, EXAMPLE = FOLDER / "base", FOLDER / "overlays" / "example"

CUSTOM = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"}
"""Kinds that the cluster learns from KEDA and the Prometheus operator."""

NAME = {"app.kubernetes.io/name": "image-worker"}

Resource = dict[str, Any]


def kustomization(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return read


def resources(folder: Path) -> dict[str, Resource]:
    """Return what a folder and those that it builds on make, by kind, with its patches applied."""
    made: dict[str, Resource] = {}
    wanted = kustomization(folder)
    for entry in wanted["resources"]:
        path = (folder / entry).resolve()
        found = resources(path) if path.is_dir() else of_file(path)
        assert not made.keys() & found.keys()
        made |= found
    for patch in wanted.get("patches", []):
        target = made[patch["target"]["kind"]]
        if target["metadata"]["name"] != patch["target"].get("name", "image-worker"):
            continue  # a patch of a component, which is read in the rendered overlay
        for operation in yaml.safe_load((folder / patch["path"]).read_text()):
            apply(target, **operation)
    return made


def of_file(path: Path) -> dict[str, Resource]:
    return {one["kind"]: one for one in yaml.safe_load_all(path.read_text())}


def apply(target: Any, *, op: str, path: str, value: Any) -> None:
    """Apply one operation of a JSON patch; what it replaces has to be there."""
    *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:])
    for parent in parents:
        target = target[int(parent) if isinstance(target, list) else parent]
    assert op == "add" or last in target
    target[last] = value


def settings_of(folder: Path) -> dict[str, str]:
    """Return the environment that the generated map gives the worker."""
    variables: dict[str, str] = {}
    for entry in kustomization(folder)["resources"]:
        if (folder / entry).is_dir():
            variables |= settings_of(folder / entry)
    for generator in kustomization(folder)["configMapGenerator"]:
        assert generator["name"] == "image-worker"
        lines = [
            line for file in generator.get("envs", []) for line in (folder / file).read_text().splitlines()
        ]
        pairs = [line for line in [*lines, *generator.get("literals", [])] if not line.startswith("#")]
        variables |= dict(pair.split("=", 1) for pair in pairs)
    return variables


@pytest.fixture(params=[BASE, EXAMPLE], ids=["base", "example"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def built(folder: Path) -> dict[str, Resource]:
    return resources(folder)


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in settings_of(folder).items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


@pytest.fixture
def pod(built: dict[str, Resource]) -> Resource:
    spec: Resource = built["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Resource) -> Resource:
    (container,) = pod["containers"]
    return container


@pytest.fixture
def triggers(built: dict[str, Resource]) -> dict[str, dict[str, str]]:
    return {one["type"]: one["metadata"] for one in built["ScaledObject"]["spec"]["triggers"]}


def mebibytes(quantity: str) -> int:
    match = re.fullmatch(r"(\d+)(Mi|Gi)", quantity)
    assert match
    return int(match[1]) * (1024 if match[2] == "Gi" else 1)


def test_every_file_of_a_folder_is_used_by_it(folder: Path) -> None:
    wanted = kustomization(folder)
    used = {entry for entry in wanted["resources"] if not (folder / entry).is_dir()}
    used |= {patch["path"] for patch in wanted.get("patches", [])}
    used |= {file for generator in wanted["configMapGenerator"] for file in generator.get("envs", [])}
    assert {file.name for file in folder.iterdir()} == used | {"kustomization.yaml"}
    assert all((folder / component).is_dir() for component in wanted.get("components", []))


def test_the_manifests_are_valid_without_unknown_fields(
    built: dict[str, Resource],
) -> None:
    checked = {kind: one for kind, one in built.items() if kind not in CUSTOM}
    assert {"Deployment", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"} <= checked.keys()
    for resource in checked.values():
        validate(resource)


def test_an_unknown_field_would_be_found(built: dict[str, Resource]) -> None:
    wrong = deepcopy(built["Deployment"])
    wrong["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    with pytest.raises(ValueError, match="readOnlyRootFilesystem"):
        validate(wrong)


def test_every_variable_of_the_config_map_is_a_setting(folder: Path, settings: Settings) -> None:
    known = {f"WORKER_{name.upper()}" for name in Settings.model_fields} | {"AWS_REGION"}
    given = settings_of(folder)
    assert given.keys() <= known
    assert settings.region == given["AWS_REGION"]
    assert settings.slots == int(given["WORKER_CONCURRENCY"])


def test_the_memory_limit_covers_worker_process_decoders_and_tmp(
    settings: Settings, pod: Resource, container: Resource
) -> None:
    (tmp,) = pod["volumes"]
    held = settings.slots * settings.max_bytes // 2**20
    children = settings.processes * settings.decoder_memory_mb
    parent = 200
    most = held + children + parent + mebibytes(tmp["emptyDir"]["sizeLimit"])
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    assert most <= mebibytes(limits["memory"])
    assert requests["memory"] == limits["memory"], "no pod lives on memory that may be taken back"


def test_the_cpu_limit_has_one_cpu_for_each_process(settings: Settings, container: Resource) -> None:
    assert int(container["resources"]["limits"]["cpu"]) == settings.processes + 1
    assert int(container["resources"]["requests"]["cpu"]) == settings.processes


def test_a_pod_is_killed_only_after_it_had_time_to_drain_and_release_messages(
    settings: Settings, pod: Resource
) -> None:
    assert pod["terminationGracePeriodSeconds"] >= settings.drain_timeout_s + RELEASE_TIMEOUT_S + 5


def test_the_pod_keeps_to_the_restricted_security_standard(pod: Resource, container: Resource) -> None:
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [set(volume) for volume in pod["volumes"]] == [{"name", "emptyDir"}]
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
    assert not [port for port in container["ports"] if "hostPort" in port]


def test_the_pod_runs_as_the_user_of_the_image(pod: Resource) -> None:
    user = re.search(r"^USER (\d+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    assert int(user[1]) == pod["securityContext"]["runAsUser"]


def test_the_pod_can_write_to_tmp_and_nowhere_else(pod: Resource, container: Resource) -> None:
    assert container["volumeMounts"] == [{"name": pod["volumes"][0]["name"], "mountPath": "/tmp"}]


def test_no_service_account_token_is_mounted(built: dict[str, Resource], pod: Resource) -> None:
    assert pod["serviceAccountName"] == built["ServiceAccount"]["metadata"]["name"]
    assert (
        pod["automountServiceAccountToken"]
        is built["ServiceAccount"]["automountServiceAccountToken"]
        is False
    )


def test_probes_use_the_port_of_the_worker(settings: Settings, container: Resource) -> None:
    assert container["ports"] == [{"name": "http", "containerPort": settings.http_port}]
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/healthz", "port": "http"},
        "liveness": {"path": "/healthz", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }


def test_a_restart_takes_more_failures_than_a_stall_of_half_a_minute(container: Resource) -> None:
    probe = container["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > 30


def test_the_number_of_replicas_is_left_to_the_autoscaler(built: dict[str, Resource]) -> None:
    assert "replicas" not in built["Deployment"]["spec"]
    assert built["ScaledObject"]["spec"]["scaleTargetRef"] == {
        "name": built["Deployment"]["metadata"]["name"]
    }


def test_everything_that_selects_pods_selects_the_worker(built: dict[str, Resource]) -> None:
    spec = built["Deployment"]["spec"]
    assert spec["template"]["metadata"]["labels"] == NAME
    selectors = [
        spec["selector"],
        *(one["labelSelector"] for one in spec["template"]["spec"]["topologySpreadConstraints"]),
        built["PodDisruptionBudget"]["spec"]["selector"],
        built["NetworkPolicy"]["spec"]["podSelector"],
        *(built[kind]["spec"]["selector"] for kind in ["PodMonitor"] if kind in built),
    ]
    assert selectors == [{"matchLabels": NAME}] * len(selectors)


def test_a_node_can_be_drained_of_the_last_worker(built: dict[str, Resource]) -> None:
    spec = built["PodDisruptionBudget"]["spec"]
    assert re.fullmatch(r"[1-9]\d?%", spec["maxUnavailable"]), "a share is rounded up, so it is at least one"
    assert "minAvailable" not in spec


def test_only_metrics_requests_come_in_and_only_dns_and_https_go_out(built: dict[str, Resource]) -> None:
    spec = built["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (scrape,) = spec["ingress"]
    assert scrape["ports"] == [{"port": "http", "protocol": "TCP"}]
    dns, other_dns, aws, identity = spec["egress"]
    for one in (dns, other_dns):
        assert {(port["port"], port["protocol"]) for port in one["ports"]} == {(53, "UDP"), (53, "TCP")}
    node_local, cluster = (one["ipBlock"]["cidr"] for one in other_dns["to"])
    assert node_local == "169.254.20.10/32"
    assert ipaddress.ip_network(cluster).num_addresses == 1
    assert aws == {
        "to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}],
        "ports": [{"port": 443, "protocol": "TCP"}],
    }
    assert identity == {
        "to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}, {"ipBlock": {"cidr": "fd00:ec2::23/128"}}],
        "ports": [{"port": 80, "protocol": "TCP"}],
    }


def test_a_signal_in_the_first_second_ends_the_pod(pod: Resource) -> None:
    """Process 1 ignores SIGTERM until it has installed a handler; here the pod's own init process is it."""
    assert pod["shareProcessNamespace"] is True


def test_pods_ask_for_the_space_of_their_logs(container: Resource) -> None:
    assert mebibytes(container["resources"]["requests"]["ephemeral-storage"]) >= 50, "10 Mi in five files"


@pytest.mark.parametrize(
    "folder", [EXAMPLE, FOLDER / "overlays" / "example-console"], ids=lambda path: path.name
)
def test_overlays_render_to_valid_objects_in_one_namespace(folder: Path) -> None:
    if (kubectl := shutil.which("kubectl")) is None:
        pytest.skip("kubectl is not installed")
    rendered = subprocess.run(
        [kubectl, "kustomize", folder], check=True, capture_output=True, text=True, timeout=60
    )
    objects = list(yaml.safe_load_all(rendered.stdout))
    names = {(one["kind"], one["metadata"]["name"]) for one in objects}
    assert len(names) == len(objects) > 10
    for one in objects:
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == "image-worker"
        if one["kind"] not in CUSTOM:
            validate(one)
    policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
    patch = yaml.safe_load((folder / "dns-address.yaml").read_text())
    assert {one["spec"]["egress"][1]["to"][1]["ipBlock"]["cidr"] for one in policies} == {patch[0]["value"]}
    images = re.findall(r"image: (\S+)", rendered.stdout)
    assert all("@sha256:" in image for image in images)


def test_the_autoscaler_uses_the_backlog_and_the_arrival_rate(
    built: dict[str, Resource], triggers: dict[str, dict[str, str]]
) -> None:
    spec = built["ScaledObject"]["spec"]
    assert [one["metricType"] for one in spec["triggers"]] == ["AverageValue", "AverageValue"]
    assert all(isinstance(value, str) for metadata in triggers.values() for value in metadata.values())
    queue, cloudwatch = triggers["aws-sqs-queue"], triggers["aws-cloudwatch"]
    assert (queue["scaleOnInFlight"], queue["scaleOnDelayed"]) == ("true", "false")
    assert [cloudwatch[name] for name in ("namespace", "metricName", "metricStat", "metricStatPeriod")] == [
        "AWS/SQS",
        "NumberOfMessagesSent",
        "Sum",
        "60",
    ]
    assert int(cloudwatch["metricCollectionTime"]) % int(cloudwatch["metricStatPeriod"]) == 0
    assert cloudwatch["minMetricValue"] == "0"


def test_the_targets_are_what_their_comments_compute(triggers: dict[str, dict[str, str]]) -> None:
    text = (BASE / "scaled-object.yaml").read_text()
    delay = re.search(r"(\d+) s / ([\d.]+) s \((\d+) per second\) = (\d+)\.", text)
    minute = re.search(r"([\d.]+) x 60 s / ([\d.]+) s per image = (\d+) images per minute", text)
    assert delay
    assert minute
    acceptable_s, image_s, per_s, length = map(float, delay.groups())
    share, same_image_s, per_minute = map(float, minute.groups())
    assert image_s == same_image_s == pytest.approx(1 / per_s)
    assert float(triggers["aws-sqs-queue"]["queueLength"]) == length == pytest.approx(acceptable_s / image_s)
    assert (
        float(triggers["aws-cloudwatch"]["targetMetricValue"])
        == per_minute
        == pytest.approx(share * 60 / image_s)
    )


def test_both_triggers_use_the_queue_of_the_worker(
    settings: Settings, triggers: dict[str, dict[str, str]]
) -> None:
    queue, cloudwatch = triggers["aws-sqs-queue"], triggers["aws-cloudwatch"]
    assert queue["queueURL"].rpartition("/")[2] == cloudwatch["dimensionValue"] == settings.queue_name
    assert queue["awsRegion"] == cloudwatch["awsRegion"] == settings.region
    assert f"://sqs.{settings.region}." in queue["queueURL"]
    assert cloudwatch["dimensionName"] == "QueueName"


def test_keda_authenticates_with_what_is_deployed(built: dict[str, Resource]) -> None:
    authentication = built["TriggerAuthentication"]
    assert authentication["spec"] == {"podIdentity": {"provider": "aws"}}
    for trigger in built["ScaledObject"]["spec"]["triggers"]:
        assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}


def test_the_fleet_grows_at_once_and_shrinks_after_a_while_within_its_bounds(
    built: dict[str, Resource],
) -> None:
    spec = built["ScaledObject"]["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_everything_that_is_custom_has_the_version_that_its_operator_serves(
    built: dict[str, Resource],
) -> None:
    versions = {kind: built[kind]["apiVersion"] for kind in CUSTOM if kind in built}
    expected = {
        "ScaledObject": "keda.sh/v1alpha1",
        "TriggerAuthentication": "keda.sh/v1alpha1",
        "PodMonitor": "monitoring.coreos.com/v1",
        "PrometheusRule": "monitoring.coreos.com/v1",
    }
    assert versions == {kind: expected[kind] for kind in versions}


def test_the_example_says_what_is_particular_to_a_cluster() -> None:
    example, built = kustomization(EXAMPLE), resources(EXAMPLE)
    (image,) = example["images"]
    (container,) = built["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"].partition(":")[0] == image["name"]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", image["digest"])
    assert built["Namespace"]["metadata"]["name"] == example["namespace"]
    assert built["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "eks.amazonaws.com/role-arn" in built["ServiceAccount"]["metadata"]["annotations"]
    (endpoint,) = built["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")


def skips() -> Iterator[str]:
    for resource in resources(BASE).values():
        annotations = resource["metadata"].get("annotations", {})
        yield from (value for name, value in annotations.items() if name.startswith("checkov.io/"))


def test_every_check_that_is_skipped_has_its_reason() -> None:
    assert all(re.fullmatch(r"CKV_K8S_\d+=\w.{20,}", skip) for skip in skips())
    assert len(list(skips())) == 4
