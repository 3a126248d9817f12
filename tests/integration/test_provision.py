import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support import templates
from tests.support.emulators import client, create_table, receive_keys, stack_name_of, unique_settings
from tests.support.retry import NO_WAIT
from worker.aws.provision import STORAGE_TEMPLATE, Deployment
from worker.bootstrap import deploy_storage, storage_parameters
from worker.checks.table import find_table
from worker.domain.errors import ConfigurationError
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_cloudformation.type_defs import StackTypeDef
    from types_aiobotocore_cloudwatch import CloudWatchClient
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import TimeToLiveDescriptionTypeDef
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient


NOT_IN_MINISTACK = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::ECS::ClusterCapacityProviderAssociations",
}
"""Resource types that MiniStack does not support; unit tests check them in the templates."""


class Provisioner:
    """Deploys settings to their own stack."""

    def __init__(
        self, cloudformation: "CloudFormationClient", dynamodb: "DynamoDBClient", stack: str
    ) -> None:
        self.cloudformation, self.dynamodb, self.stack_name = cloudformation, dynamodb, stack

    async def __call__(self, settings: Settings) -> Deployment:
        return await deploy_storage(self.cloudformation, self.dynamodb, settings, stack_name=self.stack_name)

    async def by_hand(self, settings: Settings, **more: str) -> str:
        """Create or update the stack without image-worker; return its final status."""
        values = storage_parameters(settings) | more
        arguments: Any = {  # of create_stack and update_stack
            "StackName": self.stack_name,
            "TemplateBody": STORAGE_TEMPLATE.read_text(),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        }
        try:
            await self.cloudformation.describe_stacks(StackName=self.stack_name)
        except ClientError:  # it does not exist
            await self.cloudformation.create_stack(**arguments)
        else:
            await self.cloudformation.update_stack(**arguments)
        while True:
            described = await self.cloudformation.describe_stacks(StackName=self.stack_name)
            if not described["Stacks"][0]["StackStatus"].endswith("_IN_PROGRESS"):
                return described["Stacks"][0]["StackStatus"]


@pytest.fixture
def provision(
    settings: Settings, cloudformation: "CloudFormationClient", dynamodb: "DynamoDBClient"
) -> Provisioner:
    return Provisioner(cloudformation, dynamodb, stack_name_of(settings))


async def test_deploying_twice_changes_nothing(settings: Settings, provision: Provisioner) -> None:
    first, second = await provision(settings), await provision(settings)
    assert (first.done, second.done) == ("created", "unchanged")
    assert first.outputs == second.outputs
    assert first.outputs["BucketName"] == first.outputs["OutputBucketName"] == settings.bucket
    assert first.outputs["TableName"] == settings.table_name


async def test_only_uploads_are_announced_to_the_queue(
    provisioned: Settings, s3: "S3Client", sqs: "SQSClient"
) -> None:
    for key in ("processed/user/a.jpg", "uploads/user/a.jpg", "other.jpg"):
        await s3.put_object(Bucket=provisioned.bucket, Key=key, Body=b"picture")
    assert await receive_keys(sqs, provisioned) == ["uploads/user/a.jpg"]


async def test_changed_settings_update_the_resources(
    provisioned: Settings, provision: Provisioner, s3: "S3Client", sqs: "SQSClient"
) -> None:
    changed = provisioned.model_copy(update={"visibility_timeout_s": 90, "uploads_prefix": "incoming/"})
    assert (await provision(changed)).done == "updated"
    await s3.put_object(Bucket=changed.bucket, Key="uploads/user/a.jpg", Body=b"picture")
    await s3.put_object(Bucket=changed.bucket, Key="incoming/user/a.jpg", Body=b"picture")
    url = (await sqs.get_queue_url(QueueName=changed.queue_name))["QueueUrl"]
    attributes = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
    assert attributes["Attributes"] == {"VisibilityTimeout": "90"}
    assert await receive_keys(sqs, changed) == ["incoming/user/a.jpg"]


async def test_a_separate_bucket_for_results_is_created(
    settings: Settings, provision: Provisioner, s3: "S3Client"
) -> None:
    apart = settings.model_copy(update={"output_bucket": f"results-{settings.bucket}"})
    deployment = await provision(apart)
    assert deployment.outputs["OutputBucketName"] == apart.results_bucket
    await s3.head_bucket(Bucket=apart.results_bucket)


async def test_ttl_is_enabled_by_a_deployment_even_after_it_was_disabled_by_hand(
    provisioned: Settings, provision: Provisioner, dynamodb: "DynamoDBClient"
) -> None:
    name = provisioned.table_name
    assert await _ttl(dynamodb, name) == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    await dynamodb.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": False}
    )
    assert (await provision(provisioned)).done == "repaired"
    assert await _ttl(dynamodb, name) == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}


async def test_a_bucket_that_already_exists_is_named_with_the_setting_to_change(
    settings: Settings, provision: Provisioner, s3: "S3Client"
) -> None:
    await s3.create_bucket(Bucket=settings.bucket)
    with pytest.raises(ConfigurationError, match=f"'{settings.bucket}' already exists.*set WORKER_BUCKET"):
        await provision(settings)


async def test_a_failed_creation_can_be_repeated(
    settings: Settings, provision: Provisioner, s3: "S3Client"
) -> None:
    await s3.create_bucket(Bucket=settings.bucket)
    with pytest.raises(ConfigurationError):
        await provision(settings)
    await s3.delete_bucket(Bucket=settings.bucket)
    assert (await provision(settings)).done == "created"


async def test_a_failed_update_is_rolled_back_and_explained(
    provisioned: Settings, provision: Provisioner, s3: "S3Client"
) -> None:
    taken = f"taken-{provisioned.bucket}"
    await s3.create_bucket(Bucket=taken)
    with pytest.raises(ConfigurationError, match=r"UPDATE_ROLLBACK_COMPLETE.*set WORKER_OUTPUT_BUCKET"):
        await provision(provisioned.model_copy(update={"output_bucket": taken}))
    assert (await provision(provisioned)).done == "unchanged"


async def test_a_stack_that_was_never_completed_is_explained(
    settings: Settings, provision: Provisioner, s3: "S3Client"
) -> None:
    await s3.create_bucket(Bucket=settings.bucket)
    assert await provision.by_hand(settings) == "ROLLBACK_COMPLETE"
    with pytest.raises(ConfigurationError, match="aws cloudformation delete-stack --stack-name"):
        await provision(settings)


async def test_parameters_without_a_setting_keep_their_value(
    provisioned: Settings, provision: Provisioner, s3: "S3Client"
) -> None:
    assert await provision.by_hand(provisioned, BucketVersioning="Enabled") == "UPDATE_COMPLETE"
    assert (await provision(provisioned.model_copy(update={"max_receives": 7}))).done == "updated"
    stacks = await provision.cloudformation.describe_stacks(StackName=provision.stack_name)
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stacks["Stacks"][0]["Parameters"]}
    assert (parameters["BucketVersioning"], parameters["MaxReceiveCount"]) == ("Enabled", "10")
    assert (await s3.get_bucket_versioning(Bucket=provisioned.bucket))["Status"] == "Enabled"


async def test_a_distribution_may_read_results_once_it_is_named_and_provision_keeps_that(
    provisioned: Settings, provision: Provisioner, s3: "S3Client"
) -> None:
    distribution = "arn:aws:cloudfront::123456789012:distribution/E2EXAMPLE"
    assert await provision.by_hand(provisioned, DistributionArn=distribution) == "UPDATE_COMPLETE"
    assert (await provision(provisioned)).done == "unchanged"

    policy = json.loads((await s3.get_bucket_policy(Bucket=provisioned.bucket))["Policy"])
    (allowed,) = (each for each in policy["Statement"] if each["Effect"] == "Allow")
    assert allowed["Resource"] == f"arn:aws:s3:::{provisioned.bucket}/processed/*"
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceArn": distribution}}


async def test_messages_are_encrypted_with_a_key_that_is_rotated_and_uploads_still_announced(
    settings: Settings, provision: Provisioner, s3: "S3Client", sqs: "SQSClient"
) -> None:
    outputs = (await provision(settings)).outputs
    for name in (settings.queue_name, settings.dead_letter_queue_name):
        url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
        attributes = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))["Attributes"]
        assert attributes["KmsMasterKeyId"] == outputs["KeyArn"]
        assert attributes["KmsDataKeyReusePeriodSeconds"] == "3600"
    async with client("kms", settings) as kms:
        rotation = await kms.get_key_rotation_status(KeyId=outputs["KeyArn"])
    assert (rotation["KeyRotationEnabled"], rotation["RotationPeriodInDays"]) == (True, 365)
    await s3.put_object(Bucket=settings.bucket, Key="uploads/user/a.jpg", Body=b"picture")
    assert await receive_keys(sqs, settings) == ["uploads/user/a.jpg"]


async def test_the_service_runs_with_the_policy_of_its_storage_stack(
    provisioned: Settings, provision: Provisioner
) -> None:
    service = templates.template("service.yaml")
    # MiniStack compares these with numbers, but its parameters are text.
    running = service["Resources"]["Service"]["Properties"]
    running["CapacityProviderStrategy"] = templates.resolved(running["CapacityProviderStrategy"], service)
    stack = await _created(
        provision,
        service,
        StorageStack=provision.stack_name,
        Image="image-worker",
        VpcId="vpc-1",
        SubnetIds="subnet-1,subnet-2",
    )
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    async with client("iam", provisioned) as iam:
        role = outputs["TaskRoleArn"].rpartition("/")[2]
        attached = await iam.list_attached_role_policies(RoleName=role)
    storage = (await provision(provisioned)).outputs
    assert [each["PolicyArn"] for each in attached["AttachedPolicies"]] == [storage["WorkerPolicyArn"]]
    assert outputs["ServiceName"]


async def test_alarms_are_made_for_the_queues(
    provisioned: Settings, provision: Provisioner, cloudwatch: "CloudWatchClient"
) -> None:
    alarms = templates.template("alarms.yaml")
    # MiniStack does not support metric math.
    alarms["Resources"] = {
        name: one for name, one in alarms["Resources"].items() if "Metrics" not in one["Properties"]
    }
    names = {
        "QueueName": provisioned.queue_name,
        "DeadLetterQueueName": provisioned.dead_letter_queue_name,
        "TableName": provisioned.table_name,
    }
    await _created(provision, alarms, **names)
    made = await cloudwatch.describe_alarms(AlarmNamePrefix=provisioned.queue_name)
    watched = {each["AlarmName"]: each["Dimensions"][0]["Value"] for each in made["MetricAlarms"]}
    assert watched == {
        f"{provisioned.queue_name}-dead-letters": provisioned.dead_letter_queue_name,
        f"{provisioned.queue_name}-old-messages": provisioned.queue_name,
    }


async def test_the_dashboard_shows_the_names_that_it_was_given(
    provision: Provisioner, cloudwatch: "CloudWatchClient"
) -> None:
    name = provision.stack_name
    dashboard = templates.template("dashboard.yaml")
    await _created(provision, dashboard, DashboardName=name, ClusterName="pictures", ServiceName="worker")
    body = (await cloudwatch.get_dashboard(DashboardName=name))["DashboardBody"]
    assert "${" not in body
    (tasks,) = (one for one in json.loads(body)["widgets"] if one["properties"]["title"] == "Tasks")
    assert tasks["properties"]["metrics"][0][2:6] == ["ClusterName", "pictures", "ServiceName", "worker"]


@pytest.mark.parametrize("exists", [True, False], ids=["restored", "new"])
async def test_another_table_is_allowed_next_to_the_one_of_the_stack(
    settings: Settings, provision: Provisioner, dynamodb: "DynamoDBClient", exists: bool
) -> None:
    """A restored table cannot become that of the stack; a new one does, while workers still use the other."""
    await provision(settings)
    other = settings.model_copy(update={"table_name": f"{settings.table_name}-2"})
    if exists:
        await create_table(dynamodb, other)

    for _ in range(2):  # the second time, nothing is left to do
        await provision(other)

    described = await provision.cloudformation.describe_stacks(StackName=provision.stack_name)
    parameters = {
        each["ParameterKey"]: each["ParameterValue"] for each in described["Stacks"][0]["Parameters"]
    }
    own, more = (settings, other) if exists else (other, settings)
    assert (parameters["TableName"], parameters["AdditionalTableName"]) == (own.table_name, more.table_name)
    assert (await dynamodb.describe_table(TableName=other.table_name))["Table"]["TableStatus"] == "ACTIVE"


async def test_an_unreachable_endpoint_is_a_configuration_error(free_port: int) -> None:
    nowhere = unique_settings(f"http://127.0.0.1:{free_port}")
    async with client("cloudformation", nowhere) as cloudformation, client("dynamodb", nowhere) as dynamodb:
        with pytest.raises(
            ConfigurationError, match=rf"127.0.0.1:{free_port}\S* cannot be reached.*AWS_ENDPOINT"
        ):
            await deploy_storage(cloudformation, dynamodb, nowhere)


async def test_moto_accepts_the_same_table(moto_endpoint: str) -> None:
    settings = unique_settings(moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
        assert (await find_table(dynamodb, settings, NO_WAIT)).ok


async def _ttl(dynamodb: "DynamoDBClient", table_name: str) -> "TimeToLiveDescriptionTypeDef":
    described = await dynamodb.describe_time_to_live(TableName=table_name)
    return described["TimeToLiveDescription"]


async def _created(provision: Provisioner, template: dict[str, Any], **parameters: str) -> "StackTypeDef":
    """Create a stack from what of the template MiniStack knows, and return it."""
    cloudformation = provision.cloudformation
    known = {name: one for name, one in template["Resources"].items() if one["Type"] not in NOT_IN_MINISTACK}
    created = await cloudformation.create_stack(
        StackName=f"more-{provision.stack_name}",
        TemplateBody=json.dumps(template | {"Resources": known}),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    while True:
        (stack,) = (await cloudformation.describe_stacks(StackName=created["StackId"]))["Stacks"]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            assert stack["StackStatus"] == "CREATE_COMPLETE"
            return stack
