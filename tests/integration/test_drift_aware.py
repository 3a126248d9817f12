"""
Drift-aware change sets, which only AWS has: responses as AWS documents them, in front of the emulator.

Requests to DescribeChangeSet and ExecuteChangeSet are answered here; all others reach the emulator.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from tests.support.emulators import stack_name_of
from tests.support.fault_proxy import Call, FaultProxy, fault_proxy, http, s3_error
from worker.aws.provision import STORAGE_TEMPLATE, Deployment
from worker.bootstrap import deploy_storage, open_client
from worker.domain.errors import ConfigurationError
from worker.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

LAMBDA = "arn:aws:lambda:us-east-1:000000000000:function:another-team"


def change(logical_id: str, kind: str, name: str, *, replacement: str = "False") -> str:
    """Return a change of a resource that was changed outside of the stack."""
    return f"""
        <member><Type>Resource</Type><ResourceChange>
          <Action>Modify</Action><LogicalResourceId>{logical_id}</LogicalResourceId>
          <PhysicalResourceId>physical-{logical_id}</PhysicalResourceId><ResourceType>{kind}</ResourceType>
          <Replacement>{replacement}</Replacement><ResourceDriftStatus>MODIFIED</ResourceDriftStatus>
          <Scope><member>Properties</member></Scope>
          <Details><member><Target>
            <Attribute>Properties</Attribute><Name>{name}</Name><Path>/Properties/{name}</Path>
            <RequiresRecreation>Never</RequiresRecreation><AttributeChangeType>Modify</AttributeChangeType>
            <BeforeValueFrom>ACTUAL_STATE</BeforeValueFrom><AfterValueFrom>TEMPLATE</AfterValueFrom>
          </Target><Evaluation>Static</Evaluation><ChangeSource>NoModification</ChangeSource></member></Details>
        </ResourceChange></member>"""


@dataclass
class CloudFormation:
    """
    Responds like CloudFormation on AWS to requests about change sets.

    Attributes:
        changes: The changes in the change set.
        failure: Status reason of the change set; it fails if not empty.
        knows_the_mode: Whether it knows drift-aware change sets, or rejects the parameter.
        actions: Requests about change sets, in their order.
        modes: Deployment mode of each request to create one.
    """

    changes: list[str] = field(default_factory=list)
    failure: str = ""
    knows_the_mode: bool = True
    actions: list[str] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)

    def respond(self, call: Call) -> bytes | None:
        """Return the response to a request about a change set, None for others."""
        if not call.content.startswith(b"Action="):
            return None
        form = {name: values[0] for name, values in parse_qs(call.content.decode()).items()}
        action = form["Action"]
        if not action.endswith("ChangeSet"):
            return None
        self.actions.append(action)
        if action == "CreateChangeSet":
            self.modes.append(form.get("DeploymentMode", ""))
            if self.modes[-1] and not self.knows_the_mode:
                return _error("ValidationError", "Unknown parameter: DeploymentMode")
            return _response(action, "<Id>arn:aws:cloudformation:us-east-1:0:changeSet/drift/1</Id>")
        if action == "DescribeChangeSet":
            status = "FAILED" if self.failure or not self.changes else "CREATE_COMPLETE"
            reason = self.failure or "The submitted information didn't contain changes."
            mode = "<DeploymentMode>REVERT_DRIFT</DeploymentMode>" if self.modes[-1] else ""
            return _response(
                action,
                f"<Status>{status}</Status><StatusReason>{reason}</StatusReason>{mode}"
                f"<Changes>{''.join(self.changes)}</Changes>",
            )
        return _response(action, "")


def _response(action: str, content: str) -> bytes:
    body = f"<{action}Response><{action}Result>{content}</{action}Result></{action}Response>"
    return http(body.encode(), "Content-Type: text/xml")


def _error(code: str, message: str) -> bytes:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    return http(body.encode(), "Content-Type: text/xml", status="400 Bad Request")


@pytest.fixture
async def proxy(provisioned: Settings) -> AsyncIterator[FaultProxy]:
    assert provisioned.endpoint_url is not None
    async with fault_proxy(provisioned.endpoint_url, seed=1) as running:
        yield running


@pytest.fixture
def behind(provisioned: Settings, proxy: FaultProxy) -> Settings:
    return provisioned.model_copy(update={"endpoint_url": proxy.endpoint_url})


async def deploy(settings: Settings) -> Deployment:
    async with (
        open_client("cloudformation", settings) as cloudformation,
        open_client("dynamodb", settings) as dynamodb,
    ):
        return await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))


async def test_a_change_set_that_reverts_drift_is_created_and_executed(
    behind: Settings, proxy: FaultProxy
) -> None:
    aws = CloudFormation(changes=[change("Queue", "AWS::SQS::Queue", "VisibilityTimeout")])
    proxy.responds = aws.respond
    deployment = await deploy(behind)
    assert aws.modes == ["REVERT_DRIFT"]
    assert aws.actions == ["CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet"]
    assert (deployment.done, deployment.compares_resources) == ("updated", True)
    assert deployment.changes == ("Queue (AWS::SQS::Queue): modify VisibilityTimeout",)


async def test_without_drift_the_change_set_is_deleted(behind: Settings, proxy: FaultProxy) -> None:
    aws = CloudFormation()
    proxy.responds = aws.respond
    deployment = await deploy(behind)
    assert aws.actions == ["CreateChangeSet", "DescribeChangeSet", "DeleteChangeSet"]
    assert (deployment.done, deployment.compares_resources) == ("unchanged", True)


async def test_notifications_of_others_are_not_removed_when_nothing_else_differs(
    behind: Settings, proxy: FaultProxy, s3: "S3Client"
) -> None:
    configured = await s3.get_bucket_notification_configuration(Bucket=behind.bucket)
    await s3.put_bucket_notification_configuration(
        Bucket=behind.bucket,
        NotificationConfiguration={
            "QueueConfigurations": configured["QueueConfigurations"],
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": LAMBDA, "Events": ["s3:ObjectRemoved:*"]}],
        },
        SkipDestinationValidation=True,
    )
    aws = CloudFormation(changes=[change("Bucket", "AWS::S3::Bucket", "NotificationConfiguration")])
    proxy.responds = aws.respond
    assert (await deploy(behind)).done == "unchanged"
    assert aws.actions[-1] == "DeleteChangeSet"
    configured = await s3.get_bucket_notification_configuration(Bucket=behind.bucket)
    assert configured["LambdaFunctionConfigurations"][0]["LambdaFunctionArn"] == LAMBDA


@pytest.mark.parametrize("logical_id", ["Bucket", "Queue", "Table", "Key"])
async def test_nothing_with_data_is_replaced_unless_its_name_has_changed(
    behind: Settings, proxy: FaultProxy, logical_id: str
) -> None:
    aws = CloudFormation(changes=[change(logical_id, "AWS::Some::Type", "Name", replacement="True")])
    proxy.responds = aws.respond
    with pytest.raises(ConfigurationError, match=f"would replace {logical_id} .*nothing was changed"):
        await deploy(behind)
    assert "ExecuteChangeSet" not in aws.actions
    assert aws.actions[-1] == "DeleteChangeSet"


async def test_an_endpoint_that_rejects_the_mode_gets_an_ordinary_change_set(
    behind: Settings, proxy: FaultProxy
) -> None:
    aws = CloudFormation(knows_the_mode=False)
    proxy.responds = aws.respond
    deployment = await deploy(behind)
    assert aws.modes == ["REVERT_DRIFT", ""]
    assert (deployment.done, deployment.compares_resources) == ("unchanged", False)


@pytest.mark.parametrize(
    "reason",
    [
        "Cannot update GSI's properties other than Provisioned Throughput and Contributor Insights.",
        "Cannot perform more than one GSI creation or deletion in a single update",
    ],
)
async def test_rejected_changes_of_indexes_are_explained(
    behind: Settings, proxy: FaultProxy, reason: str
) -> None:
    proxy.responds = CloudFormation(failure=reason).respond
    with pytest.raises(ConfigurationError, match=r"new name.*operations/upgrade\.md#change-an-index"):
        await deploy(behind)


async def test_another_failure_of_a_change_set_is_reported_with_its_reason(
    behind: Settings, proxy: FaultProxy
) -> None:
    proxy.responds = CloudFormation(failure="Access denied for operation AWS::S3::Bucket").respond
    with pytest.raises(ConfigurationError, match=r"could not prepare.*Access denied for operation"):
        await deploy(behind)


async def test_an_overlapping_notification_of_another_team_is_named_and_kept(
    behind: Settings, proxy: FaultProxy, s3: "S3Client"
) -> None:
    await s3.put_bucket_notification_configuration(
        Bucket=behind.bucket,
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": LAMBDA, "Events": ["s3:ObjectCreated:*"]}]
        },
        SkipDestinationValidation=True,
    )
    aws = CloudFormation()

    def respond(call: Call) -> bytes | None:
        if call.method == "PUT":  # of S3, which MiniStack does not imitate here
            return s3_error("InvalidArgument", "Configurations overlap. Configurations on the same bucket.")
        return aws.respond(call)

    proxy.responds = respond
    with pytest.raises(ConfigurationError, match=f"notifies {LAMBDA} of the same events.*not changed"):
        await deploy(behind)
    assert aws.actions == [], "the stack would have removed it"
    assert "QueueConfigurations" not in await s3.get_bucket_notification_configuration(Bucket=behind.bucket)


async def test_an_index_is_changed_under_a_new_name_in_two_deployments(
    provisioned: Settings, dynamodb: "DynamoDBClient", tmp_path: "Path", monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in docs/operations/upgrade.md: the items are in the new index before the old one is deleted."""
    item = {"imageId": {"S": "img"}, "userId": {"S": "alice"}, "createdAt": {"S": "2026-01-01T00:00:00Z"}}
    await dynamodb.put_item(TableName=provisioned.table_name, Item=item)
    template = STORAGE_TEMPLATE.read_text()
    found = re.search(r"        - IndexName: UserImages\n.*?(?=        - IndexName: )", template, re.DOTALL)
    assert found is not None
    old = found.group()
    new = old.replace("UserImages", "UserImages2").replace(
        "- processedAt\n", "- processedAt\n              - width\n"
    )
    changed = tmp_path / "storage.yaml"
    monkeypatch.setattr("worker.aws.provision.STORAGE_TEMPLATE", changed)

    changed.write_text(template.replace(old, old + new))
    assert (await deploy(provisioned)).done == "updated"
    assert await _listed(dynamodb, provisioned, "UserImages") == ["img"]
    assert await _listed(dynamodb, provisioned, "UserImages2") == ["img"]

    changed.write_text(template.replace(old, new))
    assert (await deploy(provisioned)).done == "updated"
    assert await _listed(dynamodb, provisioned, "UserImages2") == ["img"]
    described = await dynamodb.describe_table(TableName=provisioned.table_name)
    names = {index["IndexName"] for index in described["Table"]["GlobalSecondaryIndexes"]}
    assert names == {"UserImages2", "StatusIndex", "DateIndex"}


async def _listed(dynamodb: "DynamoDBClient", settings: Settings, index: str) -> list[str]:
    response = await dynamodb.query(
        TableName=settings.table_name,
        IndexName=index,
        KeyConditionExpression="userId = :user",
        ExpressionAttributeValues={":user": {"S": "alice"}},
    )
    return [item["imageId"]["S"] for item in response["Items"]]
