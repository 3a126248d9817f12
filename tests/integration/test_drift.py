"""What `image-worker check` finds, and that the fix which it names corrects it."""

import json
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore import xform_name

from tests.support.emulators import client, stack_name_of
from tests.support.templates import table_properties
from worker import checks
from worker.aws.provision import Deployment
from worker.bootstrap import RETRY_POLICIES, Clients, deploy_storage, open_client, open_clients
from worker.checks import Finding
from worker.checks.finding import PERMISSION
from worker.settings import Settings

LAMBDA = "arn:aws:lambda:us-east-1:000000000000:function:another-team"
FIX = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Account:
    """The resources of a test, and the commands that fix them."""

    settings: Settings
    clients: Clients

    async def failed(self) -> list[Finding]:
        """Return the findings of all checks that failed."""
        return [finding for finding in await self.findings() if not finding.ok]

    async def findings(self) -> list[Finding]:
        retry, clients = RETRY_POLICIES.startup, self.clients
        found = await checks.check(clients.sqs, clients.s3, clients.dynamodb, self.settings, retry=retry)
        if self.settings.events:
            found.append(await checks.check_stream(clients.dynamodb, self.settings, retry=retry))
        return found

    async def provision(self, *, dry_run: bool = False) -> Deployment:
        async with open_client("cloudformation", self.settings) as cloudformation:
            return await deploy_storage(
                cloudformation,
                self.clients.dynamodb,
                self.settings,
                stack_name=stack_name_of(self.settings),
                dry_run=dry_run,
            )

    async def follow(self, fix: str) -> None:
        """Run the commands of a fix, without the settings that are its alternatives."""
        commands = FIX.findall(fix.partition(", or set ")[0])
        assert commands, fix
        for command in commands:
            if command == "image-worker provision":
                await self.provision()
            else:
                await self._run(command)

    async def _run(self, command: str) -> None:
        """Make the call of a command of the AWS command line."""
        program, service, operation, *arguments = shlex.split(command)
        assert program == "aws"
        async with client(service, self.settings) as opened:  # type: ignore[arg-type]
            method = operation.replace("-", "_")
            shape = opened.meta.service_model.operation_model(opened.meta.method_to_api_mapping[method])
            names = {f"--{xform_name(each, '-')}": each for each in shape.input_shape.members}
            pairs = zip(arguments[::2], arguments[1::2], strict=True)
            parameters = {
                names[option]: json.loads(value) if value[0] in "[{" else value for option, value in pairs
            }
            await getattr(opened, method)(**parameters)

    async def queue_url(self) -> str:
        return (await self.clients.sqs.get_queue_url(QueueName=self.settings.queue_name))["QueueUrl"]

    async def set_queue(self, **attributes: str) -> None:
        values: Any = attributes
        await self.clients.sqs.set_queue_attributes(QueueUrl=await self.queue_url(), Attributes=values)

    async def update_table(self, **changes: Any) -> None:
        await self.clients.dynamodb.update_table(TableName=self.settings.table_name, **changes)

    async def notify(self, configuration: Any) -> None:
        await self.clients.s3.put_bucket_notification_configuration(
            Bucket=self.settings.bucket,
            NotificationConfiguration=configuration,
            SkipDestinationValidation=True,
        )

    async def notifications(self) -> Any:
        return await self.clients.s3.get_bucket_notification_configuration(Bucket=self.settings.bucket)


Change = Callable[[Account], Awaitable[None]]


PROVISIONED: dict[tuple[str, ...], Settings] = {}
"""The resources that the tests of single drifts share, as each leaves them correct, by their settings."""


async def shared_account(account: Account, chosen: dict[str, Any]) -> Account:
    """Return the account with provisioned resources; the first test with these settings provisions them."""
    key = tuple(chosen)
    if key not in PROVISIONED:
        changed = account.settings.model_copy(update=chosen)
        await Account(changed, account.clients).provision()
        PROVISIONED[key] = changed
    return Account(PROVISIONED[key], account.clients)


@pytest.fixture
async def account(settings: Settings) -> AsyncIterator[Account]:
    async with open_clients(settings) as clients:
        yield Account(settings, clients)


async def no_notification(account: Account) -> None:
    await account.notify({})


async def a_notification_of_another_prefix(account: Account) -> None:
    await account.notify(await _uploads_to_the_queue(account, prefix="other/"))


async def a_notification_of_everything(account: Account) -> None:
    await account.notify(await _uploads_to_the_queue(account, prefix=None))


async def only_a_notification_of_another_team(account: Account) -> None:
    await account.notify({"LambdaFunctionConfigurations": [_of_another_team()]})


async def no_queue_policy(account: Account) -> None:
    await account.set_queue(Policy="")


async def a_queue_policy_of_another_bucket(account: Account) -> None:
    attributes = await account.clients.sqs.get_queue_attributes(
        QueueUrl=await account.queue_url(), AttributeNames=["Policy"]
    )
    policy = attributes["Attributes"]["Policy"].replace(account.settings.bucket, "another-bucket")
    await account.set_queue(Policy=policy)


async def no_redrive_policy(account: Account) -> None:
    await account.set_queue(RedrivePolicy="")


async def a_redrive_policy_of_few_receives(account: Account) -> None:
    arn = _arn(account, account.settings.dead_letter_queue_name)
    await account.set_queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2}))


async def another_dead_letter_queue(account: Account) -> None:
    other = f"other-{account.settings.dead_letter_queue_name}"
    await account.clients.sqs.create_queue(QueueName=other)
    redrive = {"deadLetterTargetArn": _arn(account, other), "maxReceiveCount": 8}
    await account.set_queue(RedrivePolicy=json.dumps(redrive))


async def short_polling(account: Account) -> None:
    await account.set_queue(ReceiveMessageWaitTimeSeconds="0")


async def another_visibility_timeout(account: Account) -> None:
    await account.set_queue(VisibilityTimeout="31")


async def no_queue(account: Account) -> None:
    await account.clients.sqs.delete_queue(QueueUrl=await account.queue_url())


async def no_dead_letter_queue(account: Account) -> None:
    url = await account.clients.sqs.get_queue_url(QueueName=account.settings.dead_letter_queue_name)
    await account.clients.sqs.delete_queue(QueueUrl=url["QueueUrl"])


async def no_ttl(account: Account) -> None:
    await account.clients.dynamodb.update_time_to_live(
        TableName=account.settings.table_name,
        TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": False},
    )


async def no_deletion_protection(account: Account) -> None:
    await account.update_table(DeletionProtectionEnabled=False)


async def no_recovery(account: Account) -> None:
    await account.clients.dynamodb.update_continuous_backups(
        TableName=account.settings.table_name,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
    )


def without(*indexes: str) -> Change:
    async def delete(account: Account) -> None:
        for index in indexes:
            await account.update_table(GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": index}}])

    return delete


def with_another(index: str, **changes: Any) -> Change:
    async def replace(account: Account) -> None:
        await without(index)(account)
        table = table_properties(account.settings.table_name)
        (defined,) = (each for each in table["GlobalSecondaryIndexes"] if each["IndexName"] == index)
        await account.update_table(
            AttributeDefinitions=table["AttributeDefinitions"],
            GlobalSecondaryIndexUpdates=[{"Create": defined | changes}],
        )

    return replace


KEYS_ONLY = {"Projection": {"ProjectionType": "KEYS_ONLY"}}
BY_STATUS = {
    "KeySchema": [
        {"AttributeName": "statusShard", "KeyType": "HASH"},
        {"AttributeName": "createdAt", "KeyType": "RANGE"},
    ]
}


async def no_stream(account: Account) -> None:
    await account.update_table(StreamSpecification={"StreamEnabled": False})


async def a_stream_of_keys(account: Account) -> None:
    await no_stream(account)
    await account.update_table(StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"})


async def nothing(_: Account) -> None:
    """Leave the resources as they are, or missing."""


SCANS: dict[str, Any] = {"require_scan": True}
EVENTS: dict[str, Any] = {"events": True}
DRIFTS: list[tuple[str, Change, dict[str, Any]]] = [
    ("notification", no_notification, {}),
    ("notification", a_notification_of_another_prefix, {}),
    ("notification", a_notification_of_everything, {}),
    ("notification", only_a_notification_of_another_team, {}),
    ("notification", no_notification, SCANS),
    ("queue", no_queue, {}),
    ("dead-letter queue", no_dead_letter_queue, {}),
    ("queue policy", no_queue_policy, {}),
    ("queue policy", a_queue_policy_of_another_bucket, {}),
    ("scan results", no_queue_policy, SCANS),
    ("redrive policy", no_redrive_policy, {}),
    ("redrive policy", a_redrive_policy_of_few_receives, {}),
    ("redrive policy", another_dead_letter_queue, {}),
    ("long polling", short_polling, {}),
    ("visibility timeout", another_visibility_timeout, {}),
    ("index UserImages", without("UserImages"), {}),
    ("index StatusIndex", without("StatusIndex", "DateIndex"), {}),
    ("index DateIndex", with_another("DateIndex", **KEYS_ONLY), {}),
    ("index UserImages", with_another("UserImages", **BY_STATUS), {}),
    ("time to live", no_ttl, {}),
    ("deletion protection", no_deletion_protection, {}),
    ("point-in-time recovery", no_recovery, {}),
    ("stream", no_stream, EVENTS),
    ("stream", a_stream_of_keys, EVENTS),
]
MISSING = {"bucket", "output bucket", "queue", "dead-letter queue", "table"}
"""Findings about resources that do not exist before the first deployment."""


@pytest.mark.parametrize(
    ("name", "change", "chosen"),
    DRIFTS,
    ids=[f"{index}-{name.replace(' ', '-')}" for index, (name, _, _) in enumerate(DRIFTS)],
)
async def test_the_fix_that_the_check_names_corrects_what_it_has_found(
    account: Account, name: str, change: Change, chosen: dict[str, Any]
) -> None:
    account = await shared_account(account, chosen)
    await change(account)

    found = {finding.name: finding for finding in await account.failed()}
    assert name in found
    await account.follow(found[name].fix)
    assert await account.failed() == []


async def test_the_first_deployment_is_the_fix_for_everything_that_is_missing(account: Account) -> None:
    separate = account.settings.model_copy(update={"output_bucket": f"results-{account.settings.bucket}"})
    account = Account(separate, account.clients)
    found = await account.failed()
    assert {finding.name for finding in found} == MISSING
    for finding in found:
        await account.follow(finding.fix)
    assert await account.failed() == []


async def test_every_finding_is_among_the_drifts_that_are_corrected(account: Account) -> None:
    tried = {name for name, _, _ in DRIFTS} | MISSING
    for chosen in (EVENTS, SCANS):
        changed = await shared_account(account, chosen)
        names = {finding.name for finding in await changed.findings()}
        assert names - {PERMISSION} <= tried


async def test_a_dry_run_lists_what_would_be_corrected_and_changes_nothing(account: Account) -> None:
    assert (await account.provision(dry_run=True)).done == "created"
    await account.provision()
    await short_polling(account)
    await no_ttl(account)
    before = [finding.name for finding in await account.failed()]

    planned = await account.provision(dry_run=True)

    assert planned.done == "repaired"
    assert planned.changes == (
        f"queue {account.settings.queue_name}: set ReceiveMessageWaitTimeSeconds",
        f"table {account.settings.table_name}: turn TTL on, by the attribute ttl",
    )
    assert [finding.name for finding in await account.failed()] == before
    assert (await account.provision()).changes == planned.changes


async def test_notifications_of_other_teams_survive_an_update_of_the_stack(account: Account) -> None:
    await account.provision()
    theirs = _of_another_team()
    await account.notify({"LambdaFunctionConfigurations": [theirs], "EventBridgeConfiguration": {}})
    changed = Account(account.settings.model_copy(update={"uploads_prefix": "incoming/"}), account.clients)

    assert (await changed.provision()).done == "updated"

    configured = await changed.notifications()
    (kept,) = configured["LambdaFunctionConfigurations"]
    assert (kept["LambdaFunctionArn"], kept["Events"]) == (LAMBDA, theirs["Events"])
    assert "EventBridgeConfiguration" in configured
    (ours,) = configured["QueueConfigurations"]
    assert ours["Filter"]["Key"]["FilterRules"][0]["Value"] == "incoming/"
    assert (await changed.provision()).done == "unchanged"


async def test_statements_of_others_in_the_queue_policy_are_kept(account: Account) -> None:
    await account.provision()
    arn = _arn(account, account.settings.queue_name)
    theirs = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    await account.set_queue(Policy=json.dumps({"Version": "2012-10-17", "Statement": [theirs]}))
    assert (await account.provision()).done == "repaired"
    attributes = await account.clients.sqs.get_queue_attributes(
        QueueUrl=await account.queue_url(), AttributeNames=["Policy"]
    )
    assert theirs in json.loads(attributes["Attributes"]["Policy"])["Statement"]


def _of_another_team() -> dict[str, Any]:
    rules = [{"Name": "prefix", "Value": "reports/"}]
    return {
        "Id": "another-team",
        "LambdaFunctionArn": LAMBDA,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": rules}},
    }


async def _uploads_to_the_queue(account: Account, *, prefix: str | None) -> dict[str, Any]:
    queue: dict[str, Any] = {
        "QueueArn": _arn(account, account.settings.queue_name),
        "Events": ["s3:ObjectCreated:*"],
    }
    if prefix is not None:
        queue["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
    return {"QueueConfigurations": [queue]}


def _arn(account: Account, queue: str) -> str:
    return f"arn:aws:sqs:{account.settings.region}:000000000000:{queue}"
