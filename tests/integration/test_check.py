from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulators import client, create_table, failing_aws, stack_name_of, unique_settings
from tests.support.templates import table_properties
from worker.bootstrap import RETRY_POLICIES, deploy_storage
from worker.checks import Finding, check, check_at_start, require
from worker.domain.errors import ConfigurationError
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import GlobalSecondaryIndexUpdateTypeDef
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import NotificationConfigurationTypeDef
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

Check = Callable[[Settings], Awaitable[list[Finding]]]


@pytest.fixture
def run_check(sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient") -> Check:
    return lambda settings: check(sqs, s3, dynamodb, settings, retry=RETRY_POLICIES.startup)


async def test_all_checks_pass_after_provision(
    provisioned: Settings, run_check: Check, sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    findings = await run_check(provisioned)
    assert [finding for finding in findings if not finding.ok] == []
    assert {finding.name for finding in findings} >= {
        *("bucket", "notification", "queue", "dead-letter queue", "redrive policy", "long polling"),
        *("visibility timeout", "table", "index UserImages", "index StatusIndex", "index DateIndex"),
        *("time to live", "deletion protection", "point-in-time recovery", "queue policy", "permission"),
    }
    require(await check_at_start(sqs, s3, dynamodb, provisioned, retry=RETRY_POLICIES.startup))


async def test_the_checks_change_nothing(provisioned: Settings, run_check: Check, s3: "S3Client") -> None:
    await run_check(provisioned)
    assert "Contents" not in await s3.list_objects_v2(Bucket=provisioned.bucket)


async def test_without_resources_every_finding_recommends_provision(
    settings: Settings, run_check: Check
) -> None:
    findings = await run_check(settings)
    assert {finding.name for finding in findings} == {"bucket", "queue", "dead-letter queue", "table"}
    assert all("image-worker provision" in finding.fix for finding in findings)
    with pytest.raises(
        ConfigurationError, match=f"bucket {settings.bucket} does not exist; run `image-worker"
    ):
        require(findings)


async def test_a_bucket_without_notifications_fails_the_check(
    provisioned: Settings, run_check: Check, s3: "S3Client"
) -> None:
    await s3.put_bucket_notification_configuration(Bucket=provisioned.bucket, NotificationConfiguration={})
    failed = await _only_failed(run_check, provisioned)
    assert (failed.name, failed.required) == ("notification", True)
    assert "no image would be processed" in failed.message
    assert failed.fix == "run `image-worker provision`"


async def test_a_bucket_with_notifications_for_another_prefix_fails_the_check(
    provisioned: Settings, run_check: Check
) -> None:
    failed = await _only_failed(run_check, provisioned.model_copy(update={"uploads_prefix": "incoming/"}))
    assert "notifies of uploads under 'uploads/', not under 'incoming/'" in failed.message
    assert "WORKER_UPLOADS_PREFIX=uploads/" in failed.fix


async def test_notifications_for_all_objects_fail_the_check_because_results_would_loop(
    provisioned: Settings, run_check: Check, s3: "S3Client"
) -> None:
    configured = await s3.get_bucket_notification_configuration(Bucket=provisioned.bucket)
    (queue,) = configured["QueueConfigurations"]
    everything: NotificationConfigurationTypeDef = {
        "QueueConfigurations": [{"QueueArn": queue["QueueArn"], "Events": queue["Events"]}]
    }
    await _notify(s3, provisioned, everything)
    failed = await _only_failed(run_check, provisioned)
    assert (failed.name, failed.fix) == ("notification", "run `image-worker provision`")


async def test_notifications_through_eventbridge_pass_the_check(
    provisioned: Settings, run_check: Check, s3: "S3Client"
) -> None:
    await _notify(s3, provisioned, {"EventBridgeConfiguration": {}})
    assert all(finding.ok for finding in await run_check(provisioned))


async def test_a_missing_output_bucket_fails_the_check(
    provisioned: Settings, run_check: Check, sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    separate = provisioned.model_copy(update={"output_bucket": f"results-{provisioned.bucket}"})
    failed = await _only_failed(run_check, separate)
    assert (failed.name, failed.fix) == (
        "output bucket",
        "run `image-worker provision`, or set WORKER_OUTPUT_BUCKET",
    )
    with pytest.raises(ConfigurationError, match=r"bucket results-.* does not exist"):
        require(await check_at_start(sqs, s3, dynamodb, separate, retry=RETRY_POLICIES.startup))


@pytest.mark.parametrize(
    ("attribute", "value", "name", "required", "fix"),
    [
        ("RedrivePolicy", "", "redrive policy", True, "run `image-worker provision`"),
        ("ReceiveMessageWaitTimeSeconds", "0", "long polling", False, "run `image-worker provision`"),
        ("VisibilityTimeout", "30", "visibility timeout", False, "WORKER_VISIBILITY_TIMEOUT_S=30"),
    ],
)
async def test_a_changed_queue_attribute_fails_the_check(
    provisioned: Settings,
    run_check: Check,
    sqs: "SQSClient",
    *,
    attribute: "QueueAttributeNameType",
    value: str,
    name: str,
    required: bool,
    fix: str,
) -> None:
    url = (await sqs.get_queue_url(QueueName=provisioned.queue_name))["QueueUrl"]
    await sqs.set_queue_attributes(QueueUrl=url, Attributes={attribute: value})
    failed = await _only_failed(run_check, provisioned)
    assert (failed.name, failed.required) == (name, required)
    assert fix in failed.fix


async def test_a_redrive_policy_with_fewer_receives_than_the_worker_is_a_warning(
    provisioned: Settings, run_check: Check
) -> None:
    failed = await _only_failed(run_check, provisioned.model_copy(update={"max_receives": 9}))
    assert (failed.name, failed.required) == ("redrive policy", False)
    assert "WORKER_MAX_RECEIVES=5" in failed.fix


async def test_a_redrive_policy_with_another_dead_letter_queue_fails_the_check(
    provisioned: Settings, run_check: Check, sqs: "SQSClient"
) -> None:
    other = f"other-{provisioned.dead_letter_queue_name}"
    await sqs.create_queue(QueueName=other)
    failed = await _only_failed(run_check, provisioned.model_copy(update={"dead_letter_queue_name": other}))
    assert failed.name == "redrive policy"
    assert f"WORKER_DEAD_LETTER_QUEUE_NAME={provisioned.dead_letter_queue_name}" in failed.fix


async def test_the_table_of_another_program_fails_the_check_before_any_write(
    provisioned: Settings, run_check: Check, sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    other = provisioned.model_copy(update={"table_name": f"other-{provisioned.table_name}"})
    await dynamodb.create_table(
        TableName=other.table_name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    failed = {finding.name: finding for finding in await run_check(other) if not finding.ok}
    assert "has the key id, not imageId and userId" in failed["table"].message
    assert "set WORKER_TABLE_NAME to another name" in failed["table"].fix
    assert "index UserImages" in failed
    with pytest.raises(ConfigurationError, match="belongs to another program"):
        require(await check_at_start(sqs, s3, dynamodb, other, retry=RETRY_POLICIES.startup))


async def test_a_missing_index_fails_the_check_and_missing_time_to_live_is_a_warning(
    provisioned: Settings, run_check: Check, dynamodb: "DynamoDBClient"
) -> None:
    name = provisioned.table_name
    await dynamodb.update_table(
        TableName=name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "DateIndex"}}]
    )
    await dynamodb.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": False}
    )
    failed = {finding.name: finding.required for finding in await run_check(provisioned) if not finding.ok}
    assert failed == {"index DateIndex": True, "time to live": False}


async def test_an_index_without_the_listed_attributes_is_a_warning(
    provisioned: Settings, run_check: Check, dynamodb: "DynamoDBClient"
) -> None:
    table = table_properties(provisioned.table_name)
    (index,) = (each for each in table["GlobalSecondaryIndexes"] if each["IndexName"] == "DateIndex")
    keys_only: Any = index | {"Projection": {"ProjectionType": "KEYS_ONLY"}}
    updates: tuple[GlobalSecondaryIndexUpdateTypeDef, ...] = (
        {"Delete": {"IndexName": "DateIndex"}},
        {"Create": keys_only},
    )
    for update in updates:
        await dynamodb.update_table(
            TableName=provisioned.table_name,
            AttributeDefinitions=table["AttributeDefinitions"],
            GlobalSecondaryIndexUpdates=[update],
        )
    failed = await _only_failed(run_check, provisioned)
    assert (failed.name, failed.required) == ("index DateIndex", False)
    assert "processedS3Key" in failed.message


async def test_an_unreachable_endpoint_is_reported_once_per_resource(free_port: int) -> None:
    findings = await _check_at(f"http://127.0.0.1:{free_port}")
    assert [finding.name for finding in findings] == ["bucket", "queue", "dead-letter queue", "table"]
    assert all("cannot be reached" in finding.message for finding in findings)
    assert all("AWS_ENDPOINT_URL" in finding.fix for finding in findings)


async def test_a_denied_request_is_reported_with_its_iam_action() -> None:
    async with failing_aws("AccessDenied", status=403) as endpoint_url:
        findings = await _check_at(endpoint_url)
    denied = {finding.message.split(" on ")[0].removeprefix("AWS does not allow ") for finding in findings}
    assert denied == {"s3:ListBucket", "sqs:GetQueueUrl", "dynamodb:DescribeTable"}
    assert all(finding.fix.startswith("allow ") for finding in findings)


async def test_expired_credentials_are_distinguished_from_missing_permissions() -> None:
    async with failing_aws("ExpiredTokenException", status=400) as endpoint_url:
        findings = await _check_at(endpoint_url)
    findings_by_name = {finding.name: finding for finding in findings}
    assert "rejected the credentials" in findings_by_name["table"].message
    assert "aws sts get-caller-identity" in findings_by_name["table"].fix


async def test_missing_credentials_are_reported(
    provisioned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    findings = await _check_at(str(provisioned.endpoint_url), credentials=False)
    assert all("no usable AWS credentials" in finding.message for finding in findings)
    assert all("AWS_PROFILE" in finding.fix for finding in findings)


async def test_the_table_of_the_template_passes_the_checks_on_moto(moto_endpoint: str) -> None:
    settings = unique_settings(moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
    findings = await _check_at(moto_endpoint, settings=settings)
    table = [finding for finding in findings if finding.name not in {"bucket", "queue", "dead-letter queue"}]
    assert len(table) == 10
    assert all(finding.ok for finding in table), table


async def test_provisioning_fixes_what_the_checks_find(
    provisioned: Settings,
    run_check: Check,
    cloudformation: "CloudFormationClient",
    dynamodb: "DynamoDBClient",
) -> None:
    changed = provisioned.model_copy(update={"uploads_prefix": "incoming/", "visibility_timeout_s": 90})
    assert len([finding for finding in await run_check(changed) if not finding.ok]) == 2
    await deploy_storage(cloudformation, dynamodb, changed, stack_name=stack_name_of(changed))
    assert all(finding.ok for finding in await run_check(changed))


async def _only_failed(run_check: Check, settings: Settings) -> Finding:
    (failed,) = [finding for finding in await run_check(settings) if not finding.ok]
    return failed


async def _notify(
    s3: "S3Client", settings: Settings, configuration: "NotificationConfigurationTypeDef"
) -> None:
    await s3.put_bucket_notification_configuration(
        Bucket=settings.bucket, NotificationConfiguration=configuration, SkipDestinationValidation=True
    )


async def _check_at(
    endpoint_url: str, *, settings: Settings | None = None, credentials: bool = True
) -> list[Finding]:
    settings = settings or unique_settings(endpoint_url)
    async with AsyncExitStack() as stack:
        sqs = await stack.enter_async_context(client("sqs", settings, has_credentials=credentials))
        s3 = await stack.enter_async_context(client("s3", settings, has_credentials=credentials))
        dynamodb = await stack.enter_async_context(client("dynamodb", settings, has_credentials=credentials))
        return await check(sqs, s3, dynamodb, settings, retry=RETRY_POLICIES.startup)
