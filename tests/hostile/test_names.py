"""Uploads whose names are alike, or are not names of images: each has its own record and its own results."""

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulators import messages_in
from tests.support.pictures import encoded, quadrants
from tests.support.shared_storage import dynamodb, provisioned, s3, shared_storage, sqs, storage
from tests.support.user_profiles import profile_of
from tests.support.whole_worker import (
    USER,
    running_worker,
    take_notifications,
    wait_until_processed,
    wait_until_queue_is_empty,
)
from worker.bootstrap import build_queries, queue_url
from worker.domain.image import Image
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

__all__ = ["dynamodb", "provisioned", "s3", "shared_storage", "sqs", "storage"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def put(
    s3: "S3Client", settings: Settings, name: str, content: bytes | None = None, *, user_id: str = USER
) -> str:
    """Upload an object, by default a picture; return its key."""
    key = f"uploads/{user_id}/{name}"
    await s3.put_object(Bucket=settings.bucket, Key=key, Body=content or encoded(quadrants(320, 240)))
    return key


async def all_images(dynamodb: "DynamoDBClient", settings: Settings, user_id: str = USER) -> dict[str, Image]:
    """Return every image of a user by the key of its upload; fail if two have the same."""
    queries = build_queries(dynamodb, settings)
    page = await queries.images_of_user(user_id, limit=100)
    images = await queries.images([(each.image_id, user_id) for each in page.images], consistent=True)
    assert max(Counter(image.key for image in images).values()) == 1
    return {image.key: image for image in images}


async def assert_results_are_as_recorded(s3: "S3Client", settings: Settings, image: Image) -> None:
    """Assert that every result in the bucket is the one that the record names."""
    for rendition in image.renditions.values():
        head = await s3.head_object(Bucket=settings.bucket, Key=rendition.key)
        assert head["ETag"].strip('"') == rendition.e_tag
        assert head["ContentLength"] == rendition.size_bytes


SIMILAR_NAMES = {
    "size": ("pic.jpg", "pic_thumbnail.jpg"),
    "separator": ("pic.jpg", "pic@thumbnail.jpg", "pic@.jpg", "pic@thumbnail@.jpg"),
    "extension": ("a.png", "a.jpg", "a.JPG", "A.jpg", "a"),
    "two extensions": ("IMG_1.HEIC", "IMG_1.HEIC.jpg", "IMG_1.jpg"),
    "Unicode form": (
        "cafe\N{COMBINING ACUTE ACCENT}.jpg",
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}.jpg",
        "cafe.jpg",
    ),
    "folders": ("a/b.jpg", "a//b.jpg", "a/b/thumbnail.jpg", "a/b@thumbnail.jpg"),
}
"""User id, by what the names have in common -> the names of the user's uploads."""


async def test_uploads_with_similar_names_complete_with_their_own_results(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    settings = provisioned.model_copy(update={"extra_sizes": ["thumbnail"]})
    keys = {
        user_id: [await put(s3, settings, name, user_id=user_id) for name in names]
        for user_id, names in SIMILAR_NAMES.items()
    }
    url = await queue_url(sqs, settings.queue_name)
    bodies = await take_notifications(sqs, settings, sum(map(len, keys.values())))
    for body in bodies * 2:
        await sqs.send_message(QueueUrl=url, MessageBody=body)

    async with running_worker(settings):
        await wait_until_queue_is_empty(sqs, settings)

    for user_id, of_user in keys.items():
        images = await all_images(dynamodb, settings, user_id)
        assert {key: images[key].status for key in of_user} == dict.fromkeys(of_user, "completed")
        for image in images.values():
            await assert_results_are_as_recorded(s3, settings, image)
        stored = [rendition.key for image in images.values() for rendition in image.renditions.values()]
        assert len(set(stored)) == len(stored) == 2 * len(of_user), user_id
        profile = await profile_of(dynamodb, settings, user_id)
        assert profile
        assert profile.statistics.total_images == len(of_user)


@pytest.mark.parametrize("names", [("IMG_0001.HEIC", "IMG_0001.MOV"), ("IMG_0001.MOV", "IMG_0001.HEIC")])
async def test_the_film_of_a_live_photo_leaves_the_record_of_the_photo_unchanged(
    s3: "S3Client",
    sqs: "SQSClient",
    dynamodb: "DynamoDBClient",
    provisioned: Settings,
    names: tuple[str, str],
) -> None:
    film = b"\0\0\0\x14ftypqt  \0\0\2\0qt  " + bytes(1000)
    async with running_worker(provisioned):
        for name in names:
            await put(s3, provisioned, name, film if name.endswith("MOV") else None)
            image_id = name if name.endswith("MOV") else "IMG_0001"
            await wait_until_processed(dynamodb, provisioned, image_id)
        await wait_until_queue_is_empty(sqs, provisioned)

    images = await all_images(dynamodb, provisioned)
    photo = images[f"uploads/{USER}/IMG_0001.HEIC"]
    assert (photo.image_id, photo.status, photo.attempt) == ("IMG_0001", "completed", 1)
    await assert_results_are_as_recorded(s3, provisioned, photo)
    assert images[f"uploads/{USER}/IMG_0001.MOV"].status == "failed"


async def test_a_new_version_of_an_upload_with_a_taken_name_replaces_its_own_record(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with running_worker(provisioned):
        first = await put(s3, provisioned, "a.png")
        await wait_until_processed(dynamodb, provisioned, "a")
        second = await put(s3, provisioned, "a.jpg")
        await wait_until_processed(dynamodb, provisioned, "a.jpg")
        await wait_until_queue_is_empty(sqs, provisioned)
        await put(s3, provisioned, "a.jpg", encoded(quadrants(200, 200)))
        await wait_until_queue_is_empty(sqs, provisioned)

    images = await all_images(dynamodb, provisioned)
    assert {first: ("a", 1), second: ("a.jpg", 2)} == {
        key: (image.image_id, image.attempt) for key, image in images.items()
    }


async def test_a_result_of_another_image_is_never_overwritten(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    key = f"processed/{USER}/pic.jpg"
    planted = await s3.put_object(
        Bucket=provisioned.bucket,
        Key=key,
        Body=b"another's",
        Metadata={"image": "user_2/pic", "attempt": "1"},
    )
    async with running_worker(provisioned):
        await put(s3, provisioned, "pic.jpg")
        (image,) = await wait_until_processed(dynamodb, provisioned, "pic")
        await wait_until_queue_is_empty(sqs, provisioned)

    assert image.error
    assert (image.status, image.error.code) == ("failed", "result_key_taken")
    assert "is a result of image user_2/pic" in image.error.message
    found = await s3.head_object(Bucket=provisioned.bucket, Key=key)
    assert found["ETag"] == planted["ETag"]


async def test_a_result_that_an_earlier_version_stored_for_another_image_is_not_overwritten(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    key = f"processed/{USER}/pic_thumbnail.jpg"
    metadata = {"attempt": "1", "recipe": "0" * 16, "source-etag": "a" * 32}
    planted = await s3.put_object(Bucket=provisioned.bucket, Key=key, Body=b"another's", Metadata=metadata)
    async with running_worker(provisioned):
        await put(s3, provisioned, "pic_thumbnail.jpg")
        (image,) = await wait_until_processed(dynamodb, provisioned, "pic_thumbnail")

    assert image.error
    assert image.error.code == "result_key_taken"
    found = await s3.head_object(Bucket=provisioned.bucket, Key=key)
    assert found["ETag"] == planted["ETag"]


async def test_a_result_of_the_image_itself_by_an_earlier_version_is_replaced(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    metadata = {"attempt": "1", "recipe": "0" * 16, "source-etag": "a" * 32}
    await s3.put_object(
        Bucket=provisioned.bucket, Key=f"processed/{USER}/pic.jpg", Body=b"old", Metadata=metadata
    )
    async with running_worker(provisioned):
        await put(s3, provisioned, "pic.jpg")
        (image,) = await wait_until_processed(dynamodb, provisioned, "pic")

    assert image.status == "completed"
    await assert_results_are_as_recorded(s3, provisioned, image)


async def test_folders_and_events_of_other_kinds_become_neither_images_nor_dead_letters(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    key = await put(s3, provisioned, "pic.jpg")
    for folder in (f"uploads/{USER}/", "uploads/", f"uploads/{USER}/2024/"):
        await s3.put_object(Bucket=provisioned.bucket, Key=folder, Body=b"")
    url = await queue_url(sqs, provisioned.queue_name)
    kinds = ("Object Deleted", "Object Tags Added", "Object Restore Completed")
    detail: Any = {"bucket": {"name": provisioned.bucket}, "object": {"key": key}}
    for kind in kinds:
        event = {"source": "aws.s3", "detail-type": kind, "detail": detail}
        await sqs.send_message(QueueUrl=url, MessageBody=json.dumps(event))

    async with running_worker(provisioned):
        await wait_until_processed(dynamodb, provisioned, "pic")
        await wait_until_queue_is_empty(sqs, provisioned)

    assert set(await all_images(dynamodb, provisioned)) == {key}
    assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 0


async def test_uploads_at_the_same_time_under_one_image_id_are_two_images(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    names = [f"{number}.{extension}" for number in range(10) for extension in ("png", "jpg")]
    async with running_worker(provisioned):
        keys = await asyncio.gather(*(put(s3, provisioned, name) for name in names))
        await wait_until_queue_is_empty(sqs, provisioned)

    images = await all_images(dynamodb, provisioned)
    assert set(images) == set(keys)
    assert {image.status for image in images.values()} == {"completed"}
    for image in images.values():
        await assert_results_are_as_recorded(s3, provisioned, image)
