"""The whole worker in the test process, with an AWS emulator and real decoder processes."""

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.pictures import encoded, opened, quadrants
from tests.support.profiles import DISPLAY_P3, in_srgb, rgb_profile
from tests.support.user_profiles import profile_of
from tests.support.whole_worker import (
    USER,
    running_worker,
    take_notifications,
    upload,
    wait_until_processed,
    wait_until_queue_is_empty,
)
from worker.bootstrap import build_profile_store, queue_url
from worker.domain.clock import from_text
from worker.domain.status import StepName
from worker.dynamodb.attributes import decode_map
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient


async def test_the_record_of_a_completed_image_has_every_documented_attribute(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with running_worker(provisioned):
        await upload(
            s3,
            provisioned,
            "img_1",
            encoded(quadrants(1920, 1080)),
            tags="vacation,family",
            description="A beach",
        )
        (image,) = await wait_until_processed(dynamodb, provisioned, "img_1")

    key: Any = {"imageId": {"S": "img_1"}, "userId": {"S": USER}}
    item = decode_map((await dynamodb.get_item(TableName=provisioned.table_name, Key=key))["Item"])
    documented = {
        "imageId", "userId", "originalFileName", "originalFileSize", "originalFileType", "originalS3Key",
        "processedS3Key", "status", "processingSteps", "createdAt", "updatedAt", "processedAt", "tags",
        "metadata", "sourceBucket", "sourceVersion", "attempt", "recipe", "renditions", "history",
        "statusShard", "dateShard",
    }  # fmt: skip
    assert documented <= item.keys()
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


async def test_twenty_uploads_with_three_events_each_are_processed_and_counted_once(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image_ids = [f"img_{number}" for number in range(20)]
    for image_id in image_ids:
        await upload(s3, provisioned, image_id, encoded(quadrants(640, 480)))
    url = await queue_url(sqs, provisioned.queue_name)
    bodies = await take_notifications(sqs, provisioned, 20)
    for body in bodies * 3:
        await sqs.send_message(QueueUrl=url, MessageBody=body)

    async with running_worker(provisioned):
        images = await wait_until_processed(dynamodb, provisioned, *image_ids)
        await wait_until_queue_is_empty(sqs, provisioned)

    assert [(image.status, image.attempt) for image in images] == [("completed", 1)] * 20
    listed = await s3.list_objects_v2(Bucket=provisioned.bucket, Prefix="processed/")
    assert listed["KeyCount"] == 20
    profile = await profile_of(dynamodb, provisioned, USER)
    assert profile
    assert profile.statistics.total_images == 20
    assert profile.statistics.total_storage_used == sum(image.total_bytes() for image in images)


async def test_the_event_formats_of_one_upload_give_one_image(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    key = await upload(s3, provisioned, "img 1+ü", encoded(quadrants(320, 240)))
    (notification,) = await take_notifications(sqs, provisioned, 1)
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
    for body in (notification, *map(json.dumps, (wrapped, event, own))):
        await sqs.send_message(QueueUrl=url, MessageBody=body)

    async with running_worker(provisioned):
        (image,) = await wait_until_processed(dynamodb, provisioned, "img 1+ü")
        await wait_until_queue_is_empty(sqs, provisioned)

    assert (image.status, image.attempt, image.key) == ("completed", 1, key)


async def test_an_unreadable_message_becomes_a_dead_letter_and_blocks_nothing(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    url = await queue_url(sqs, provisioned.queue_name)
    await sqs.send_message(QueueUrl=url, MessageBody="not an event")

    async with running_worker(provisioned):
        await upload(s3, provisioned, "img_1", encoded(quadrants(320, 240)))
        (image,) = await wait_until_processed(dynamodb, provisioned, "img_1")
        await wait_until_queue_is_empty(sqs, provisioned)

    assert image.status == "completed"
    dead_url = await queue_url(sqs, provisioned.dead_letter_queue_name)
    response = await sqs.receive_message(QueueUrl=dead_url, MessageAttributeNames=["All"], WaitTimeSeconds=2)
    (letter,) = response["Messages"]
    assert letter["Body"] == "not an event"
    assert letter["MessageAttributes"]["code"]["StringValue"] == "unreadable"


async def test_a_newer_upload_of_the_same_key_replaces_the_result_and_counts_once(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with running_worker(provisioned):
        await upload(s3, provisioned, "img_1", encoded(quadrants(320, 240)))
        (first,) = await wait_until_processed(dynamodb, provisioned, "img_1")
        await upload(s3, provisioned, "img_1", encoded(quadrants(300, 300)))
        async with asyncio.timeout(30):
            while (
                second := (await wait_until_processed(dynamodb, provisioned, "img_1"))[0]
            ).version == first.version:
                pass

    assert (first.renditions["medium"].height, second.renditions["medium"].height) == (240, 300)
    profile = await profile_of(dynamodb, provisioned, USER)
    assert profile
    assert (profile.statistics.total_images, profile.statistics.total_storage_used) == (
        1,
        second.total_bytes(),
    )


async def test_an_item_past_its_ttl_does_not_exist_for_the_next_upload(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with running_worker(provisioned):
        key = await upload(s3, provisioned, "img_1", encoded(quadrants(320, 240)))
        await wait_until_processed(dynamodb, provisioned, "img_1")
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
            while (image := (await wait_until_processed(dynamodb, provisioned, "img_1"))[0]).ttl is not None:
                pass

    assert image.status == "completed"
    assert [entry.status for entry in image.history][:2] == ["pending", "processing"]


async def test_a_wide_gamut_image_is_converted_to_srgb(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image_in_p3 = Image.new("RGB", (300, 300), (200, 100, 50))
    async with running_worker(provisioned):
        await upload(
            s3, provisioned, "img_1", encoded(image_in_p3, "PNG", icc_profile=rgb_profile(DISPLAY_P3))
        )
        (image,) = await wait_until_processed(dynamodb, provisioned, "img_1")

    response = await s3.get_object(Bucket=provisioned.bucket, Key=str(image.processed_key))
    async with response["Body"] as body:
        result = opened(await body.read())
    assert "icc_profile" not in result.info
    assert result.convert("RGB").getpixel((20, 20)) == pytest.approx(
        in_srgb((200, 100, 50), DISPLAY_P3), abs=3
    )


async def test_an_owner_s_logo_is_the_watermark_of_the_owner_s_images(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    logo = encoded(Image.new("RGBA", (200, 100), (255, 0, 0, 255)), "PNG")
    await s3.put_object(Bucket=provisioned.bucket, Key="logos/acme.png", Body=logo)
    preferences = {"watermarkImage": "acme.png"}
    await build_profile_store(dynamodb, provisioned).set_preferences(USER, preferences, now=datetime.now(UTC))

    async with running_worker(provisioned):
        await upload(s3, provisioned, "img_1", encoded(Image.new("RGB", (800, 600), (0, 0, 255)), "PNG"))
        (image,) = await wait_until_processed(dynamodb, provisioned, "img_1")

    assert image.steps[StepName.WATERMARK].detail["watermarkType"] == "image"
    response = await s3.get_object(Bucket=provisioned.bucket, Key=str(image.processed_key))
    async with response["Body"] as body:
        result = opened(await body.read()).convert("RGB")
    lower_right = result.crop((400, 300, 800, 600)).resize((100, 75), Image.Resampling.NEAREST)
    assert max(lower_right.getchannel("R").tobytes()) > 80

    assert result.getpixel((50, 50)) == (0, 0, 255)
