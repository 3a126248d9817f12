"""Recipes by key and user through the whole worker, and what a change of one of them reprocesses."""

import asyncio
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image as Picture

from tests.support.pictures import animation, encoded, quadrants
from tests.support.repairs import open_tool
from tests.support.whole_worker import running_worker, wait_until_processed
from worker.cli.support.report import Report
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.recipe_settings import recipe_rules
from worker.repair.reprocess import reprocess_images
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

OWNER = "alice"
SIZES: dict[str, Any] = {
    "square": {"width": 64, "height": 64, "fit": "cover"},
    "card": {"width": 360, "height": 240, "fit": "cover", "format": "webp"},
    "page": {"width": 300, "height": 400, "format": "png"},
}
RECIPES: list[dict[str, Any]] = [
    {"match": "uploads/*/avatars/**", "sizes": ["square"], "watermark": False},
    {"match": "uploads/*/products/**", "sizes": ["card", "thumbnail"], "cache_control": "max-age=60"},
    {"match": "uploads/*/scans/**", "sizes": ["page"], "watermark": False},
    {"match": "uploads/*/screenshots/**", "sizes": ["medium"], "format": "auto"},
    {"match": "uploads/*/*.gif", "sizes": ["medium"], "animation": "keep"},
]
PHOTO = encoded(quadrants(400, 300))
UPLOADS = {
    "avatars/me.jpg": PHOTO,
    "products/shoe.jpg": PHOTO,
    "scans/letter.jpg": PHOTO,
    "screenshots/desk.png": encoded(quadrants(400, 300), "PNG"),
    "wave.gif": animation("GIF", frames=3),
    "beach.jpg": PHOTO,
}


def with_recipes(settings: Settings, *recipes: dict[str, Any]) -> Settings:
    read = Settings.model_validate({"sizes": SIZES, "recipes": list(recipes)})
    return settings.model_copy(update={"sizes": read.sizes, "recipes": read.recipes})


async def test_each_upload_is_made_by_the_first_recipe_that_matches_its_key(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    settings = with_recipes(provisioned, *RECIPES)
    images = await processed(settings, s3, dynamodb)
    found = {
        name: (dict(sizes_of(image)), image.steps[StepName.WATERMARK].status is StepStatus.COMPLETED)
        for name, image in images.items()
    }
    assert found == {
        "avatars/me.jpg": ({"square": ("jpeg", 64, 64)}, False),
        "products/shoe.jpg": ({"card": ("webp", 360, 240), "thumbnail": ("jpeg", 150, 113)}, True),
        "scans/letter.jpg": ({"page": ("png", 300, 225)}, False),
        "screenshots/desk.png": ({"medium": ("png", 400, 300)}, True),
        "wave.gif": ({"medium": ("gif", 40, 30)}, False),  # too small for the text
        "beach.jpg": ({"medium": ("jpeg", 400, 300)}, True),
    }
    wave = await s3.get_object(Bucket=settings.results_bucket, Key=images["wave.gif"].processed_key or "")
    with Picture.open(BytesIO(await wave["Body"].read())) as result:
        assert getattr(result, "n_frames", 1) == 3
    card = await s3.head_object(
        Bucket=settings.results_bucket, Key=images["products/shoe.jpg"].processed_key or ""
    )
    assert card["CacheControl"] == "max-age=60"


async def test_a_changed_recipe_reprocesses_only_the_images_that_it_concerns(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    images = await processed(with_recipes(provisioned, *RECIPES), s3, dynamodb)
    avatars, products, *others = RECIPES
    changed = with_recipes(provisioned, avatars, {**products, "quality": 40}, *others)
    report = Report("testing")
    async with open_tool(changed, dry_run=True, report=report) as repairs:
        await reprocess_images(repairs, list(images.values()), before=None, recipe_changed=True)
    assert dict(report.counts) == {"reprocessed": 1, "up to date": len(UPLOADS) - 1}


async def test_the_configuration_file_may_be_in_s3(
    provisioned: Settings, s3: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provisioned.endpoint_url
    monkeypatch.setenv("AWS_ENDPOINT_URL", provisioned.endpoint_url)
    monkeypatch.setenv("AWS_REGION", provisioned.region or "")
    url = f"s3://{provisioned.bucket}/settings/worker.toml"
    monkeypatch.setenv("WORKER_CONFIG_FILE", url)
    with pytest.raises(
        ConfigurationError, match=r"cannot be read: .*; correct WORKER_CONFIG_FILE or --config"
    ):
        await asyncio.to_thread(Settings)
    content = b'quality = 70\n[[recipes]]\nsizes = ["tiny"]\n'
    await s3.put_object(Bucket=provisioned.bucket, Key="settings/worker.toml", Body=content)
    settings = await asyncio.to_thread(Settings)
    assert settings.quality == 70
    with pytest.raises(
        ConfigurationError, match=re.escape(f"{url}:3: recipes[1].sizes[1]: there is no size")
    ):
        await asyncio.to_thread(recipe_rules, settings)


async def processed(settings: Settings, s3: "S3Client", dynamodb: "DynamoDBClient") -> dict[str, Image]:
    """Upload all files, and return their images by the name of the file."""
    ids = {name: name.rpartition(".")[0] for name in UPLOADS}
    async with running_worker(settings):
        for name, content in UPLOADS.items():
            await s3.put_object(Bucket=settings.bucket, Key=f"uploads/{OWNER}/{name}", Body=content)
        found = await wait_until_processed(dynamodb, settings, *ids.values(), user_id=OWNER)
    assert {image.status for image in found} == {ImageStatus.COMPLETED}
    return dict(zip(ids, found, strict=True))


def sizes_of(image: Image) -> dict[str, tuple[str, int, int]]:
    return {name: (each.format, each.width, each.height) for name, each in image.renditions.items()}
