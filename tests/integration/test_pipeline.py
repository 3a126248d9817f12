"""The whole worker in one process, on a real emulator with real decoder children."""

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image as Picture

from tests.support.pictures import encoded, opened, scene
from tests.support.profiles import DISPLAY_P3, in_srgb, rgb_profile
from tests.support.user_profiles import profile_of
from tests.support.whole_worker import USER, announcements, emptied, ended, put, working
from worker.bootstrap import build_profile_store, queue_url
from worker.domain.clock import from_text
from worker.domain.status import StepName
from worker.dynamodb.attributes import decode_map
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient


async def test_the_record_of_a_completed_picture_has_every_attribute_that_was_promised(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with working(provisioned):
        await put(
            s3,
            provisioned,
            "img_1",
            encoded(scene(1920, 1080)),
            tags="vacation,family",
            description="A beach",
        )
        (image,) = await ended(dynamodb, provisioned, "img_1")

    key: Any = {"imageId": {"S": "img_1"}, "userId": {"S": USER}}
    item = decode_map((await dynamodb.get_item(TableName=provisioned.table_name, Key=key))["Item"])
    promised = {
        "imageId", "userId", "originalFileName", "originalFileSize", "originalFileType", "originalS3Key",
        "processedS3Key", "status", "processingSteps", "createdAt", "updatedAt", "processedAt", "tags",
        "metadata", "sourceBucket", "sourceVersion", "attempt", "recipe", "renditions", "history",
        "statusShard", "dateShard",
    }  # fmt: skip
    assert promised <= item.keys()
    steps: Any = item["processingSteps"]
    assert steps["validation"]["result"] == "valid"
    assert steps["resize"]["dimensions"] == {
        "original": {"width": 1920, "height": 1080},
        "processed": {"width": 800, "height": 450},
    }
    assert (steps["watermark"]["watermarkType"], steps["watermark"]["watermarkText"]) == (
        "text",
        "Processed by Image Platform",
    )
    assert steps["validation"]["completedAt"] == steps["resize"]["startedAt"]
    assert steps["resize"]["completedAt"] == steps["watermark"]["startedAt"]
    times = [from_text(step[at]) for step in steps.values() for at in ("startedAt", "completedAt")]
    assert times == sorted(times)
    assert (item["tags"], item["metadata"]) == (["vacation", "family"], {"description": "A beach"})
    result = await s3.head_object(Bucket=provisioned.bucket, Key=str(item["processedS3Key"]))
    assert result["ETag"].strip('"') == image.renditions["medium"].e_tag


async def test_twenty_uploads_announced_three_times_over_are_done_and_counted_once(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image_ids = [f"img_{number}" for number in range(20)]
    for image_id in image_ids:
        await put(s3, provisioned, image_id, encoded(scene(640, 480)))
    url = await queue_url(sqs, provisioned.queue_name)
    bodies = await announcements(sqs, provisioned, 20)
    for body in bodies * 3:
        await sqs.send_message(QueueUrl=url, MessageBody=body)

    async with working(provisioned):
        images = await ended(dynamodb, provisioned, *image_ids)
        await emptied(sqs, provisioned)

    assert [(image.status, image.attempt) for image in images] == [("completed", 1)] * 20
    listed = await s3.list_objects_v2(Bucket=provisioned.bucket, Prefix="processed/")
    assert listed["KeyCount"] == 20
    profile = await profile_of(dynamodb, provisioned, USER)
    assert profile
    assert profile.statistics.total_images == 20
    assert profile.statistics.total_storage_used == sum(image.total_bytes() for image in images)


async def test_one_upload_announced_in_every_shape_is_one_image(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    key = await put(s3, provisioned, "img 1+ü", encoded(scene(320, 240)))
    (notification,) = await announcements(sqs, provisioned, 1)
    found = json.loads(notification)["Records"][0]["s3"]["object"]
    event = {
        "detail-type": "Object Created",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "detail": {
            "bucket": {"name": provisioned.bucket},
            "object": {"key": key, "etag": found["eTag"], "sequencer": found["sequencer"]},
        },
    }
    own = {"version": 1, "bucket": provisioned.bucket, "key": key, "eTag": found["eTag"]}
    wrapped = {"Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": notification}
    url = await queue_url(sqs, provisioned.queue_name)
    for body in (notification, *(json.dumps(shape) for shape in (wrapped, event, own))):
        await sqs.send_message(QueueUrl=url, MessageBody=body)

    async with working(provisioned):
        (image,) = await ended(dynamodb, provisioned, "img 1+ü")
        await emptied(sqs, provisioned)

    assert (image.status, image.attempt, image.key) == ("completed", 1, key)


async def test_a_message_that_nobody_can_read_becomes_a_dead_letter_and_blocks_nothing(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    url = await queue_url(sqs, provisioned.queue_name)
    await sqs.send_message(QueueUrl=url, MessageBody="what is this?")

    async with working(provisioned):
        await put(s3, provisioned, "img_1", encoded(scene(320, 240)))
        (image,) = await ended(dynamodb, provisioned, "img_1")
        await emptied(sqs, provisioned)

    assert image.status == "completed"
    dead_url = await queue_url(sqs, provisioned.dead_letter_queue_name)
    answer = await sqs.receive_message(QueueUrl=dead_url, MessageAttributeNames=["All"], WaitTimeSeconds=2)
    (letter,) = answer["Messages"]
    assert letter["Body"] == "what is this?"
    assert letter["MessageAttributes"]["code"]["StringValue"] == "unreadable"


async def test_a_newer_upload_of_the_same_key_replaces_the_result_and_counts_once(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with working(provisioned):
        await put(s3, provisioned, "img_1", encoded(scene(320, 240)))
        (first,) = await ended(dynamodb, provisioned, "img_1")
        await put(s3, provisioned, "img_1", encoded(scene(300, 300)))
        async with asyncio.timeout(30):
            while (second := (await ended(dynamodb, provisioned, "img_1"))[0]).version == first.version:
                pass

    assert (first.renditions["medium"].height, second.renditions["medium"].height) == (240, 300)
    profile = await profile_of(dynamodb, provisioned, USER)
    assert profile
    assert (profile.statistics.total_images, profile.statistics.total_storage_used) == (
        1,
        second.total_bytes(),
    )


async def test_an_item_past_its_ttl_is_gone_and_the_next_upload_begins_anew(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with working(provisioned):
        key = await put(s3, provisioned, "img_1", encoded(scene(320, 240)))
        await ended(dynamodb, provisioned, "img_1")
        await dynamodb.update_item(
            TableName=provisioned.table_name,
            Key={"imageId": {"S": "img_1"}, "userId": {"S": USER}},
            UpdateExpression="SET #ttl = :past",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={":past": {"N": "1"}},
        )
        await s3.copy_object(
            Bucket=provisioned.bucket,
            Key=key,
            CopySource={"Bucket": provisioned.bucket, "Key": key},
            MetadataDirective="REPLACE",
        )
        async with asyncio.timeout(30):
            while (image := (await ended(dynamodb, provisioned, "img_1"))[0]).ttl is not None:
                pass

    assert image.status == "completed"
    assert [entry.status for entry in image.history][:2] == ["pending", "processing"]


async def test_a_wide_gamut_picture_is_stored_in_the_colours_that_it_shows(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    picture = Picture.new("RGB", (300, 300), (200, 100, 50))
    async with working(provisioned):
        await put(s3, provisioned, "img_1", encoded(picture, "PNG", icc_profile=rgb_profile(DISPLAY_P3)))
        (image,) = await ended(dynamodb, provisioned, "img_1")

    answer = await s3.get_object(Bucket=provisioned.bucket, Key=str(image.processed_key))
    async with answer["Body"] as body:
        result = opened(await body.read())
    assert "icc_profile" not in result.info
    assert result.convert("RGB").getpixel((20, 20)) == pytest.approx(
        in_srgb((200, 100, 50), DISPLAY_P3), abs=3
    )


async def test_an_owner_s_logo_marks_the_owner_s_pictures(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    logo = encoded(Picture.new("RGBA", (200, 100), (255, 0, 0, 255)), "PNG")
    await s3.put_object(Bucket=provisioned.bucket, Key="logos/acme.png", Body=logo)
    wish = {"watermarkImage": "acme.png"}
    await build_profile_store(dynamodb, provisioned).set_preferences(USER, wish, now=datetime.now(UTC))

    async with working(provisioned):
        await put(s3, provisioned, "img_1", encoded(Picture.new("RGB", (800, 600), (0, 0, 255)), "PNG"))
        (image,) = await ended(dynamodb, provisioned, "img_1")

    assert image.steps[StepName.WATERMARK].detail["watermarkType"] == "image"
    answer = await s3.get_object(Bucket=provisioned.bucket, Key=str(image.processed_key))
    async with answer["Body"] as body:
        result = opened(await body.read()).convert("RGB")
    reds = [result.getpixel((x, y))[0] for x in range(400, 800, 4) for y in range(300, 600, 4)]  # type: ignore[index]
    assert max(reds) > 80
    assert result.getpixel((50, 50)) == (0, 0, 255)
