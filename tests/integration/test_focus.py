"""The focal point in an object's metadata steers the crops of the real pipeline, and the record names it."""

from typing import TYPE_CHECKING

import pytest

from tests.support.pictures import GREEN, RED, WHITE, opened, pixel, quadrants, stored_as
from tests.support.repairs import open_tool
from tests.support.whole_worker import USER, running_worker, upload, wait_until_processed
from worker.domain.image import Image
from worker.domain.status import StepName
from worker.repair.reprocess import reprocess_images
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

TURNED = stored_as(6, upright=quadrants(600, 300))
"""A photo that the camera has stored a quarter turn to the left."""


@pytest.fixture
def cropping(provisioned: Settings) -> Settings:
    return provisioned.model_copy(
        update={
            "sizes": {
                "square": {"width": 100, "height": 100, "fit": "cover"},
                "banner": {"width": 200, "height": 20, "fit": "cover", "gravity": "bottom"},
            },
            "default_size": "square",
            "extra_sizes": ["banner"],
            "watermark_enabled": False,
        }
    )


async def corner_of(s3: "S3Client", settings: Settings, image: Image, size: str) -> tuple[int, ...]:
    """Return the pixel next to the right upper corner of a result."""
    stored = await s3.get_object(Bucket=settings.bucket, Key=image.renditions[size].key)
    picture = opened(await stored["Body"].read()).convert("RGB")
    return pixel(picture, (picture.width - 5, 5))


async def reprocess(settings: Settings, image: Image) -> None:
    async with open_tool(settings) as repairs:
        await reprocess_images(repairs, [image], before=None, recipe_changed=False)


def is_close(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= 14 for a, b in zip(found, expected, strict=True))


async def test_all_sizes_are_cropped_to_the_focal_point_also_when_the_image_is_processed_again(
    s3: "S3Client", dynamodb: "DynamoDBClient", cropping: Settings
) -> None:
    async with running_worker(cropping):
        await upload(s3, cropping, "img_left", TURNED, focus="0.1,0")
        await upload(s3, cropping, "img_right", TURNED, focus="0.9,0")
        left, right = await wait_until_processed(dynamodb, cropping, "img_left", "img_right")
        assert is_close(await corner_of(s3, cropping, left, "square"), RED)
        assert is_close(await corner_of(s3, cropping, right, "square"), GREEN)
        assert is_close(await corner_of(s3, cropping, right, "banner"), GREEN)
        assert right.steps[StepName.RESIZE].detail["focus"] == "0.9,0"
        assert "focus" not in right.metadata
        await reprocess(cropping, right)
        again = right
        while again.attempt == 1:
            (again,) = await wait_until_processed(dynamodb, cropping, "img_right")
    assert again.steps[StepName.RESIZE].detail["focus"] == "0.9,0"
    assert is_close(await corner_of(s3, cropping, again, "square"), GREEN)


async def test_the_same_file_with_another_focal_point_is_a_new_upload(
    s3: "S3Client", dynamodb: "DynamoDBClient", cropping: Settings
) -> None:
    async with running_worker(cropping):
        key = await upload(s3, cropping, "img_1", TURNED, focus="0.9,0.5")
        await wait_until_processed(dynamodb, cropping, "img_1")
        # S3 changes metadata only by a copy, which has its own event; the ETag of the content stays.
        await s3.copy_object(
            Bucket=cropping.bucket,
            Key=key,
            CopySource={"Bucket": cropping.bucket, "Key": key},
            Metadata={"focus": "0.1,1"},
            MetadataDirective="REPLACE",
        )
        attempt = 1
        while attempt == 1:
            (image,) = await wait_until_processed(dynamodb, cropping, "img_1")
            attempt = image.attempt
    assert image.steps[StepName.RESIZE].detail["focus"] == "0.1,1"
    assert is_close(await corner_of(s3, cropping, image, "square"), RED)
    assert is_close(await corner_of(s3, cropping, image, "banner"), WHITE)


async def test_a_focal_point_that_cannot_be_used_is_noted_and_the_crop_is_that_of_the_size(
    s3: "S3Client", dynamodb: "DynamoDBClient", cropping: Settings
) -> None:
    hostile = ("NaN,0", "2,2", "0.5", "\x1b[31m<b>0,0</b>".encode("unicode_escape").decode())
    names = [f"img_{number}" for number in range(len(hostile))]
    async with running_worker(cropping):
        for name, text in zip(names, hostile, strict=True):
            await upload(s3, cropping, name, TURNED, focus=text)
        images = await wait_until_processed(dynamodb, cropping, *names)
    for image, text in zip(images, hostile, strict=True):
        assert (image.status, image.user_id) == ("completed", USER)
        assert image.steps[StepName.VALIDATION].detail["ignoredMetadata"] == {
            "focus": f"{text!r} is not two numbers from 0 to 1, as in 0.4,0.2"
        }
        assert "focus" not in image.steps[StepName.RESIZE].detail
        assert is_close(await corner_of(s3, cropping, image, "banner"), WHITE)
