"""`image-worker table` on MiniStack, and its parts on moto where that answers otherwise."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.adapters import RETRY
from tests.support.emulators import client, create_table, stack_name_of, unique_settings
from worker.aws.provision import CAPABILITIES, STORAGE_TEMPLATE
from worker.bootstrap import RETRY_POLICIES, deploy_storage, storage_parameters, table_of
from worker.checks.table import INDEXES
from worker.cli.app import run
from worker.domain.errors import ConfigurationError
from worker.dynamodb.backups import Backups
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
    """Return a way to run `image-worker table ...`: its status, stdout and stderr."""
    assert settings.endpoint_url
    environment = embedded_environment(settings.endpoint_url) | {"WORKER_TABLE_NAME": settings.table_name}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async def call(*arguments: str) -> tuple[int, str, str]:
        status = await asyncio.to_thread(run, ["table", *arguments])
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


async def count(
    cloudwatch: "CloudWatchClient", metric: str, values: list[float], at: datetime, **dimensions: str
) -> None:
    """Have CloudWatch count what DynamoDB would."""
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
async def test_a_backup_is_made_under_its_name_and_listed(command: Command) -> None:
    status, said, _ = await command("backup", "--name", "before-migration")
    assert (status, "before-migration" in said) == (0, True)

    status, listed, _ = await command("backups", "--json")

    (backup,) = json.loads(listed)["backups"]
    assert status == 0
    assert (backup["name"], backup["status"], backup["type"]) == ("before-migration", "AVAILABLE", "USER")
    assert backup["arn"].startswith("arn:aws:dynamodb:")
    assert "before-migration" in (await command("backups"))[1]


@pytest.mark.usefixtures("table")
async def test_a_backup_that_nobody_names_is_named_after_its_moment(command: Command) -> None:
    status, said, _ = await command("backup", "--json")
    backup = json.loads(said)
    assert status == 0
    made_at = datetime.strptime(backup["name"], "backup-%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    assert abs(made_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.usefixtures("table")
async def test_where_there_is_no_backup_the_list_says_how_to_make_one(
    command: Command, settings: Settings
) -> None:
    status, said, _ = await command("backups")
    assert (status, said) == (
        0,
        f"There is no backup of {settings.table_name}: image-worker table backup makes one.\n",
    )


async def test_a_name_that_dynamodb_would_refuse_is_wrong_usage(command: Command) -> None:
    status, _, said = await command("backup", "--name", "before the migration")
    assert status == 2
    assert "letters, digits, dots, hyphens and underscores" in said


@pytest.mark.parametrize("emulator", ["ministack", "moto"])
async def test_a_table_that_is_not_there_is_told_with_what_to_do(
    emulator: str, ministack_endpoint: str, moto_endpoint: str
) -> None:
    settings = unique_settings(ministack_endpoint if emulator == "ministack" else moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        with pytest.raises(
            ConfigurationError,
            match=r'Table ".*" does not exist. .* set WORKER_TABLE_NAME',
        ):
            await Backups(dynamodb, table=table_of(settings), retry=RETRY.table).create()


async def test_all_backups_are_listed_newest_first_over_all_pages(
    table: Settings, dynamodb: "DynamoDBClient"
) -> None:
    class InPages:
        """The client, whose pages hold two backups."""

        pages = 0

        async def list_backups(self, **request: Any) -> Any:  # noqa: ANN401 - as botocore's
            self.pages += 1
            return await dynamodb.list_backups(**request, Limit=2)

    backups = Backups(dynamodb, table=table_of(table), retry=RETRY.table)
    for number in range(5):
        await backups.create(f"backup-{number}")
    paged = InPages()

    found = await Backups(paged, table=table_of(table), retry=RETRY.table).all()  # type: ignore[arg-type]

    assert [one.name for one in found] == [f"backup-{number}" for number in (4, 3, 2, 1, 0)]
    assert paged.pages == 3


async def test_a_backup_whose_answer_was_lost_is_not_made_twice(
    table: Settings, dynamodb: "DynamoDBClient"
) -> None:
    async def making_it_and_losing_the_answer(**request: Any) -> Any:  # noqa: ANN401 - as botocore's
        await dynamodb.create_backup(**request)
        raise ConnectionResetError

    forgetful = SimpleNamespace(
        create_backup=making_it_and_losing_the_answer, list_backups=dynamodb.list_backups
    )

    made = await Backups(forgetful, table=table_of(table), retry=RETRY.table).create("nightly")  # type: ignore[arg-type]

    assert [made] == await Backups(dynamodb, table=table_of(table), retry=RETRY.table).all()


async def test_the_metrics_of_table_index_operations_and_account_are_read(
    settings: Settings, cloudwatch: "CloudWatchClient"
) -> None:
    start, end = window(datetime.now(UTC), hours=1)
    name, at = settings.table_name, start + PERIOD
    await count(cloudwatch, "ConsumedWriteCapacityUnits", [1, 1, 4], at, TableName=name)
    await count(cloudwatch, "ConsumedWriteCapacityUnits", [10], at + 2 * PERIOD, TableName=name)
    index = {"GlobalSecondaryIndexName": "StatusIndex"}
    await count(cloudwatch, "WriteThrottleEvents", [1, 1], at, TableName=name, **index)
    for operation in ("GetItem", "TransactWriteItems"):
        await count(cloudwatch, "SystemErrors", [1], at, TableName=name, Operation=operation)
    await count(cloudwatch, "UserErrors", [1], at)

    found = await TableMetrics(
        cloudwatch, table=name, indexes=tuple(INDEXES), retry=RETRY_POLICIES.table
    ).read(start, end)

    by_name = {(one.metric, one.index): one for one in found if one.points}
    consumed = by_name["ConsumedWriteCapacityUnits", None]
    assert [(point.at, point.sum, point.average, point.maximum) for point in consumed.points] == [
        (at, 6, 2, 4),
        (at + 2 * PERIOD, 10, 10, 10),
    ]
    assert (consumed.sum, consumed.average, consumed.maximum) == (16, 4, 10)
    assert by_name["WriteThrottleEvents", "StatusIndex"].sum == 2
    assert by_name["SystemErrors", None].sum == 2
    assert by_name["UserErrors", None].scope is Scope.ACCOUNT
    assert [one.metric for one in found if one.index is None] == list(METRICS)
    assert len(found) == 8 + 3 * 6


async def test_the_table_of_metrics_shows_sums_and_bars(
    command: Command, settings: Settings, cloudwatch: "CloudWatchClient"
) -> None:
    start, _ = window(datetime.now(UTC), hours=1)
    for number, units in enumerate((1, 8)):
        at, name = start + (number + 2) * PERIOD, settings.table_name
        await count(cloudwatch, "ConsumedWriteCapacityUnits", [units], at, TableName=name)
        await count(cloudwatch, "WriteThrottleEvents", [6], at, TableName=name)

    status, said, _ = await command("metrics")

    consumed = next(line for line in said.splitlines() if line.startswith("ConsumedWriteCapacityUnits"))
    assert status == 0
    assert consumed.split() == ["ConsumedWriteCapacityUnits", "table", "9", "4.50", "8", "▂█"]
    assert f"{settings.table_name} turned 12 requests away" in said
    assert "Nothing is provisioned" in said


async def test_metrics_are_told_to_machines(
    command: Command, settings: Settings, cloudwatch: "CloudWatchClient"
) -> None:
    start, _ = window(datetime.now(UTC), hours=2)
    await count(
        cloudwatch, "ProvisionedReadCapacityUnits", [5], start + PERIOD, TableName=settings.table_name
    )

    status, said, _ = await command("metrics", "--hours", "2", "--json")

    document = json.loads(said)
    provisioned = next(one for one in document["metrics"] if one["metric"] == "ProvisionedReadCapacityUnits")
    assert status == 0
    assert (document["table"], document["periodSeconds"]) == (settings.table_name, 300)
    assert (provisioned["scope"], provisioned["average"], len(provisioned["points"])) == ("table", 5, 1)
    assert all(one["points"] == [] for one in document["metrics"] if one["index"])


async def test_a_table_that_was_switched_to_provisioned_capacity_stays_so_when_provisioned_again(
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
            one["ProvisionedThroughput"]["ReadCapacityUnits"],
            one["ProvisionedThroughput"]["WriteCapacityUnits"],
        )
        for one in (table, *table["GlobalSecondaryIndexes"])
    ] == [(5, 5)] * 4


async def test_an_hour_that_is_none_is_wrong_usage(command: Command) -> None:
    status, _, said = await command("metrics", "--hours", "0")
    assert status == 2
    assert "--hours" in said
