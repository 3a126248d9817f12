"""Near duplicates of an image are found among those of its user."""

from typing import TYPE_CHECKING

from PIL import Image as Picture

from tests.support.pictures import encoded, noise, quadrants
from tests.support.whole_worker import USER, running_worker, upload, wait_until_processed
from worker.bootstrap import build_queries
from worker.dynamodb.similar import perceptual_hash, similar_images
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client


async def test_copies_in_other_sizes_and_qualities_are_found_and_other_pictures_are_not(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    picture = noise(12, 9).resize((480, 360), Picture.Resampling.BICUBIC)
    files = {
        "img_original": encoded(picture, quality=90),
        "img_smaller": encoded(picture.resize((240, 180)), quality=90),
        "img_worse": encoded(picture, quality=30),
        "img_other": encoded(quadrants(480, 360)),
        "img_broken": b"not an image",
    }
    async with running_worker(provisioned):
        for name, content in files.items():
            await upload(s3, provisioned, name, content)
        images = await wait_until_processed(dynamodb, provisioned, *files)
        key = "uploads/somebody else/img_copy.jpg"
        await s3.put_object(Bucket=provisioned.bucket, Key=key, Body=files["img_original"])
        await wait_until_processed(dynamodb, provisioned, "img_copy", user_id="somebody else")
    queries = build_queries(dynamodb, provisioned)
    search = await similar_images(queries, images[0], max_distance=10)
    assert {each.image.image_id for each in search.found} == {"img_smaller", "img_worse"}
    assert {each.image.user_id for each in search.found} == {USER}
    assert search.searched == 4
    assert [each.distance for each in search.found] == sorted(each.distance for each in search.found)
    everything = await similar_images(queries, images[0], max_distance=64)
    assert {each.image.image_id for each in everything.found} == files.keys() - {"img_original", "img_broken"}
    assert perceptual_hash(images[-1]) is None
