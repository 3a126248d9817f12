"""Records and messages of the first version and of one from the future, before every command and a worker."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import Command, CommandResult
from tests.support.console import running_console
from tests.support.emulators import messages_in
from tests.support.pictures import encoded, quadrants
from tests.support.whole_worker import (
    USER,
    running_worker,
    take_notifications,
    upload,
    wait_until_processed,
    wait_until_queue_is_empty,
)
from worker.bootstrap import queue_url
from worker.domain.status import ImageStatus
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

Item = dict[str, Any]

FIRST_RECORDS = Path(__file__).parents[1] / "support" / "first_records.json"
"""Items and a job that the code of this project's first commit with a record wrote to a table and a queue."""

ADDED: Item = {
    "text": {"S": "of a newer version"},
    "fraction": {"N": "1.5"},
    "binary": {"B": b"\x00\xff"},
    "names": {"SS": ["a", "b"]},
    "nothing": {"NULL": True},
    "inner": {"M": {"list": {"L": [{"N": "0.25"}, {"BOOL": True}]}}},
}
"""Attributes that this version does not know, of each type."""


async def stored_item(dynamodb: "DynamoDBClient", settings: Settings, image_id: str) -> Item:
    key: Any = {"imageId": {"S": image_id}, "userId": {"S": USER}}
    response = await dynamodb.get_item(TableName=settings.table_name, Key=key, ConsistentRead=True)
    item: Any = response["Item"]
    return dict(item)


async def put(dynamodb: "DynamoDBClient", settings: Settings, item: Item) -> None:
    await dynamodb.put_item(TableName=settings.table_name, Item=item)


async def send(sqs: "SQSClient", settings: Settings, body: object) -> None:
    url = await queue_url(sqs, settings.queue_name)
    await sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))


def documents(ended: CommandResult, *, status: int = 0) -> Any:
    assert ended.status == status, ended.stderr
    assert "Traceback" not in ended.stderr
    return json.loads(ended.stdout)


async def test_records_and_messages_of_the_first_version_are_read_and_processed(
    s3: "S3Client",
    sqs: "SQSClient",
    dynamodb: "DynamoDBClient",
    provisioned: Settings,
    with_resources: Command,
) -> None:
    text = FIRST_RECORDS.read_text().replace("image-uploads", provisioned.bucket)
    picture = encoded(quadrants(80, 50))
    names = ["completed", "failed", "pending", "processing"]
    for name in [*names, "message"]:
        key = await upload(s3, provisioned, f"img_{name}", picture)
    await take_notifications(sqs, provisioned, len(names) + 1)
    head = await s3.head_object(Bucket=provisioned.bucket, Key=key)
    first = json.loads(text.replace("etag-1", head["ETag"].strip('"')))
    for item in first["items"].values():
        await put(dynamodb, provisioned, item)
    run = with_resources.run

    for name in names:
        assert documents(await run("images", "get", f"img_{name}", "--json"))["status"] == name
    listed = documents(await run("images", "list", "--user", USER, "--json"))
    assert {image["imageId"] for image in listed["images"]} == {f"img_{name}" for name in names}

    assert documents(await run("images", "retry", "img_failed", "--json"))["counts"] == {"retried": 1}
    assert documents(await run("images", "reprocess", "img_completed", "--json"))["counts"] == {
        "reprocessed": 1
    }
    for name in ("pending", "processing", "message"):
        await send(sqs, provisioned, {**first["message"], "key": f"uploads/{USER}/img_{name}.jpg"})
    async with running_worker(provisioned):
        images = await wait_until_processed(
            dynamodb, provisioned, *(f"img_{name}" for name in [*names, "message"])
        )
        await wait_until_queue_is_empty(sqs, provisioned)

    assert {image.status for image in images} == {ImageStatus.COMPLETED}
    user = documents(await run("users", "get", USER, "--json"))
    assert user["statistics"]["totalImages"] == len(images)
    assert user["statistics"]["totalStorageUsed"] == sum(image.total_bytes() for image in images)


def from_the_future(item: Item, *, status: str | None = None) -> Item:
    """Return an item as a version with another step, and perhaps another status, might write it."""
    item = copy.deepcopy(item) | ADDED
    item["metadata"] = {"M": {**ADDED, "rating": {"N": "4.5"}}}
    steps = item["processingSteps"]["M"]
    steps["sharpen"] = {"M": {**ADDED, "status": {"S": "completed"}}}
    item["sourceVersion"]["M"] |= ADDED
    item["leftovers"] = {"L": [{"M": {**ADDED, "key": {"S": "processed/old.jpg"}, "eTag": {"S": "old"}}}]}
    history = item["history"]["L"]
    for entry in history:
        entry["M"] |= ADDED
    history.append({"M": {**history[-1]["M"], "step": {"S": "sharpen"}, "status": {"S": "completed"}}})
    if status:
        steps["resize"]["M"]["status"] = {"S": "deferred"}
        item["error"] = {
            "M": {
                **ADDED,
                "code": {"S": "cold"},
                "message": {"S": "it is cold"},
                "step": {"S": "sharpen"},
                "retryable": {"BOOL": False},
            }
        }
        item["status"] = {"S": status}
        item["statusShard"] = {"S": item["statusShard"]["S"].replace("completed", status)}
    return item


def unknown_parts(item: Item) -> Iterator[Item]:
    """Yield the maps of an item that have attributes of a newer version."""
    yield item
    yield item["metadata"]["M"]
    yield item["sourceVersion"]["M"]
    yield item["processingSteps"]["M"]["sharpen"]["M"]
    yield item["history"]["L"][0]["M"]


def assert_kept(item: Item) -> None:
    for part in unknown_parts(item):
        assert ADDED.items() <= part.items()
    assert item["processingSteps"]["M"]["sharpen"]["M"]["status"] == {"S": "completed"}
    assert item["metadata"]["M"]["rating"] == {"N": "4.5"}


@pytest.mark.timeout(300)
async def test_records_of_a_newer_version_are_shown_and_keep_what_this_one_does_not_know(
    s3: "S3Client",
    sqs: "SQSClient",
    dynamodb: "DynamoDBClient",
    provisioned: Settings,
    with_resources: Command,
) -> None:
    picture = encoded(quadrants(80, 50))
    ids = ["img_step", "img_status"]
    async with running_worker(provisioned):
        for image_id in ids:
            await upload(s3, provisioned, image_id, picture)
        await wait_until_processed(dynamodb, provisioned, *ids)
        await wait_until_queue_is_empty(sqs, provisioned)
    items = {image_id: await stored_item(dynamodb, provisioned, image_id) for image_id in ids}
    await put(dynamodb, provisioned, from_the_future(items["img_step"]))
    archived = from_the_future(items["img_status"], status="archived")
    await put(dynamodb, provisioned, archived)
    run = with_resources.run

    # Every reader shows the names of what it does not know.
    text = (await run("images", "get", "img_step")).stdout
    assert "sharpen" in text
    text = (await run("images", "get", "img_status")).stdout
    assert "archived" in text
    assert "deferred" in text
    shown = documents(await run("images", "get", "img_status", "--json"))
    assert (shown["status"], shown["processingSteps"]["resize"]["status"]) == ("archived", "deferred")
    for query in (("list", "--user", USER), ("recent",)):
        listed = documents(await run("images", *query, "--json"))
        assert {each["imageId"]: each["status"] for each in listed["images"]} == {
            "img_step": "completed",
            "img_status": "archived",
        }
    assert (await run("images", "list", "--user", USER)).status == 0
    assert (await run("check", "--json")).status == 0
    for arguments in (("reconcile", "--older-than", "0"), ("reconcile", "--objects", "--dry-run")):
        assert documents(await run(*arguments, "--json"))["counts"].get("failed") is None
    replayed = await run("events", "replay", "--since", "2020-01-01", "--dry-run", "--json")
    assert "Traceback" not in replayed.stderr
    async with running_console(provisioned) as console:
        for path in (
            "/",
            "/images",
            f"/users/{USER}",
            *(f"/images/{image_id}?user={USER}" for image_id in ids),
            f"/failures?user={USER}",
        ):
            html = await console.html(path)
            assert "this is a bug" not in html
        assert "sharpen" in await console.html(f"/images/img_step?user={USER}")
        assert "archived" in await console.html(f"/images/img_status?user={USER}")

    # Every writer keeps it, and none writes to an image whose status it does not know.
    for name, *options in (
        ("retry",),
        ("reprocess",),
        ("retention", "--forever"),
        ("delete", "--yes"),
    ):
        ended = await run("images", name, "img_status", *options)
        assert "Traceback" not in ended.stderr + ended.stdout
        assert "this is a bug" not in ended.stderr
        assert await stored_item(dynamodb, provisioned, "img_status") == archived, name
    ended = await run("images", "retention", "img_step", "--days", "9")
    assert ended.status == 0, ended.stderr
    assert documents(await run("images", "reprocess", "img_step", "--json"))["counts"] == {"reprocessed": 1}
    assert_kept(await stored_item(dynamodb, provisioned, "img_step"))
    async with running_worker(provisioned):
        await wait_until_processed(dynamodb, provisioned, "img_step")
        await wait_until_queue_is_empty(sqs, provisioned)
        # A new upload of the image with an unknown status, and a job of a newer version, wait.
        await upload(s3, provisioned, "img_status", picture)
        await send(sqs, provisioned, {"version": 2, "key": "img", "priority": 1})
        await upload(s3, provisioned, "img_new", picture)
        await wait_until_processed(dynamodb, provisioned, "img_new")
    assert_kept(await stored_item(dynamodb, provisioned, "img_step"))
    assert await stored_item(dynamodb, provisioned, "img_status") == archived
    assert await messages_in(sqs, provisioned.queue_name) == 2
    assert documents(await run("queue", "dead", "--json"))["deadLetters"] == []


async def test_a_profile_keeps_what_this_version_does_not_know_and_can_be_forgotten(
    dynamodb: "DynamoDBClient", provisioned: Settings, with_resources: Command
) -> None:
    profile = {
        **ADDED,
        "imageId": {"S": "user_profile"},
        "userId": {"S": USER},
        "profile": {"M": {**ADDED, "preferences": {"M": {**ADDED, "watermarkEnabled": {"BOOL": True}}}}},
        "statistics": {"M": {**ADDED, "totalImages": {"N": "0"}, "totalStorageUsed": {"N": "0"}}},
    }
    await put(dynamodb, provisioned, profile)
    run = with_resources.run

    assert documents(await run("users", "get", USER, "--json"))["profile"]["text"]
    documents(await run("users", "set", USER, "--watermark", "off", "--json"))

    item = await stored_item(dynamodb, provisioned, "user_profile")
    for part in (
        item,
        item["profile"]["M"],
        item["profile"]["M"]["preferences"]["M"],
        item["statistics"]["M"],
    ):
        assert ADDED.items() <= part.items()
    assert item["profile"]["M"]["preferences"]["M"]["watermarkEnabled"] == {"BOOL": False}
    forgotten = await run("users", "forget", USER, "--yes")
    assert forgotten.status == 0, forgotten.stderr
    key: Any = {"imageId": {"S": "user_profile"}, "userId": {"S": USER}}
    assert "Item" not in await dynamodb.get_item(TableName=provisioned.table_name, Key=key)


async def test_dead_letters_of_a_newer_version_are_redriven_as_they_are(
    sqs: "SQSClient", provisioned: Settings, with_resources: Command
) -> None:
    newer: Item = {"version": 2, "images": [{"id": "img_1"}], "priority": 1.5}
    with_fields: Item = {
        "version": 1,
        "bucket": provisioned.bucket,
        "key": f"uploads/{USER}/img_1.jpg",
        "priority": 1.5,
    }
    dead = await queue_url(sqs, provisioned.dead_letter_queue_name)
    for body in (newer, with_fields):
        await sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(body))

    ended = await with_resources.run("queue", "redrive", "--json")

    assert documents(ended)["counts"] == {"redriven": 2}
    url = await queue_url(sqs, provisioned.queue_name)
    received: list[Item] = []
    while len(received) < 2:
        response = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        bodies = [json.loads(message["Body"]) for message in response["Messages"]]
        received += [body for body in bodies if "version" in body]  # without the test event of S3
    received.sort(key=lambda body: int(body["version"]))
    assert with_fields.items() <= received[0].items()
    assert received[1] == newer
