"""Reading uploads and storing results, on a real S3 API."""

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from config.settings import Settings
from tests.builders import a_claimant, a_job
from worker.domain.claim import Claimed, decide
from worker.domain.errors import LeaseLostError, SourceMissingError, SupersededError, TooManyBytesError
from worker.domain.image import Image
from worker.domain.job import Job
from worker.domain.step import EncodedRendition
from worker.objects.results import S3Results
from worker.objects.sources import S3Sources

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

KEY = "processed/user_1/img_1.jpg"


async def uploaded(s3: "S3Client", settings: Settings, content: bytes, **metadata: str) -> Job:
    """Upload the content, and return the job that means it."""
    job = a_job(e_tag=hashlib.md5(content, usedforsecurity=False).hexdigest())
    job = replace(job, bucket=settings.bucket)
    await s3.put_object(
        Bucket=job.bucket, Key=job.key, Body=content, ContentType="image/jpeg", Metadata=metadata
    )
    return job


def claimed(job: Job, *, attempt: int = 1) -> Image:
    """Return the job's image in its so-manieth attempt."""
    answer = decide(None, job, a_claimant())
    assert isinstance(answer, Claimed)
    return replace(answer.image, attempt=attempt)


def encoded(content: bytes = b"result") -> EncodedRendition:
    """Return a finished picture."""
    return EncodedRendition(size="medium", width=8, height=6, format="jpeg", content=content)


async def test_an_upload_is_read_whole_with_what_its_headers_say(
    s3: "S3Client", provisioned: Settings
) -> None:
    job = await uploaded(
        s3,
        provisioned,
        b"picture" * 100_000,
        filename="vacation%20photo.jpg",
        tags="vacation, family",
        description="Stra%C3%9Fe",
        camera="X100",
    )

    source = await S3Sources(s3).fetch(job, max_bytes=1_000_000)

    assert bytes(source.content) == b"picture" * 100_000
    said = source.description
    assert (said.file_name, said.file_size, said.file_type) == ("vacation photo.jpg", 700_000, "image/jpeg")
    assert said.tags == ("vacation", "family")
    assert said.metadata == {"description": "Straße", "camera": "X100"}


async def test_an_upload_with_too_many_bytes_is_refused_whatever_its_event_said(
    s3: "S3Client", provisioned: Settings
) -> None:
    job = replace(await uploaded(s3, provisioned, b"x" * 5000), size_bytes=10)

    with pytest.raises(TooManyBytesError) as refused:
        await S3Sources(s3).fetch(job, max_bytes=4999)

    assert refused.value.size_bytes == 5000


async def test_an_upload_that_was_deleted_is_missing(s3: "S3Client", provisioned: Settings) -> None:
    job = await uploaded(s3, provisioned, b"picture")
    await s3.delete_object(Bucket=job.bucket, Key=job.key)

    with pytest.raises(SourceMissingError):
        await S3Sources(s3).fetch(job, max_bytes=100)


async def test_an_upload_that_was_replaced_is_superseded(s3: "S3Client", provisioned: Settings) -> None:
    job = await uploaded(s3, provisioned, b"picture")
    await uploaded(s3, provisioned, b"another")

    with pytest.raises(SupersededError):
        await S3Sources(s3).fetch(job, max_bytes=100)


async def stored_content(s3: "S3Client", settings: Settings) -> bytes:
    """Return what lies under the result's key."""
    answer = await s3.get_object(Bucket=settings.bucket, Key=KEY)
    async with answer["Body"] as body:
        return await body.read()


@pytest.fixture
def results(s3: "S3Client", provisioned: Settings) -> S3Results:
    return S3Results(s3, bucket=provisioned.bucket, prefix="processed/")


async def test_a_result_is_stored_under_its_key_with_its_type(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    rendition = await results.store(claimed(a_job()), encoded(), is_main=True)

    answer = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert (rendition.key, rendition.size_bytes, rendition.e_tag) == (KEY, 6, answer["ETag"].strip('"'))
    assert (answer["ContentType"], answer["Metadata"]["attempt"]) == ("image/jpeg", "1")


async def test_other_sizes_carry_their_name_in_the_key(results: S3Results) -> None:
    rendition = await results.store(claimed(a_job()), encoded(), is_main=False)

    assert rendition.key == "processed/user_1/img_1_medium.jpg"


async def test_a_result_that_the_crashed_attempt_stored_is_adopted(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    first = await results.store(claimed(a_job(), attempt=1), encoded(), is_main=True)

    again = await results.store(claimed(a_job(), attempt=2), encoded(), is_main=True)

    assert again == first
    answer = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert answer["Metadata"]["attempt"] == "1"


async def test_a_newer_upload_overwrites_the_older_result(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    old = await results.store(claimed(a_job(upload=1), attempt=1), encoded(b"old"), is_main=True)
    image = replace(claimed(a_job(upload=2), attempt=2), renditions={"medium": old})

    await results.store(image, encoded(b"new"), is_main=True)

    assert await stored_content(s3, provisioned) == b"new"


async def test_a_result_of_another_recipe_is_overwritten(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    await results.store(claimed(a_job(), attempt=1), encoded(b"old"), is_main=True)
    image = replace(claimed(a_job(), attempt=2), recipe="another")

    await results.store(image, encoded(b"new"), is_main=True)

    assert await stored_content(s3, provisioned) == b"new"


async def test_a_late_worker_cannot_overwrite_the_result_of_a_later_attempt(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    await results.store(claimed(a_job(upload=2), attempt=2), encoded(b"new"), is_main=True)

    with pytest.raises(LeaseLostError):
        await results.store(claimed(a_job(upload=1), attempt=1), encoded(b"late"), is_main=True)

    assert await stored_content(s3, provisioned) == b"new"


async def test_a_result_that_somebody_deleted_is_stored_again(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    known = await results.store(claimed(a_job(), attempt=1), encoded(b"old"), is_main=True)
    await s3.delete_object(Bucket=provisioned.bucket, Key=KEY)
    image = replace(claimed(a_job(upload=2), attempt=2), renditions={"medium": known})

    await results.store(image, encoded(b"new"), is_main=True)

    assert await stored_content(s3, provisioned) == b"new"
