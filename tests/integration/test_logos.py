"""Logos for watermarks, on a real S3 API."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.builders import a_recipe
from worker.domain.recipe import Logo, Recipe
from worker.s3 import logos as logos_module
from worker.s3.logos import Logos
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


class Clock:
    """Seconds that move when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def source(provisioned: Settings) -> str:
    return f"s3://{provisioned.bucket}/logos/acme.png"


async def put(s3: "S3Client", source: str, content: bytes) -> None:
    bucket, _, key = source.removeprefix("s3://").partition("/")
    await s3.put_object(Bucket=bucket, Key=key, Body=content)


def marked_with(source: str) -> Recipe:
    return a_recipe().with_logo(Logo(source))


async def test_a_recipe_without_logo_stays_as_it_is(s3: "S3Client") -> None:
    recipe = a_recipe()

    assert await Logos(s3, cache_s=60).fill(recipe) is recipe


async def test_a_logo_comes_from_the_bucket_and_changes_the_hash(s3: "S3Client", source: str) -> None:
    await put(s3, source, b"one")
    one = await Logos(s3, cache_s=60).fill(marked_with(source))
    await put(s3, source, b"other")
    other = await Logos(s3, cache_s=60).fill(marked_with(source))

    assert (one.logo and one.logo.content, other.logo and other.logo.content) == (b"one", b"other")
    assert one.hash != other.hash


async def test_a_logo_is_kept_and_compared_by_its_e_tag_after_a_while(s3: "S3Client", source: str) -> None:
    clock = Clock()
    logos = Logos(s3, cache_s=60, monotonic=clock)
    await put(s3, source, b"one")
    first = await logos.fill(marked_with(source))

    await put(s3, source, b"other")
    clock.now = 59
    assert await logos.fill(marked_with(source)) == first
    clock.now = 61
    changed = await logos.fill(marked_with(source))
    assert changed.logo is not None
    assert changed.logo.content == b"other"

    clock.now = 200
    again = await logos.fill(marked_with(source))
    assert again.logo is changed.logo


@pytest.mark.parametrize("name", ["s3://{bucket}/logos/none.png", "/nonexistent/logo.png"])
async def test_a_missing_logo_comes_without_content_and_without_error(
    s3: "S3Client", provisioned: Settings, name: str
) -> None:
    source = name.format(bucket=provisioned.bucket)

    assert (await Logos(s3, cache_s=60).fill(marked_with(source))).logo == Logo(source, e_tag="missing")


async def test_a_logo_that_is_too_large_is_not_read(
    s3: "S3Client", source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logos_module, "MAX_LOGO_BYTES", 3)
    await put(s3, source, b"four")

    assert (await Logos(s3, cache_s=60).fill(marked_with(source))).logo == Logo(source, e_tag="too large")


async def test_a_logo_may_be_a_file(s3: "S3Client", tmp_path: Path) -> None:
    file = tmp_path / "logo.png"
    file.write_bytes(b"picture")

    recipe = await Logos(s3, cache_s=60).fill(marked_with(str(file)))

    assert recipe.logo is not None
    assert recipe.logo.content == b"picture"
    assert replace(recipe.logo, e_tag="") == Logo(str(file))
