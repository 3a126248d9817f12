"""The roles of the service accounts on Kubernetes, by EKS Pod Identity and by IRSA."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import templates
from worker.aws.provision import STACK_NAME

FOLDER = Path(__file__).parents[3] / "config" / "kubernetes"
PROVIDER = "oidc.eks.eu-west-1.amazonaws.com/id/0123"
ROLES = {
    "WorkerRole": ("image-worker", "image-worker"),
    "UploadCheckRole": ("image-worker", "image-worker-upload-check"),
    "ConsoleRole": ("image-worker", "image-worker-console"),
    "KedaOperatorRole": ("keda", "keda-operator"),
}
"""Role -> namespace and name of the service account that assumes it."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return templates.template("kubernetes-roles.yaml")


def role(template: dict[str, Any], name: str, **parameters: str) -> dict[str, Any]:
    found: dict[str, Any] = templates.resolved(
        template["Resources"][name]["Properties"], template, **parameters
    )
    return found


@pytest.mark.parametrize("name", ROLES)
def test_pod_identity_gives_a_role_to_its_service_account_only(template: dict[str, Any], name: str) -> None:
    (statement,) = role(template, name)["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    conditions = statement["Condition"]["StringEquals"]
    namespace, account = ROLES[name]
    assert conditions["aws:RequestTag/kubernetes-namespace"] == namespace
    assert conditions["aws:RequestTag/kubernetes-service-account"] == account
    assert conditions["aws:SourceAccount"] == {"Ref": "AWS::AccountId"}


@pytest.mark.parametrize("name", ROLES)
def test_irsa_gives_a_role_to_its_service_account_only(template: dict[str, Any], name: str) -> None:
    text = role(template, name, OidcProvider=PROVIDER)["AssumeRolePolicyDocument"]["Fn::Sub"]
    values = {one: parameter.get("Default", "") for one, parameter in template["Parameters"].items()}
    values |= {"OidcProvider": PROVIDER, "AWS::Partition": "aws", "AWS::AccountId": "123456789012"}
    (statement,) = json.loads(re.sub(r"\$\{([\w:]+)\}", lambda one: values[one[1]], text))["Statement"]
    namespace, account = ROLES[name]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{PROVIDER}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                f"{PROVIDER}:aud": "sts.amazonaws.com",
                f"{PROVIDER}:sub": f"system:serviceaccount:{namespace}:{account}",
            }
        },
    }


@pytest.mark.parametrize(
    ("name", "policies"),
    [
        ("WorkerRole", ["Worker"]),
        ("UploadCheckRole", ["ConsoleReader"]),
        ("ConsoleRole", ["ConsoleReader", "ConsoleOperator"]),
    ],
)
def test_the_roles_have_the_policies_of_the_storage_stack(
    template: dict[str, Any], name: str, policies: list[str]
) -> None:
    assert role(template, name)["ManagedPolicyArns"] == [
        {"Fn::ImportValue": {"Fn::Sub": f"${{StorageStack}}-{policy}PolicyArn"}} for policy in policies
    ]
    assert template["Parameters"]["StorageStack"]["Default"] == STACK_NAME
    outputs = templates.template("storage.yaml")["Outputs"]
    assert all("Export" in outputs[f"{policy}PolicyArn"] for policy in policies)


def test_keda_may_read_what_its_triggers_read(template: dict[str, Any]) -> None:
    (policy,) = role(template, "KedaOperatorRole")["Policies"]
    actions = {one["Action"] for one in policy["PolicyDocument"]["Statement"]}
    assert actions == {"sqs:GetQueueAttributes", "cloudwatch:GetMetricData"}
    authentication = yaml.safe_load((FOLDER / "base" / "trigger-authentication.yaml").read_text())
    assert authentication["spec"] == {"podIdentity": {"provider": "aws"}}


def test_every_service_account_of_the_manifests_has_a_role(template: dict[str, Any]) -> None:
    accounts = {
        document["metadata"]["name"]
        for path in FOLDER.glob("**/service-account.yaml")
        if isinstance(document := yaml.safe_load(path.read_text()), dict)
    }
    assert accounts == {account for namespace, account in ROLES.values() if namespace == "image-worker"}
    assert template["Outputs"].keys() == {f"{name}Arn" for name in ROLES}


def test_the_description_says_how_to_deploy_it(template: dict[str, Any]) -> None:
    assert "--template-file kubernetes-roles.yaml --capabilities CAPABILITY_IAM" in template["Description"]
