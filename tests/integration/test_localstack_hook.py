import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.support.emulators import client, receive_keys
from worker.aws.provision import STACK_NAME, STORAGE_TEMPLATE
from worker.bootstrap import deploy_storage
from worker.local.embedded_aws import EMBEDDED_REGION, embedded_aws
from worker.settings import Settings

HOOK = Path(__file__).parents[2] / "config/localstack/ready.d/provision.py"

# As LocalStack runs it: in an empty namespace, without `__main__`.
RUN_AS_LOCALSTACK = "import sys; exec(open(sys.argv[1], 'rb').read(), {})"

Hook = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def emulator() -> AsyncIterator[str]:
    """The endpoint of an embedded AWS of these tests: the hook uses the default names of the template."""
    async with embedded_aws() as endpoint_url:
        yield endpoint_url


@pytest.fixture
async def settings(emulator: str) -> Settings:
    """Default settings, on an embedded AWS without resources."""
    async with aiohttp.ClientSession() as session, session.post(f"{emulator}/_ministack/reset") as response:
        response.raise_for_status()
    return Settings.model_validate({"region": EMBEDDED_REGION, "endpoint_url": emulator})


@pytest.fixture
def hook(settings: Settings) -> Hook:
    def run(template: Path = STORAGE_TEMPLATE) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", RUN_AS_LOCALSTACK, HOOK],
            env={
                "PATH": os.environ["PATH"],
                "AWS_ENDPOINT_URL": str(settings.endpoint_url),
                "STORAGE_TEMPLATE": str(template),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


async def test_the_hook_creates_what_a_worker_with_default_settings_needs(
    settings: Settings, hook: Hook
) -> None:
    assert hook().returncode == 0
    async with client("s3", settings) as s3, client("sqs", settings) as sqs:
        await s3.put_object(Bucket=settings.bucket, Key="uploads/user/a.jpg", Body=b"picture")
        assert await receive_keys(sqs, settings) == ["uploads/user/a.jpg"]
    async with client("dynamodb", settings) as dynamodb:
        described = await dynamodb.describe_table(TableName=settings.table_name)
    assert described["Table"]["TableStatus"] == "ACTIVE"


async def test_the_hook_updates_the_stack_when_the_template_has_changed(
    settings: Settings, hook: Hook, tmp_path: Path
) -> None:
    assert hook().returncode == 0
    changed = tmp_path / "storage.yaml"
    longer = "ReceiveMessageWaitTimeSeconds: 20", "ReceiveMessageWaitTimeSeconds: 10"
    assert longer[0] in STORAGE_TEMPLATE.read_text()
    changed.write_text(STORAGE_TEMPLATE.read_text().replace(*longer))
    assert hook(changed).returncode == 0
    async with client("sqs", settings) as sqs:
        url = (await sqs.get_queue_url(QueueName=settings.queue_name))["QueueUrl"]
        attributes = await sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["ReceiveMessageWaitTimeSeconds"]
        )
    assert attributes["Attributes"] == {"ReceiveMessageWaitTimeSeconds": "10"}


async def test_repeating_the_hook_and_provisioning_after_it_change_nothing(
    settings: Settings, hook: Hook
) -> None:
    assert [hook().returncode, hook().returncode] == [0, 0]
    async with (
        client("cloudformation", settings) as cloudformation,
        client("dynamodb", settings) as dynamodb,
    ):
        stacks = await cloudformation.describe_stacks(StackName=STACK_NAME)
        assert [stack["StackStatus"] for stack in stacks["Stacks"]] == ["CREATE_COMPLETE"]
        first = await deploy_storage(cloudformation, dynamodb, settings)
        assert first.done == "repaired", "MiniStack ignores TTL and point-in-time recovery in templates"
        assert {change.partition(": ")[0] for change in first.changes} == {f"table {settings.table_name}"}
        assert (await deploy_storage(cloudformation, dynamodb, settings)).done == "unchanged"


async def test_a_failing_hook_exits_with_an_error(settings: Settings, hook: Hook) -> None:
    async with client("s3", settings) as s3:
        await s3.create_bucket(Bucket=settings.bucket)  # conflicts with the bucket of the stack
    failed = hook()
    assert failed.returncode == 1
    assert "WaiterError" in failed.stderr
