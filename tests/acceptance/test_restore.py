"""The restore of the table by the book: every step of `docs/operations/restore.md` after its backup."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import Command, until_logged
from tests.support.emulators import stack_name_of
from tests.support.pictures import encoded, quadrants
from tests.support.templates import template
from tests.support.whole_worker import USER, upload, wait_until_processed, wait_until_queue_is_empty
from worker.domain.image import Image
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "restore.md"


def steps_of_the_page() -> list[list[str]]:
    """Return the commands of the procedure on the page, split into words."""
    section = PAGE.read_text(encoding="utf-8").split("## The table has to be restored")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line.split() for line in lines if line.startswith("image-worker ")]


async def totals(run: Any) -> tuple[int, int]:
    ended = await run("users", "get", USER, "--json")
    statistics = json.loads(ended.stdout)["statistics"]
    return statistics["totalImages"], statistics["totalStorageUsed"]


def counted(images: list[Image]) -> tuple[int, int]:
    return len(images), sum(image.total_bytes() for image in images)


@pytest.mark.timeout(300)
async def test_the_table_is_restored_by_the_steps_of_the_page(  # noqa: PLR0915 - the steps, in order
    s3: "S3Client",
    sqs: "SQSClient",
    dynamodb: "DynamoDBClient",
    cloudformation: "CloudFormationClient",
    provisioned: Settings,
    with_resources: Command,
) -> None:
    old, new = provisioned.table_name, f"{provisioned.table_name}-restored"
    restored = provisioned.model_copy(update={"table_name": new})
    picture, other = encoded(quadrants(80, 50)), encoded(quadrants(50, 80))
    stack = stack_name_of(provisioned)
    settings = {"WORKER_VISIBILITY_TIMEOUT_S": str(provisioned.visibility_timeout_s)}
    commands = steps_of_the_page()

    async def run(*arguments: str, table: str = new) -> Any:
        return await with_resources.run(*arguments, WORKER_TABLE_NAME=table, **settings)

    async def worked(*ids: str, table: str) -> list[Image]:
        used = provisioned.model_copy(update={"table_name": table})
        async with with_resources.started("run", WORKER_TABLE_NAME=table, **settings) as worker:
            await until_logged(worker, "service.started")
            images = await wait_until_processed(dynamodb, used, *ids)
            await wait_until_queue_is_empty(sqs, provisioned)
            worker.terminate()  # a pending receive of a killed worker could hide a message from the next
            assert await worker.wait() == 0
            return images

    async def play(step: list[str], **names: str) -> Any:
        """Run a command of the page, whose upper-case words are names of the reader."""
        arguments = [names.get(word, word) for word in step[1:]]
        arguments = [re.sub(r"\bBUCKET\b", provisioned.bucket, word) for word in arguments]
        if arguments[0] == "provision":
            arguments += ["--stack-name", stack]
        ended = await run(*arguments, table=old if arguments[:2] == ["table", "restore"] else new)
        assert ended.status == 0, (arguments, ended.stdout, ended.stderr)
        return ended

    # Before the loss: images, a backup, and after it a newer upload, a new image and one that is replaced.
    for image_id in ("img_kept", "img_replaced"):
        await upload(s3, provisioned, image_id, picture)
    await worked("img_kept", "img_replaced", table=old)
    created = json.loads((await run("table", "backup", "--json", table=old)).stdout)
    await upload(s3, provisioned, "img_replaced", other)
    for image_id in ("img_lost", "img_lost_result"):
        await upload(s3, provisioned, image_id, picture)
    ids = ("img_kept", "img_replaced", "img_lost", "img_lost_result")
    async with with_resources.started("run", WORKER_TABLE_NAME=old, **settings) as worker:
        await until_logged(worker, "service.started")
        await wait_until_processed(dynamodb, provisioned, *ids)
        await wait_until_queue_is_empty(sqs, provisioned)
    result = next(iter((await worked("img_kept", table=old))[0].renditions.values())).key
    await s3.delete_object(Bucket=provisioned.results_bucket, Key=result)
    await upload(s3, provisioned, "img_waiting", picture)  # its message stays in the queue

    # The steps of the page.
    assert [step[1:3] for step in commands] == [
        ["table", "backups"],
        ["table", "restore"],
        ["table", "restore"],
        ["provision"],
        ["check"],
        ["enqueue", "s3://BUCKET/uploads/"],
        ["reconcile", "--older-than"],
        ["reconcile", "--objects"],
        ["reconcile", "--objects"],
    ]
    listed = json.loads((await run("table", "backups", "--json", table=old)).stdout)
    assert [each["name"] for each in listed["backups"]] == [created["name"]]
    names = {"NEW_TABLE": new, "BACKUP": created["name"]}
    _, dry, restore, provision, check, enqueue, pending, results_dry, results = commands
    assert "Nothing was changed" in (await play(dry, **names)).stdout
    ended = await play(restore, **names)
    assert f"image-worker enqueue s3://{provisioned.bucket}/uploads/" in ended.stdout
    assert "turn point-in-time recovery on" in ended.stdout
    provisioned_again = await play(provision)
    assert "Traceback" not in provisioned_again.stderr
    await play(check)
    async with with_resources.started("run", WORKER_TABLE_NAME=new, **settings) as worker:
        await until_logged(worker, "service.started")
        await play(enqueue)
        await wait_until_queue_is_empty(sqs, provisioned)
        await play(pending)
        await play(results_dry)
        await play(results)
        await wait_until_queue_is_empty(sqs, provisioned)
        images = await wait_until_processed(dynamodb, restored, *ids, "img_waiting")

    # Everything is completed, stored and counted once; the table has the settings of the stack.
    assert {image.status for image in images} == {"completed"}
    for image in images:
        for rendition in image.renditions.values():
            head = await s3.head_object(Bucket=provisioned.results_bucket, Key=rendition.key)
            assert head["ETag"].strip('"') == rendition.e_tag
    assert await totals(run) == counted(images)
    table = (await dynamodb.describe_table(TableName=new))["Table"]
    assert len(table["GlobalSecondaryIndexes"]) == 3
    ttl = (await dynamodb.describe_time_to_live(TableName=new))["TimeToLiveDescription"]
    assert (ttl.get("AttributeName"), ttl["TimeToLiveStatus"]) == ("ttl", "ENABLED")
    backups = (await dynamodb.describe_continuous_backups(TableName=new))["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    deployed = (await cloudformation.describe_stacks(StackName=stack))["Stacks"][0]
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in deployed["Parameters"]}
    assert (parameters["TableName"], parameters["AdditionalTableName"]) == (old, new)
    statements = template("storage.yaml")["Resources"]["WorkerPolicy"]["Properties"]["PolicyDocument"][
        "Statement"
    ]
    (write,) = (each for each in statements if each.get("Sid") == "WriteRecords")
    arns = [
        re.sub(r"\$\{(\w+)\}", lambda found: parameters.get(found[1], "*"), str(each))
        for each in [write["Resource"][0]["Fn::Sub"], write["Resource"][1]["Fn::If"][1]["Fn::Sub"]]
    ]
    assert any(table["TableArn"].endswith(arn.rpartition(":")[2]) for arn in arns)
