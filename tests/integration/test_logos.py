"""Watermark logos in an S3 bucket or a file."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.builders import a_recipe
from worker.bootstrap import RETRY_POLICIES
from worker.domain.recipe import Logo, Recipe
from worker.s3.logos import Logos
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def source(provisioned: Settings) -> str:
    return f"s3://{provisioned.bucket}/logos/acme.png"


@pytest.fixture
def logos(s3: "S3Client") -> Logos:
    return Logos(s3, retry=RETRY_POLICIES.bucket, cache_s=0)


async def put(s3: "S3Client", source: str, content: bytes) -> None:
    bucket, _, key = source.removeprefix("s3://").partition("/")
    await s3.put_object(Bucket=bucket, Key=key, Body=content)


def with_logo(source: str) -> Recipe:
    return a_recipe().with_logo(Logo(source))


async def loaded(logos: Logos, source: str) -> Logo:
    logo = (await logos.fill(with_logo(source))).logo
    assert logo is not None
    return logo


async def test_a_recipe_without_a_logo_is_returned_unchanged(logos: Logos) -> None:
    recipe = a_recipe()

    assert await logos.fill(recipe) is recipe


async def test_the_content_of_a_logo_changes_the_hash_of_the_recipe(
    s3: "S3Client", source: str, logos: Logos
) -> None:
    await put(s3, source, b"first")
    first = await loaded(logos, source)
    await put(s3, source, b"second")
    second = await loaded(logos, source)

    assert (first.content, second.content) == (b"first", b"second")
    assert a_recipe().with_logo(first).hash != a_recipe().with_logo(second).hash


async def test_a_logo_is_cached_and_then_revalidated_by_its_e_tag(s3: "S3Client", source: str) -> None:
    clock = Clock()
    logos = Logos(s3, retry=RETRY_POLICIES.bucket, cache_s=60, monotonic=clock)
    await put(s3, source, b"first")
    first = await loaded(logos, source)

    await put(s3, source, b"second")
    clock.now = 59
    assert await loaded(logos, source) == first
    clock.now = 61
    changed = await loaded(logos, source)
    assert changed.content == b"second"

    clock.now = 200
    assert await loaded(logos, source) is changed


@pytest.mark.parametrize("name", ["s3://{bucket}/logos/none.png", "/nonexistent/logo.png"])
async def test_a_missing_logo_has_no_content(provisioned: Settings, logos: Logos, name: str) -> None:
    source = name.format(bucket=provisioned.bucket)

    assert await loaded(logos, source) == Logo(source, e_tag="missing")


async def test_a_logo_that_is_too_large_is_not_read(s3: "S3Client", source: str) -> None:
    await put(s3, source, b"four")
    logos = Logos(s3, retry=RETRY_POLICIES.bucket, cache_s=60, max_bytes=3)

    assert await loaded(logos, source) == Logo(source, e_tag="too large")


async def test_a_logo_can_be_a_file(logos: Logos, tmp_path: Path) -> None:
    file = tmp_path / "logo.png"
    file.write_bytes(b"picture")

    logo = await loaded(logos, str(file))

    assert logo.content == b"picture"
    assert replace(logo, e_tag="") == Logo(str(file))
