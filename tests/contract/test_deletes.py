"""Conditional deletions of objects, which the emulators have to treat as S3 does."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.support.emulators import client, unique_settings
from tests.support.retry import NO_WAIT
from worker.s3.deletes import delete_object
from worker.s3.heads import head_object

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

BUCKET, KEY = "conditional-deletions", "processed/user_1/img_1.jpg"


@pytest.fixture(params=["ministack", "moto"])
async def bucket(
    request: pytest.FixtureRequest, ministack_endpoint: str, moto_endpoint: str
) -> AsyncIterator["S3Client"]:
    """A client of an S3 with the bucket."""
    settings = unique_settings(ministack_endpoint if request.param == "ministack" else moto_endpoint)
    async with client("s3", settings) as s3:
        await s3.create_bucket(Bucket=BUCKET)
        yield s3
        await s3.delete_object(Bucket=BUCKET, Key=KEY)
        await s3.delete_bucket(Bucket=BUCKET)


async def deleted(s3: "S3Client", e_tag: str) -> bool:
    return await delete_object(s3, bucket=BUCKET, key=KEY, e_tag=e_tag, retry=NO_WAIT)


async def exists(s3: "S3Client") -> bool:
    head = await head_object(s3, {"Bucket": BUCKET, "Key": KEY}, retry=NO_WAIT, what="read the object")
    return head is not None


async def test_an_object_with_the_e_tag_is_deleted(bucket: "S3Client") -> None:
    stored = await bucket.put_object(Bucket=BUCKET, Key=KEY, Body=b"1")

    assert await deleted(bucket, stored["ETag"])

    assert not await exists(bucket)


async def test_an_object_that_has_been_replaced_stays(bucket: "S3Client") -> None:
    first = await bucket.put_object(Bucket=BUCKET, Key=KEY, Body=b"1")
    await bucket.put_object(Bucket=BUCKET, Key=KEY, Body=b"2")

    assert not await deleted(bucket, first["ETag"])

    assert await exists(bucket)


async def test_an_object_that_is_gone_counts_as_deleted(bucket: "S3Client") -> None:
    assert await deleted(bucket, "0" * 32)
