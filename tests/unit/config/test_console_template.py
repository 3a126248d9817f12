"""The stack of the web console."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import templates
from worker.aws.provision import STACK_NAME
from worker.bootstrap import storage_parameters
from worker.cli.app import COMMANDS
from worker.settings import Settings

DOCKERFILE = Path(__file__).parents[3] / "Dockerfile"
PORT = Settings().console_port


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return templates.template("console.yaml")


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def container(template: dict[str, Any]) -> dict[str, Any]:
    (only,) = properties(template, "TaskDefinition")["ContainerDefinitions"]
    return dict(only)


def environment(template: dict[str, Any]) -> dict[str, Any]:
    return {one["Name"]: one["Value"] for one in container(template)["Environment"]}


def test_every_request_is_authenticated_before_it_is_forwarded(template: dict[str, Any]) -> None:
    listeners = [
        one["Properties"]
        for one in template["Resources"].values()
        if one["Type"] == "AWS::ElasticLoadBalancingV2::Listener"
    ]
    assert not [one for one in template["Resources"].values() if one["Type"].endswith("::ListenerRule")]
    (listener,) = listeners
    assert (listener["Protocol"], listener["Port"]) == ("HTTPS", 443)
    actions = sorted(listener["DefaultActions"], key=lambda action: action["Order"])
    assert [action["Type"] for action in actions] == ["authenticate-oidc", "forward"]
    assert actions[0]["AuthenticateOidcConfig"]["OnUnauthenticatedRequest"] == "authenticate"


def test_the_console_verifies_that_the_load_balancer_signed_the_user(template: dict[str, Any]) -> None:
    variables = environment(template)
    assert variables["WORKER_CONSOLE_AUTHENTICATION"] == "alb"
    assert variables["WORKER_CONSOLE_ALB_ARN"] == {"Ref": "LoadBalancer"}
    assert variables["WORKER_CONSOLE_ALB_ISSUER"] == {"Ref": "OidcIssuer"}
    assert variables["WORKER_CONSOLE_ALB_CLIENT_ID"] == {"Ref": "OidcClientId"}
    assert variables["WORKER_CONSOLE_URL"] == {"Fn::Sub": "https://${HostName}"}


def test_only_the_load_balancer_connects_to_the_task(template: dict[str, Any]) -> None:
    (ingress,) = properties(template, "TaskSecurityGroup")["SecurityGroupIngress"]
    assert ingress["SourceSecurityGroupId"] == {"Ref": "LoadBalancerSecurityGroup"}
    assert ingress["FromPort"] == ingress["ToPort"] == PORT
    network = properties(template, "Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["SecurityGroups"] == [{"Ref": "TaskSecurityGroup"}]
    assert network["AssignPublicIp"] == "DISABLED"


def test_the_client_secret_is_not_a_parameter(template: dict[str, Any]) -> None:
    action = properties(template, "Listener")["DefaultActions"][0]["AuthenticateOidcConfig"]
    assert action["ClientSecret"] == {"Fn::Sub": "{{resolve:secretsmanager:${OidcClientSecretArn}}}"}
    assert "OidcClientSecret" not in template["Parameters"]


def test_the_load_balancer_is_internal_unless_asked_for(template: dict[str, Any]) -> None:
    assert template["Parameters"]["Scheme"]["Default"] == "internal"
    assert properties(template, "LoadBalancer")["Scheme"] == {"Ref": "Scheme"}


def test_nobody_is_an_operator_unless_asked_for(template: dict[str, Any]) -> None:
    assert json.loads(template["Parameters"]["Operators"]["Default"]) == []
    assert environment(template)["WORKER_CONSOLE_OPERATORS"] == {"Ref": "Operators"}


@pytest.mark.parametrize(
    ("allows_actions", "policies"),
    [("true", ["ConsoleReader", "ConsoleOperator"]), ("false", ["ConsoleReader"])],
)
def test_the_task_has_the_policies_of_the_console_and_no_others(
    template: dict[str, Any], allows_actions: str, policies: list[str]
) -> None:
    role = templates.resolved(properties(template, "TaskRole"), template, AllowsActions=allows_actions)
    attached = [one for one in role["ManagedPolicyArns"] if one != {"Ref": "AWS::NoValue"}]
    assert attached == [
        {"Fn::ImportValue": {"Fn::Sub": f"${{StorageStack}}-{policy}PolicyArn"}} for policy in policies
    ]
    assert role["Policies"] == [], "there is no configuration file"
    outputs = templates.template("storage.yaml")["Outputs"]
    for policy in policies:
        exported = outputs[f"{policy}PolicyArn"]["Export"]
        assert exported == {"Name": {"Fn::Sub": f"${{AWS::StackName}}-{policy}PolicyArn"}}


def test_every_variable_of_the_environment_is_a_setting(template: dict[str, Any]) -> None:
    known = {f"WORKER_{name.upper()}" for name in Settings.model_fields} | {"AWS_REGION"}
    assert environment(template).keys() <= known


def test_the_console_gets_the_same_values_as_the_storage_stack_and_the_worker(
    template: dict[str, Any],
) -> None:
    assert template["Parameters"]["StorageStack"]["Default"] == STACK_NAME
    shared = storage_parameters(Settings()).keys() & template["Parameters"].keys()
    assert {"BucketName", "OutputBucketName", "QueueName", "DeadLetterQueueName", "TableName"} <= shared
    service = templates.template("service.yaml")
    worker = {
        one["Name"]: one["Value"]
        for one in service["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0][
            "Environment"
        ]
    }
    for name in shared:
        (setting,) = [variable for variable, value in worker.items() if value == {"Ref": name}]
        assert environment(template)[setting] == {"Ref": name}
        assert template["Parameters"][name] == service["Parameters"][name]


def test_the_ports_are_that_of_the_settings(template: dict[str, Any]) -> None:
    assert container(template)["PortMappings"] == [{"ContainerPort": PORT}]
    assert environment(template)["WORKER_CONSOLE_PORT"] == PORT
    assert properties(template, "TargetGroup")["Port"] == PORT
    assert properties(template, "Service")["LoadBalancers"][0]["ContainerPort"] == PORT
    assert properties(template, "LoadBalancerToTask")["FromPort"] == PORT


def test_the_container_can_write_only_to_tmpfs(template: dict[str, Any]) -> None:
    console = container(template)
    assert console["ReadonlyRootFilesystem"] is True
    (user,) = re.findall(r"^USER (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert console["User"] == user
    assert console["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert set(console["Command"]) <= {command.name for command in COMMANDS}


def test_the_memory_covers_the_console_and_one_decoder(template: dict[str, Any]) -> None:
    (tmp,) = container(template)["LinuxParameters"]["Tmpfs"]["Fn::If"][1]
    console_mb, tmp_mb = 150, tmp["Size"]
    assert environment(template)["WORKER_PROCESSES"] == 1
    assert (
        console_mb + tmp_mb + Settings().decoder_memory_mb <= properties(template, "TaskDefinition")["Memory"]
    )


def test_there_is_one_console_at_a_time(template: dict[str, Any]) -> None:
    service = properties(template, "Service")
    assert service["DesiredCount"] == 1
    assert service["DeploymentConfiguration"]["MaximumPercent"] == 100


def test_no_other_stack_needs_the_console() -> None:
    for name in ("service.yaml", "storage.yaml", "alarms.yaml", "dashboard.yaml", "capacity.yaml"):
        assert "image-worker-console" not in (templates.CLOUDFORMATION / name).read_text()


def test_the_description_says_how_to_deploy_it(template: dict[str, Any]) -> None:
    assert "--template-file console.yaml --capabilities CAPABILITY_IAM" in template["Description"]
    assert len(template["Description"].encode()) <= 1024
