"""`image-worker run` and related commands as processes, with signals."""

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import Command, until_logged
from tests.support.pictures import encoded, quadrants
from worker.bootstrap import build_queries
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "vacation photo.jpg"
    file.write_bytes(encoded(quadrants(1200, 900)))
    return file


async def test_an_image_is_uploaded_processed_and_shown(with_resources: Command, picture: Path) -> None:
    async with with_resources.started("run") as worker:
        await until_logged(worker, "service.started")
        tags = ("--tag", "sea", "--tag", "sun", "--description", "Küste")
        uploaded = await with_resources.run(
            "upload", str(picture), "--user", "alice", *tags, "--wait", "--json"
        )
        assert uploaded.status == 0, uploaded.stderr
        (image,) = json.loads(uploaded.stdout)["images"]
        shown = await with_resources.run("images", "get", image["imageId"], "--json")
        printed = await with_resources.run("images", "get", image["imageId"])

    item = json.loads(shown.stdout)
    assert (item["status"], item["originalFileName"]) == ("completed", "vacation photo.jpg")
    assert (item["tags"], item["metadata"]["description"]) == (["sea", "sun"], "Küste")
    assert item["renditions"]["medium"]["width"] == 800
    assert printed.status == 0
    assert "completed" in printed.stdout
    assert image["imageId"] in printed.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_worker_exits_with_0_on_a_signal(
    with_resources: Command, number: signal.Signals
) -> None:
    async with with_resources.started("run") as worker:
        await until_logged(worker, "service.started")
        worker.send_signal(number)
        async with asyncio.timeout(10):
            await worker.wait()

    assert worker.returncode == 0


async def test_a_worker_stopped_during_work_leaves_no_image_leased(
    with_resources: Command, provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    content = encoded(quadrants(1600, 1200))
    image_ids = [f"img_{number}" for number in range(40)]
    for image_id in image_ids:
        await s3.put_object(Bucket=provisioned.bucket, Key=f"uploads/u/{image_id}.jpg", Body=content)

    async with with_resources.started("run") as worker:
        await until_logged(worker, "image.completed")
        worker.terminate()
        async with asyncio.timeout(30):
            await worker.wait()
    queries = build_queries(dynamodb, provisioned)
    images = [await queries.image(image_id, "u", consistent=True) for image_id in image_ids]

    assert worker.returncode == 0
    assert {image.status for image in images if image} <= {"completed", "pending"}
    assert not any(image.lease for image in images if image)


async def test_provisioning_again_changes_nothing_and_the_checks_pass(command: Command) -> None:
    names = {"WORKER_BUCKET": "b-twice", "WORKER_TABLE_NAME": "t-twice", "WORKER_QUEUE_NAME": "q-twice"}
    names |= {"WORKER_DEAD_LETTER_QUEUE_NAME": "dead-twice"}
    stack = ("--stack-name", "twice")

    first = await command.run("provision", *stack, "--json", **names)
    second = await command.run("provision", *stack, "--json", **names)
    check = await command.run("check", "--json", **names)

    assert json.loads(first.stdout)["result"] == "created", first.stderr
    assert json.loads(second.stdout)["result"] == "unchanged"
    assert check.status == 0, check.stdout
    assert json.loads(check.stdout)["ok"]


async def test_a_missing_image_is_reported_with_status_1(with_resources: Command) -> None:
    ended = await with_resources.run("images", "get", "img_none")

    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr.startswith("image img_none does not exist in table ")


@pytest.mark.parametrize(
    ("variables", "problem", "fix"),
    [
        ({"WORKER_QUEUE_NAME": "no-such-queue"}, "no-such-queue", "image-worker provision"),
        ({"WORKER_TABLE_NAME": "no-such-table"}, "no-such-table", "image-worker provision"),
        ({"WORKER_BUCKET": "no-such-bucket"}, "no-such-bucket", "image-worker provision"),
        ({"WORKER_PROCESSED_PREFIX": "uploads/done/"}, "WORKER_PROCESSED_PREFIX", "WORKER_OUTPUT_BUCKET"),
        ({"WORKER_MAX_BYTES": "plenty"}, "WORKER_MAX_BYTES", "whole number"),
        ({"WORKER_QUALITY": "101"}, "WORKER_QUALITY", "100"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9", "AWS_ENDPOINT_URL"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "region", "AWS_REGION"),
    ],
)
async def test_wrong_configuration_ends_with_one_line_and_status_2(
    with_resources: Command, variables: dict[str, str], problem: str, fix: str
) -> None:
    ended = await with_resources.run("run", **variables)

    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert problem in ended.stderr
    assert fix in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_table_with_another_schema_is_rejected_at_startup(
    with_resources: Command, dynamodb: "DynamoDBClient"
) -> None:
    await dynamodb.create_table(
        TableName="another-schema",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )

    ended = await with_resources.run("run", WORKER_TABLE_NAME="another-schema")

    assert ended.status == 2
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "another-schema" in ended.stderr
