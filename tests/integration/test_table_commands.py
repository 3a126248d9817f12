"""`image-worker table` on MiniStack, and its parts on moto where moto behaves differently."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulators import client, create_table, stack_name_of, unique_settings
from worker.aws.provision import CAPABILITIES, STORAGE_TEMPLATE
from worker.bootstrap import RETRY_POLICIES, build_backups, deploy_storage, storage_parameters, table_of
from worker.cli.app import run
from worker.domain.errors import ConfigurationError
from worker.dynamodb.indexes import INDEXES
from worker.dynamodb.restore import TableRestore
from worker.local.embedded_aws import embedded_environment
from worker.settings import Settings
from worker.telemetry.table_metrics import (
    METRICS,
    NAMESPACE,
    PERIOD,
    Scope,
    TableMetrics,
    window,
)

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_cloudwatch import CloudWatchClient
    from types_aiobotocore_dynamodb import DynamoDBClient

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def table(settings: Settings, dynamodb: "DynamoDBClient") -> Settings:
    await create_table(dynamodb, settings)
    return settings


@pytest.fixture
def command(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    _unconfigured_logs: None,
) -> Command:
    """Return a function that runs `image-worker table` and returns its status, stdout and stderr."""
    assert settings.endpoint_url
    environment = embedded_environment(settings.endpoint_url) | {"WORKER_TABLE_NAME": settings.table_name}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async def call(*arguments: str) -> tuple[int, str, str]:
        status = await asyncio.to_thread(run, ["table", *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


async def put_metric(
    cloudwatch: "CloudWatchClient", metric: str, values: list[float], at: datetime, **dimensions: str
) -> None:
    """Put metric data into CloudWatch as DynamoDB would."""
    await cloudwatch.put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[
            {
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
                "Timestamp": at,
                "Value": value,
            }
            for value in values
        ],
    )


@pytest.mark.usefixtures("table")
async def test_a_backup_is_created_with_the_given_name_and_listed(command: Command) -> None:
    status, stdout, _ = await command("backup", "--name", "before-migration")
    assert (status, "before-migration" in stdout) == (0, True)

    status, listed, _ = await command("backups", "--json")

    (backup,) = json.loads(listed)["backups"]
    assert status == 0
    assert (backup["name"], backup["status"], backup["type"]) == ("before-migration", "AVAILABLE", "USER")
    assert backup["arn"].startswith("arn:aws:dynamodb:")
    assert "before-migration" in (await command("backups"))[1]


@pytest.mark.usefixtures("table")
async def test_the_default_backup_name_is_the_current_time(command: Command) -> None:
    status, stdout, _ = await command("backup", "--json")
    backup = json.loads(stdout)
    assert status == 0
    created_at = datetime.strptime(backup["name"], "backup-%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    assert abs(created_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.usefixtures("table")
async def test_without_backups_the_list_shows_how_to_create_one(command: Command, settings: Settings) -> None:
    status, stdout, _ = await command("backups")
    assert (status, stdout) == (
        0,
        f"{settings.table_name} has no backups. Create one with `image-worker table backup`.\n",
    )


async def test_an_invalid_backup_name_is_a_usage_error(command: Command) -> None:
    status, _, stderr = await command("backup", "--name", "before the migration")
    assert status == 2
    assert "letters, digits, dots, hyphens and underscores" in stderr


@pytest.mark.parametrize("emulator", ["ministack", "moto"])
async def test_a_missing_table_is_a_configuration_error(
    emulator: str, ministack_endpoint: str, moto_endpoint: str
) -> None:
    settings = unique_settings(ministack_endpoint if emulator == "ministack" else moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        with pytest.raises(
            ConfigurationError,
            match=r'Table ".*" does not exist. .* set WORKER_TABLE_NAME',
        ):
            await build_backups(dynamodb, settings).create()


async def test_backups_are_listed_newest_first_across_pages(
    table: Settings, dynamodb: "DynamoDBClient"
) -> None:
    class InPages:
        """The client, whose pages hold two backups."""

        pages = 0

        async def list_backups(self, **request: Any) -> Any:
            self.pages += 1
            return await dynamodb.list_backups(**request, Limit=2)

    backups = build_backups(dynamodb, table)
    for number in range(5):
        await backups.create(f"backup-{number}")
    paged: Any = InPages()

    found = await build_backups(paged, table).all()

    assert [each.name for each in found] == [f"backup-{number}" for number in (4, 3, 2, 1, 0)]
    assert paged.pages == 3


async def test_a_backup_whose_response_was_lost_is_not_created_twice(
    table: Settings, dynamodb: "DynamoDBClient"
) -> None:
    async def create_and_lose_response(**request: Any) -> Any:
        await dynamodb.create_backup(**request)
        raise ConnectionResetError

    client_losing_responses: Any = SimpleNamespace(
        create_backup=create_and_lose_response, list_backups=dynamodb.list_backups
    )

    created = await build_backups(client_losing_responses, table).create("nightly")

    assert [created] == await build_backups(dynamodb, table).all()


async def test_metrics_are_read_for_table_indexes_operations_and_account(
    settings: Settings, cloudwatch: "CloudWatchClient"
) -> None:
    start, end = window(datetime.now(UTC), hours=1)
    name, at = settings.table_name, start + PERIOD
    await put_metric(cloudwatch, "ConsumedWriteCapacityUnits", [1, 1, 4], at, TableName=name)
    await put_metric(cloudwatch, "ConsumedWriteCapacityUnits", [10], at + 2 * PERIOD, TableName=name)
    index = {"GlobalSecondaryIndexName": "StatusIndex"}
    await put_metric(cloudwatch, "WriteThrottleEvents", [1, 1], at, TableName=name, **index)
    for operation in ("GetItem", "TransactWriteItems"):
        await put_metric(cloudwatch, "SystemErrors", [1], at, TableName=name, Operation=operation)
    await put_metric(cloudwatch, "UserErrors", [1], at)

    found = await TableMetrics(
        cloudwatch, table=name, indexes=tuple(INDEXES), retry=RETRY_POLICIES.table
    ).read(start, end)

    by_name = {(each.metric, each.index): each for each in found if each.points}
    consumed = by_name["ConsumedWriteCapacityUnits", None]
    assert [(point.at, point.sum, point.average, point.maximum) for point in consumed.points] == [
        (at, 6, 2, 4),
        (at + 2 * PERIOD, 10, 10, 10),
    ]
    assert (consumed.sum, consumed.average, consumed.maximum) == (16, 4, 10)
    assert by_name["WriteThrottleEvents", "StatusIndex"].sum == 2
    assert by_name["SystemErrors", None].sum == 2
    assert by_name["UserErrors", None].scope is Scope.ACCOUNT
    assert [each.metric for each in found if each.index is None] == list(METRICS)
    assert len(found) == 8 + 3 * 6


async def test_metrics_are_printed_as_sums_and_bars(
    command: Command, settings: Settings, cloudwatch: "CloudWatchClient"
) -> None:
    start, _ = window(datetime.now(UTC), hours=1)
    for number, units in enumerate((1, 8)):
        at, name = start + (number + 2) * PERIOD, settings.table_name
        await put_metric(cloudwatch, "ConsumedWriteCapacityUnits", [units], at, TableName=name)
        await put_metric(cloudwatch, "WriteThrottleEvents", [6], at, TableName=name)

    status, stdout, _ = await command("metrics")

    consumed = next(line for line in stdout.splitlines() if line.startswith("ConsumedWriteCapacityUnits"))
    assert status == 0
    assert consumed.split() == ["ConsumedWriteCapacityUnits", "table", "9", "4.50", "8", "▂█"]
    assert f"{settings.table_name} throttled 12 requests" in stdout
    assert "No capacity is provisioned" in stdout


async def test_metrics_are_printed_as_json(
    command: Command, settings: Settings, cloudwatch: "CloudWatchClient"
) -> None:
    start, _ = window(datetime.now(UTC), hours=2)
    await put_metric(
        cloudwatch, "ProvisionedReadCapacityUnits", [5], start + PERIOD, TableName=settings.table_name
    )

    status, stdout, _ = await command("metrics", "--hours", "2", "--json")

    document = json.loads(stdout)
    provisioned = next(
        each for each in document["metrics"] if each["metric"] == "ProvisionedReadCapacityUnits"
    )
    assert status == 0
    assert (document["table"], document["periodSeconds"]) == (settings.table_name, 300)
    assert (provisioned["scope"], provisioned["average"], len(provisioned["points"])) == ("table", 5, 1)
    assert all(each["points"] == [] for each in document["metrics"] if each["index"])


async def test_provisioning_keeps_the_provisioned_capacity_of_a_table(
    provisioned: Settings, cloudformation: "CloudFormationClient", dynamodb: "DynamoDBClient"
) -> None:
    stack_name = stack_name_of(provisioned)
    values = storage_parameters(provisioned) | {"BillingMode": "PROVISIONED"}
    await cloudformation.update_stack(
        StackName=stack_name,
        TemplateBody=STORAGE_TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
        Capabilities=CAPABILITIES,
    )

    deployment = await deploy_storage(cloudformation, dynamodb, provisioned, stack_name=stack_name)

    table = (await dynamodb.describe_table(TableName=provisioned.table_name))["Table"]
    assert deployment.done == "unchanged"
    assert table["BillingModeSummary"]["BillingMode"] == "PROVISIONED"
    assert [
        (
            each["ProvisionedThroughput"]["ReadCapacityUnits"],
            each["ProvisionedThroughput"]["WriteCapacityUnits"],
        )
        for each in (table, *table["GlobalSecondaryIndexes"])
    ] == [(5, 5)] * 4


async def test_zero_hours_are_a_usage_error(command: Command) -> None:
    status, _, stderr = await command("metrics", "--hours", "0")
    assert status == 2
    assert "--hours" in stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--at", "latest", "--backup", "x"), "exclude each other"),
        ((), "exclude each other"),
        (("--at", "yesterday"), "write a time as in"),
        (("--at", "2020-01-01T00:00:00Z"), "is outside of the point-in-time recovery"),
        (("--backup", "missing"), "there is no backup 'missing'"),
    ],
)
async def test_a_restore_that_is_impossible_changes_nothing(
    table: Settings, dynamodb: "DynamoDBClient", command: Command, arguments: tuple[str, ...], reason: str
) -> None:
    name = table.table_name
    on: Any = {"PointInTimeRecoveryEnabled": True}
    await dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=on)

    status, _, stderr = await command("restore", f"{name}-2", *arguments)

    assert status == 2
    assert reason in " ".join(stderr.split())
    with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
        await dynamodb.describe_table(TableName=f"{name}-2")


async def test_a_table_is_not_restored_over_another_one_or_itself_or_without_recovery(
    table: Settings, dynamodb: "DynamoDBClient", command: Command
) -> None:
    other = table.model_copy(update={"table_name": f"{table.table_name}-other"})
    await create_table(dynamodb, other)
    off: Any = {"PointInTimeRecoveryEnabled": False}
    await dynamodb.update_continuous_backups(TableName=table.table_name, PointInTimeRecoverySpecification=off)

    results = [
        await command("restore", name, "--at", "latest")
        for name in (other.table_name, table.table_name, f"{table.table_name}-2")
    ]

    assert [status for status, _, _ in results] == [2, 2, 2]
    reasons = [" ".join(stderr.split()) for _, _, stderr in results]
    assert "exists, and" in reasons[0]
    assert "choose another name" in reasons[1]
    assert "is off: restore it from a backup" in reasons[2]


async def test_a_restored_table_has_the_tags_and_the_protection_of_the_table(
    table: Settings, dynamodb: "DynamoDBClient", command: Command
) -> None:
    name = f"{table.table_name}-2"
    source = (await dynamodb.describe_table(TableName=table.table_name))["Table"]
    await dynamodb.tag_resource(ResourceArn=source["TableArn"], Tags=[{"Key": "team", "Value": "photos"}])
    on: Any = {"PointInTimeRecoveryEnabled": True}
    await dynamodb.update_continuous_backups(TableName=table.table_name, PointInTimeRecoverySpecification=on)

    status, stdout, stderr = await command("restore", name, "--at", "latest", "--json")

    assert status == 0, stderr
    document = json.loads(stdout)
    assert document["restored"]
    restored = (await dynamodb.describe_table(TableName=name))["Table"]
    assert document["arn"] == restored["TableArn"]
    assert restored["DeletionProtectionEnabled"]
    tags = await dynamodb.list_tags_of_resource(ResourceArn=restored["TableArn"])
    assert tags["Tags"] == [{"Key": "team", "Value": "photos"}]
    assert f"set WORKER_TABLE_NAME={name}" in document["steps"][0]


async def test_a_restore_that_was_interrupted_is_continued(moto_endpoint: str) -> None:
    settings = unique_settings(moto_endpoint)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
        backup = await build_backups(dynamodb, settings).create("before")
        tool = TableRestore(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table, sleep=sleep)
        target = f"{settings.table_name}-2"

        first = await tool.restore(target, backup)
        second = await tool.restore(target, backup)

    assert (first.is_resumed, second.is_resumed) == (False, True)
    assert first.arn == second.arn
