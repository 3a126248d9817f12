"""Records that are damaged, or that a newer version wrote: they are reported, and stop nothing else."""

import copy
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import Command, CommandResult
from tests.support.pictures import encoded, quadrants
from tests.support.whole_worker import (
    USER,
    running_worker,
    upload,
    wait_until_processed,
    wait_until_queue_is_empty,
)
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

Item = dict[str, Any]


def changed(*path: str, value: Item | None) -> Callable[[Item], None]:
    """Return the change of one attribute of an item in DynamoDB's format; None removes it."""

    def change(item: Item) -> None:
        *parents, last = path
        for name in parents:
            item = item[name]["M"]
        if value is None:
            del item[last]
        else:
            item[last] = value

    return change


def with_first_entry(**values: Item) -> Callable[[Item], None]:
    """Return the change of the first entry of the history."""

    def change(item: Item) -> None:
        item["history"]["L"][0]["M"].update(values)

    return change


DAMAGES: dict[str, Callable[[Item], None]] = {
    "step-status": changed("processingSteps", "validation", "status", value={"N": "7"}),
    "step-time": changed("processingSteps", "resize", "startedAt", value={"N": "7"}),
    "steps": changed("processingSteps", value={"S": "owned"}),
    "attempt": changed("attempt", value={"S": "1"}),
    "no-attempt": changed("attempt", value=None),
    "created": changed("createdAt", value={"S": "yesterday"}),
    "updated": changed("updatedAt", value={"S": "0001-01-01T00:00:00+14:00"}),
    "file-name": changed("originalFileName", value={"N": "7"}),
    "binary": changed("history", value={"BS": [b"\xff"]}),
    "set": changed("renditions", value={"NS": ["1", "2"]}),
    "rendition": changed("renditions", "medium", "width", value={"N": "-1"}),
    "huge": changed("originalFileSize", value={"N": "1" + "0" * 50}),
    "no-key": changed("originalS3Key", value=None),
    "history": changed("history", value={"M": {}}),
    "entry-step": with_first_entry(step={"N": "7"}),
    "entry-time": with_first_entry(at={"S": "soon"}),
    "lease": changed("leaseOwner", value={"S": "worker/1"}),
    "error": changed("error", value={"M": {"code": {"S": "x"}}}),
    "ttl": changed("ttl", value={"S": "never"}),
    "tags": changed("tags", value={"L": [{"N": "1"}]}),
}
HARMLESS: dict[str, Callable[[Item], None]] = {
    "newer-step": changed("processingSteps", "sharpen", value={"M": {"status": {"S": "completed"}}}),
    "newer-step-status": changed("processingSteps", "validation", "status", value={"S": "deferred"}),
    "newer-attribute": changed("colours", value={"BS": [b"\xff"]}),
    "owner-metadata": changed("metadata", value={"M": {"rating": {"N": "5"}}}),
}


async def damage(dynamodb: "DynamoDBClient", settings: Settings) -> dict[str, Item]:
    """Damage the record of each image; return the items by image id."""
    items = {}
    for image_id, change in (DAMAGES | HARMLESS).items():
        item = copy.deepcopy(await stored_item(dynamodb, settings, image_id))
        change(item)
        await dynamodb.put_item(TableName=settings.table_name, Item=item)
        items[image_id] = item
    return items


async def stored_item(dynamodb: "DynamoDBClient", settings: Settings, image_id: str) -> Item:
    key: Any = {"imageId": {"S": image_id}, "userId": {"S": USER}}
    response = await dynamodb.get_item(TableName=settings.table_name, Key=key, ConsistentRead=True)
    item: Any = response["Item"]
    return dict(item)


def assert_reported(ended: CommandResult, *, status: int = 1) -> Any:
    """Assert that the command reported each damaged record and ended; return its JSON."""
    assert "Traceback" not in ended.stderr
    assert "this is a bug" not in ended.stderr
    assert ended.status == status, ended.stderr
    return json.loads(ended.stdout) if ended.stdout.startswith("{") else None


@pytest.mark.timeout(300)
async def test_damaged_records_are_reported_and_stop_neither_commands_nor_workers(
    s3: "S3Client",
    sqs: "SQSClient",
    dynamodb: "DynamoDBClient",
    provisioned: Settings,
    with_resources: Command,
) -> None:
    picture = encoded(quadrants(80, 50))
    async with running_worker(provisioned):
        for image_id in (*DAMAGES, *HARMLESS, "good"):
            await upload(s3, provisioned, image_id, picture)
        await wait_until_processed(dynamodb, provisioned, *DAMAGES, *HARMLESS, "good")
        await wait_until_queue_is_empty(sqs, provisioned)
    before = await damage(dynamodb, provisioned)
    run = with_resources.run
    readable = {*HARMLESS, "good"}

    # Lists show the others, and name what they leave out.
    listed = assert_reported(await run("images", "list", "--user", USER, "--limit", "100", "--json"))
    assert readable <= {image["imageId"] for image in listed["images"]}
    assert {"file-name", "created", "huge", "no-key", "ttl"} == {
        each["imageId"] for each in listed["unreadable"]
    }

    # Commands about one image explain what is wrong with it.
    for image_id, name, *options in (
        ("step-status", "get"),
        ("created", "get", "--user", USER),
        ("set", "retry"),
        ("history", "reprocess", "--user", USER),
        ("lease", "retention", "--forever"),
    ):
        ended = await run("images", name, image_id, *options)
        assert_reported(ended)
        assert f"the record of image {image_id} of user {USER} cannot be read: attribute" in ended.stderr
    assert_reported(await run("images", "get", "owner-metadata"), status=0)

    # Repairs of many images repair the others.
    checked = assert_reported(await run("reconcile", "--older-than", "0", "--json"), status=0)
    assert checked["counts"] == {}
    repaired = assert_reported(await run("images", "reprocess", "--user", USER, "--json"))
    assert repaired["counts"]["reprocessed"] == len(readable)
    assert repaired["counts"]["failed"] == len(DAMAGES)
    assert_reported(await run("enqueue", f"s3://{provisioned.bucket}/uploads/", "--json"))

    # Workers process the others, and send the uploads whose records cannot be read to the dead-letter queue.
    async with running_worker(provisioned):
        for image_id in (*DAMAGES, "new"):
            await upload(s3, provisioned, image_id, picture)
        await wait_until_processed(dynamodb, provisioned, "new", *readable)
        await wait_until_queue_is_empty(sqs, provisioned)
    dead = assert_reported(await run("queue", "dead", "--json"), status=0)
    assert {"record_unreadable"} == {letter["code"] for letter in dead["deadLetters"]}
    assert set(DAMAGES) == {letter["images"][0]["imageId"] for letter in dead["deadLetters"]}
    assert_reported(await run("queue", "redrive", "--json"))

    # Nothing was written to the damaged records.
    for image_id in DAMAGES:
        assert before[image_id] == await stored_item(dynamodb, provisioned, image_id)


async def test_a_record_that_is_damaged_during_processing_loses_its_lease_and_nothing_else(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    picture = encoded(quadrants(1200, 900))
    names = [f"img-{number}" for number in range(6)]
    async with running_worker(provisioned):
        for name in names:
            await upload(s3, provisioned, name, picture)
        key: Any = {"imageId": {"S": names[0]}, "userId": {"S": USER}}
        while True:
            response = await dynamodb.get_item(TableName=provisioned.table_name, Key=key)
            if "Item" in response:
                break
        item: Any = {**response["Item"], "status": {"S": "archived"}, "attempt": {"S": "?"}}
        await dynamodb.put_item(TableName=provisioned.table_name, Item=item)
        await wait_until_processed(dynamodb, provisioned, *names[1:])

    assert item == await stored_item(dynamodb, provisioned, names[0])
