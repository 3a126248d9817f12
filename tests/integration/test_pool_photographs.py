"""Real photographs through the real pool, where there are some."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import ExifTags

from tests.support.pictures import difference, opened
from tests.support.pools import ALL_OUTCOMES, MEDIUM, RECIPE, make_pool, outcomes_of
from worker.decoder_pool.pool import DecoderPool
from worker.domain.errors import (
    RejectedError,
)
from worker.domain.step import EncodedRendition, StepReport
from worker.imaging.image_file import missing_extra

PHOTOS = Path(os.environ.get("IMAGE_WORKER_PHOTOS", Path(__file__).parents[2] / ".." / "shared" / "photos"))
needs_heic = pytest.mark.skipif(missing_extra("heic") is not None, reason="without the extra heic")
pytestmark = pytest.mark.skipif(not PHOTOS.is_dir(), reason="no real photographs here")


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    async with make_pool() as started:
        yield started


async def test_real_photographs_of_every_orientation_come_out_alike(pool: DecoderPool) -> None:
    unmarked = replace(RECIPE, sizes=(MEDIUM,), watermark=None)
    images = []
    for number in range(1, 9):
        *_, rendition = await outcomes_of(pool, (PHOTOS / f"orientation_{number}.jpg").read_bytes(), unmarked)
        assert isinstance(rendition, EncodedRendition)
        images.append(opened(rendition.content))
    assert {image.size for image in images} == {(800, 533)}
    assert all(difference(images[0], image) < 3 for image in images)


@pytest.mark.parametrize(
    "name", ["phone_gps_9mp.jpg", "iphone_8mp.jpg", pytest.param("iphone_13_pro_max.heic", marks=needs_heic)]
)
async def test_the_place_is_in_the_source_and_not_in_the_output(pool: DecoderPool, name: str) -> None:
    content = (PHOTOS / name).read_bytes()
    allowed = replace(RECIPE, record_location=True)
    reports = [one for one in await outcomes_of(pool, content, allowed) if isinstance(one, StepReport)]
    has_place = "location" in reports[0].metadata
    assert has_place or name.endswith(".heic")  # the HEIC was published without it
    for outcome in await outcomes_of(pool, content):
        if isinstance(outcome, StepReport):
            assert "location" not in outcome.metadata
        else:
            exif = opened(outcome.content).getexif()
            assert not exif.get_ifd(ExifTags.IFD.GPSInfo)
            assert b"GPS" not in bytes(outcome.content)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("truncated.png", "truncated"),
        ("not_an_image.jpg", "not_an_image"),
    ],
)
async def test_real_files_that_are_no_good_are_refused(pool: DecoderPool, name: str, code: str) -> None:
    with pytest.raises(RejectedError) as refused:
        await outcomes_of(pool, (PHOTOS / name).read_bytes())
    assert refused.value.code == code


@pytest.mark.parametrize(
    "name",
    [
        "animated.gif",
        "animated.webp",
        "big_icc_profile.jpg",
        "cmyk.jpg",
        "flower.webp",
        pytest.param("iphone_13_pro_max.heic", marks=needs_heic),
        "iphone_8mp.jpg",
        "multi_picture.mpo",
        "phone_gps_9mp.jpg",
        "rgb16.tiff",
        "transparent.png",
    ],
)
async def test_real_pictures_of_every_kind_complete(pool: DecoderPool, name: str) -> None:
    outcomes = await outcomes_of(pool, (PHOTOS / name).read_bytes())
    assert len(outcomes) == ALL_OUTCOMES
    assert all(
        "ocation" not in outcome.metadata and "gps" not in str(outcome.metadata).casefold()
        for outcome in outcomes
        if isinstance(outcome, StepReport)
    )
