from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.emulators import client, create_table, refusing, stack_name_of, unique_settings
from tests.support.templates import table_properties
from worker.bootstrap import RETRY_POLICIES, deploy_storage
from worker.checks import Finding, check, check_at_start, require
from worker.domain.errors import ConfigurationError
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

Look = Callable[[Settings], Awaitable[list[Finding]]]


@pytest.fixture
def look(sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient") -> Look:
    return lambda settings: check(sqs, s3, dynamodb, settings, retry=RETRY_POLICIES.startup)


async def test_after_provision_everything_is_right(
    provisioned: Settings, look: Look, sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    findings = await look(provisioned)
    assert [finding for finding in findings if not finding.ok] == []
    assert {finding.name for finding in findings} >= {
        *("bucket", "notification", "queue", "dead-letter queue", "dead-letter policy", "long polling"),
        *("visibility timeout", "table", "index UserImages", "index StatusIndex", "index DateIndex"),
        *("expiry", "permission"),
    }
    require(await check_at_start(sqs, s3, dynamodb, provisioned, retry=RETRY_POLICIES.startup))


async def test_looking_changes_nothing(provisioned: Settings, look: Look, s3: "S3Client") -> None:
    await look(provisioned)
    assert "Contents" not in await s3.list_objects_v2(Bucket=provisioned.bucket)


async def test_where_nothing_exists_each_finding_says_to_provision(settings: Settings, look: Look) -> None:
    findings = await look(settings)
    assert {finding.name for finding in findings} == {"bucket", "queue", "dead-letter queue", "table"}
    assert all("image-worker provision" in finding.remedy for finding in findings)
    with pytest.raises(ConfigurationError, match=f"there is no bucket {settings.bucket}; run `image-worker"):
        require(findings)


async def test_a_bucket_that_announces_nothing_is_found(
    provisioned: Settings, look: Look, s3: "S3Client"
) -> None:
    await s3.put_bucket_notification_configuration(Bucket=provisioned.bucket, NotificationConfiguration={})
    wrong = await _only_wrong(look, provisioned)
    assert (wrong.name, wrong.required) == ("notification", True)
    assert "nothing would arrive" in wrong.message
    assert wrong.remedy == "run `image-worker provision`"


async def test_a_bucket_that_announces_another_prefix_is_found(provisioned: Settings, look: Look) -> None:
    wrong = await _only_wrong(look, provisioned.model_copy(update={"uploads_prefix": "incoming/"}))
    assert "announces uploads under 'uploads/', not 'incoming/'" in wrong.message
    assert "WORKER_UPLOADS_PREFIX=uploads/" in wrong.remedy


async def test_an_announcement_of_every_object_is_found_for_it_would_loop(
    provisioned: Settings, look: Look, s3: "S3Client"
) -> None:
    configured = await s3.get_bucket_notification_configuration(Bucket=provisioned.bucket)
    (queue,) = configured["QueueConfigurations"]
    everything = {"QueueConfigurations": [{"QueueArn": queue["QueueArn"], "Events": queue["Events"]}]}
    await _notify(s3, provisioned, everything)
    wrong = await _only_wrong(look, provisioned)
    assert (wrong.name, wrong.remedy) == ("notification", "run `image-worker provision`")


async def test_an_announcement_through_eventbridge_is_as_good(
    provisioned: Settings, look: Look, s3: "S3Client"
) -> None:
    await _notify(s3, provisioned, {"EventBridgeConfiguration": {}})
    assert all(finding.ok for finding in await look(provisioned))


async def test_a_missing_bucket_for_results_is_found(
    provisioned: Settings, look: Look, sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    apart = provisioned.model_copy(update={"output_bucket": f"results-{provisioned.bucket}"})
    wrong = await _only_wrong(look, apart)
    assert (wrong.name, wrong.remedy) == (
        "output bucket",
        "run `image-worker provision`, or set WORKER_OUTPUT_BUCKET",
    )
    with pytest.raises(ConfigurationError, match="there is no bucket results-"):
        require(await check_at_start(sqs, s3, dynamodb, apart, retry=RETRY_POLICIES.startup))


@pytest.mark.parametrize(
    ("attribute", "value", "name", "required", "remedy"),
    [
        ("RedrivePolicy", "", "dead-letter policy", True, "run `image-worker provision`"),
        ("ReceiveMessageWaitTimeSeconds", "0", "long polling", False, "run `image-worker provision`"),
        ("VisibilityTimeout", "30", "visibility timeout", False, "WORKER_VISIBILITY_TIMEOUT_S=30"),
    ],
)
async def test_an_attribute_of_the_queue_that_somebody_changed_is_found(
    provisioned: Settings,
    look: Look,
    sqs: "SQSClient",
    *,
    attribute: str,
    value: str,
    name: str,
    required: bool,
    remedy: str,
) -> None:
    url = (await sqs.get_queue_url(QueueName=provisioned.queue_name))["QueueUrl"]
    await sqs.set_queue_attributes(QueueUrl=url, Attributes={attribute: value})
    wrong = await _only_wrong(look, provisioned)
    assert (wrong.name, wrong.required) == (name, required)
    assert remedy in wrong.remedy


async def test_a_queue_that_gives_up_before_the_worker_does_is_a_warning(
    provisioned: Settings, look: Look
) -> None:
    wrong = await _only_wrong(look, provisioned.model_copy(update={"max_receives": 9}))
    assert (wrong.name, wrong.required) == ("dead-letter policy", False)
    assert "WORKER_MAX_RECEIVES=5" in wrong.remedy


async def test_dead_letters_that_go_elsewhere_are_found(
    provisioned: Settings, look: Look, sqs: "SQSClient"
) -> None:
    other = f"other-{provisioned.dead_letter_queue_name}"
    await sqs.create_queue(QueueName=other)
    wrong = await _only_wrong(look, provisioned.model_copy(update={"dead_letter_queue_name": other}))
    assert wrong.name == "dead-letter policy"
    assert f"WORKER_DEAD_LETTER_QUEUE_NAME={provisioned.dead_letter_queue_name}" in wrong.remedy


async def test_another_programs_table_is_found_before_anything_is_written_to_it(
    provisioned: Settings, look: Look, sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    other = provisioned.model_copy(update={"table_name": f"other-{provisioned.table_name}"})
    await dynamodb.create_table(
        TableName=other.table_name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    wrong = {finding.name: finding for finding in await look(other) if not finding.ok}
    assert "has the key id, not imageId and userId" in wrong["table"].message
    assert "set WORKER_TABLE_NAME to another name" in wrong["table"].remedy
    assert "index UserImages" in wrong
    with pytest.raises(ConfigurationError, match="another's table"):
        require(await check_at_start(sqs, s3, dynamodb, other, retry=RETRY_POLICIES.startup))


async def test_a_missing_index_and_missing_expiry_are_found(
    provisioned: Settings, look: Look, dynamodb: "DynamoDBClient"
) -> None:
    name = provisioned.table_name
    await dynamodb.update_table(
        TableName=name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "DateIndex"}}]
    )
    await dynamodb.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": False}
    )
    wrong = {finding.name: finding.required for finding in await look(provisioned) if not finding.ok}
    assert wrong == {"index DateIndex": True, "expiry": False}


async def test_an_index_that_lacks_what_lists_show_is_a_warning(
    provisioned: Settings, look: Look, dynamodb: "DynamoDBClient"
) -> None:
    table = table_properties(provisioned.table_name)
    (index,) = (each for each in table["GlobalSecondaryIndexes"] if each["IndexName"] == "DateIndex")
    meagre = index | {"Projection": {"ProjectionType": "KEYS_ONLY"}}
    for update in ({"Delete": {"IndexName": "DateIndex"}}, {"Create": meagre}):
        await dynamodb.update_table(
            TableName=provisioned.table_name,
            AttributeDefinitions=table["AttributeDefinitions"],
            GlobalSecondaryIndexUpdates=[update],
        )
    wrong = await _only_wrong(look, provisioned)
    assert (wrong.name, wrong.required) == ("index DateIndex", False)
    assert "processedS3Key" in wrong.message


async def test_an_aws_that_is_not_there_is_found_once_for_each_service(free_port: int) -> None:
    findings = await _check_at(f"http://127.0.0.1:{free_port}")
    assert [finding.name for finding in findings] == ["bucket", "queue", "dead-letter queue", "table"]
    assert all("cannot be reached" in finding.message for finding in findings)
    assert all("AWS_ENDPOINT_URL" in finding.remedy for finding in findings)


async def test_a_call_that_is_not_allowed_is_named_by_its_action() -> None:
    async with refusing("AccessDenied", status=403) as endpoint_url:
        findings = await _check_at(endpoint_url)
    denied = {finding.message.split(" on ")[0].removeprefix("AWS does not allow ") for finding in findings}
    assert denied == {"s3:ListBucket", "sqs:GetQueueUrl", "dynamodb:DescribeTable"}
    assert all(finding.remedy.startswith("allow ") for finding in findings)


async def test_credentials_that_have_expired_are_told_from_missing_permissions() -> None:
    async with refusing("ExpiredTokenException", status=400) as endpoint_url:
        findings = await _check_at(endpoint_url)
    told = {finding.name: finding for finding in findings}
    assert "rejected the credentials" in told["table"].message
    assert "aws sts get-caller-identity" in told["table"].remedy


async def test_missing_credentials_are_found(provisioned: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    findings = await _check_at(str(provisioned.endpoint_url), credentials=False)
    assert all("no usable AWS credentials" in finding.message for finding in findings)
    assert all("AWS_PROFILE" in finding.remedy for finding in findings)


async def test_moto_finds_the_table_of_the_template_right(moto_endpoint: str) -> None:
    settings = unique_settings(moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
    findings = await _check_at(moto_endpoint, settings=settings)
    table = [finding for finding in findings if finding.name not in {"bucket", "queue", "dead-letter queue"}]
    assert len(table) == 8
    assert all(finding.ok for finding in table), table


async def test_deploying_mends_what_check_finds(
    provisioned: Settings, look: Look, cloudformation: "CloudFormationClient", dynamodb: "DynamoDBClient"
) -> None:
    changed = provisioned.model_copy(update={"uploads_prefix": "incoming/", "visibility_timeout_s": 90})
    assert len([finding for finding in await look(changed) if not finding.ok]) == 2
    await deploy_storage(cloudformation, dynamodb, changed, stack_name=stack_name_of(changed))
    assert all(finding.ok for finding in await look(changed))


async def _only_wrong(look: Look, settings: Settings) -> Finding:
    (wrong,) = [finding for finding in await look(settings) if not finding.ok]
    return wrong


async def _notify(s3: "S3Client", settings: Settings, configuration: dict[str, object]) -> None:
    await s3.put_bucket_notification_configuration(
        Bucket=settings.bucket, NotificationConfiguration=configuration, SkipDestinationValidation=True
    )


async def _check_at(
    endpoint_url: str, *, settings: Settings | None = None, credentials: bool = True
) -> list[Finding]:
    settings = settings or unique_settings(endpoint_url)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(client(service, settings, has_credentials=credentials))
            for service in ("sqs", "s3", "dynamodb")
        ]
        return await check(*opened, settings, retry=RETRY_POLICIES.startup)
