"""Real photographs in a pool of real decoder processes; skipped if IMAGE_WORKER_PHOTOS has none."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import ExifTags

from tests.support.pictures import difference, opened
from tests.support.pools import ALL_OUTPUTS, MEDIUM, RECIPE, make_pool, outputs_of
from worker.decoder_pool.pool import DecoderPool
from worker.domain.errors import (
    RejectedError,
)
from worker.domain.step import EncodedRendition, StepReport

PHOTOS = Path(os.environ.get("IMAGE_WORKER_PHOTOS", Path(__file__).parents[2] / ".." / "shared" / "photos"))
pytestmark = pytest.mark.skipif(not PHOTOS.is_dir(), reason="IMAGE_WORKER_PHOTOS is not a folder")


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    async with make_pool() as started:
        yield started


async def test_photographs_of_every_orientation_make_the_same_rendition(pool: DecoderPool) -> None:
    unmarked = replace(RECIPE, sizes=(MEDIUM,), watermark=None)
    images = []
    for number in range(1, 9):
        *_, rendition = await outputs_of(pool, (PHOTOS / f"orientation_{number}.jpg").read_bytes(), unmarked)
        assert isinstance(rendition, EncodedRendition)
        images.append(opened(rendition.content))
    assert {image.size for image in images} == {(800, 533)}
    assert all(difference(images[0], image) < 3 for image in images)


@pytest.mark.parametrize("name", ["phone_gps_9mp.jpg", "iphone_8mp.jpg", "iphone_13_pro_max.heic"])
async def test_the_location_of_a_photograph_is_not_in_its_renditions(pool: DecoderPool, name: str) -> None:
    content = (PHOTOS / name).read_bytes()
    allowed = replace(RECIPE, record_location=True)
    reports = [
        output for output in await outputs_of(pool, content, allowed) if isinstance(output, StepReport)
    ]
    has_location = "location" in reports[0].metadata
    assert has_location or name.endswith(".heic")  # the HEIC was published without it
    for output in await outputs_of(pool, content):
        if isinstance(output, StepReport):
            assert "location" not in output.metadata
        else:
            exif = opened(output.content).getexif()
            assert not exif.get_ifd(ExifTags.IFD.GPSInfo)
            assert b"GPS" not in bytes(output.content)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("truncated.png", "truncated"),
        ("not_an_image.jpg", "not_an_image"),
    ],
)
async def test_damaged_files_are_rejected(pool: DecoderPool, name: str, code: str) -> None:
    with pytest.raises(RejectedError) as rejected:
        await outputs_of(pool, (PHOTOS / name).read_bytes())
    assert rejected.value.code == code


@pytest.mark.parametrize(
    "name",
    [
        "animated.gif",
        "animated.webp",
        "big_icc_profile.jpg",
        "cmyk.jpg",
        "flower.webp",
        "iphone_13_pro_max.heic",
        "iphone_8mp.jpg",
        "multi_picture.mpo",
        "phone_gps_9mp.jpg",
        "rgb16.tiff",
        "transparent.png",
    ],
)
async def test_photographs_of_every_format_complete(pool: DecoderPool, name: str) -> None:
    outputs = await outputs_of(pool, (PHOTOS / name).read_bytes())
    assert len(outputs) == ALL_OUTPUTS
    assert all(
        "ocation" not in output.metadata and "gps" not in str(output.metadata).casefold()
        for output in outputs
        if isinstance(output, StepReport)
    )
