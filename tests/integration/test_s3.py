"""Reading uploads and storing results in S3."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image as Picture

from tests.support.builders import a_claimant, a_job
from tests.support.pictures import encoded, opened
from worker.bootstrap import RETRY_POLICIES, build_results, build_sources
from worker.domain.claim import Claimed, decide
from worker.domain.clock import utc_now
from worker.domain.errors import (
    LaterResultError,
    LeaseLostError,
    SourceMissingError,
    SupersededError,
    TooManyBytesError,
)
from worker.domain.image import Description, Image, Rendition
from worker.domain.job import Job
from worker.domain.step import EncodedRendition
from worker.domain.transition import apply, attempt_raised
from worker.s3.results import S3Results
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

KEY = "processed/user_1/img_1.jpg"


async def uploaded(s3: "S3Client", settings: Settings, content: bytes, **metadata: str) -> Job:
    """Upload the content and return its job."""
    job = a_job(e_tag=hashlib.md5(content, usedforsecurity=False).hexdigest())
    job = replace(job, bucket=settings.bucket)
    await s3.put_object(
        Bucket=job.bucket, Key=job.key, Body=content, ContentType="image/jpeg", Metadata=metadata
    )
    return job


def claimed(job: Job, *, attempt: int = 1, recipe: str = "recipe") -> Image:
    """Return the job's image under an attempt."""
    decision = decide(None, job, a_claimant(now=utc_now(), recipe=recipe))
    assert isinstance(decision, Claimed)
    return replace(decision.image, attempt=attempt)


def a_rendition(colour: str = "red") -> EncodedRendition:
    """Return a rendition in one colour."""
    content = encoded(Picture.new("RGB", (8, 6), colour))
    return EncodedRendition(size="medium", width=8, height=6, format="jpeg", content=content)


class PausedClient:
    """A client whose writes wait until they are resumed."""

    def __init__(self, client: object) -> None:
        self._client = client
        self.is_paused, self.resume = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method: Callable[..., Awaitable[Any]] = getattr(self._client, name)
        return self._paused(method) if name == "put_object" else method

    def _paused(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(**request: Any) -> Any:
            self.is_paused.set()
            await self.resume.wait()
            return await method(**request)

        return call


async def test_an_upload_is_read_with_its_content_type_and_metadata(
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

    source = await build_sources(s3).fetch(job, max_bytes=1_000_000)

    assert bytes(source.content) == b"picture" * 100_000
    assert source.description == Description(
        file_name="vacation photo.jpg",
        file_size=700_000,
        file_type="image/jpeg",
        tags=("vacation", "family"),
        metadata={"description": "Straße", "camera": "X100"},
    )


async def test_an_upload_that_is_larger_than_its_event_states_is_rejected(
    s3: "S3Client", provisioned: Settings
) -> None:
    job = replace(await uploaded(s3, provisioned, b"x" * 5000), size_bytes=10)

    with pytest.raises(TooManyBytesError) as rejected:
        await build_sources(s3).fetch(job, max_bytes=4999)

    assert rejected.value.size_bytes == 5000


async def test_an_upload_that_was_deleted_is_missing(s3: "S3Client", provisioned: Settings) -> None:
    job = await uploaded(s3, provisioned, b"picture")
    await s3.delete_object(Bucket=job.bucket, Key=job.key)

    with pytest.raises(SourceMissingError):
        await build_sources(s3).fetch(job, max_bytes=100)


async def test_in_a_versioned_bucket_the_announced_version_is_read_even_after_it_was_replaced(
    s3: "S3Client", provisioned: Settings
) -> None:
    await s3.put_bucket_versioning(Bucket=provisioned.bucket, VersioningConfiguration={"Status": "Enabled"})
    job = await uploaded(s3, provisioned, b"picture")
    announced = await s3.head_object(Bucket=job.bucket, Key=job.key)
    await uploaded(s3, provisioned, b"another")

    job = replace(job, version=replace(job.version, version_id=announced["VersionId"]))
    source = await build_sources(s3).fetch(job, max_bytes=100)

    assert bytes(source.content) == b"picture"


async def test_an_upload_that_was_replaced_is_superseded(s3: "S3Client", provisioned: Settings) -> None:
    job = await uploaded(s3, provisioned, b"picture")
    await uploaded(s3, provisioned, b"another")

    with pytest.raises(SupersededError):
        await build_sources(s3).fetch(job, max_bytes=100)


async def stored_colour(s3: "S3Client", settings: Settings) -> str:
    """Return the colour of the stored result."""
    response = await s3.get_object(Bucket=settings.bucket, Key=KEY)
    async with response["Body"] as body:
        pixel: Any = opened(await body.read()).getpixel((4, 3))
    return ("red", "green", "blue")[pixel.index(max(pixel))]


@pytest.fixture
def results(s3: "S3Client", provisioned: Settings) -> S3Results:
    return build_results(s3, provisioned)


async def test_a_result_is_stored_under_its_key_with_its_content_type_and_attempt(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    rendition = await results.store(claimed(a_job()), a_rendition(), is_main=True)

    head = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert (rendition.key, rendition.e_tag) == (KEY, head["ETag"].strip('"'))
    assert rendition.size_bytes == head["ContentLength"]
    assert (head["ContentType"], head["Metadata"]["attempt"]) == ("image/jpeg", "1")


async def test_the_key_of_another_size_ends_in_its_name(results: S3Results) -> None:
    rendition = await results.store(claimed(a_job()), a_rendition(), is_main=False)

    assert rendition.key == "processed/user_1/img_1@medium.jpg"


async def test_a_result_of_the_preceding_attempt_is_kept(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    first = await results.store(claimed(a_job(), attempt=1), a_rendition(), is_main=True)

    second = await results.store(claimed(a_job(), attempt=2), a_rendition(), is_main=True)

    assert second == first
    head = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert head["Metadata"]["attempt"] == "1"


async def test_a_result_of_an_older_upload_is_overwritten(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    old = await results.store(claimed(a_job(upload=1), attempt=1), a_rendition("red"), is_main=True)
    image = replace(claimed(a_job(upload=2), attempt=2), renditions={"medium": old})

    await results.store(image, a_rendition("green"), is_main=True)

    assert await stored_colour(s3, provisioned) == "green"


async def test_a_result_of_another_recipe_is_overwritten(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    await results.store(claimed(a_job(), attempt=1), a_rendition("red"), is_main=True)
    image = replace(claimed(a_job(), attempt=2), recipe="another")

    await results.store(image, a_rendition("green"), is_main=True)

    assert await stored_colour(s3, provisioned) == "green"


async def test_a_late_worker_cannot_overwrite_the_result_of_a_later_attempt(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    await results.store(claimed(a_job(upload=2), attempt=2), a_rendition("green"), is_main=True)

    with pytest.raises(LeaseLostError):
        await results.store(claimed(a_job(upload=1), attempt=1), a_rendition("red"), is_main=True)

    assert await stored_colour(s3, provisioned) == "green"


async def test_a_deleted_result_is_stored_again(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    known = await results.store(claimed(a_job(), attempt=1), a_rendition("red"), is_main=True)
    await s3.delete_object(Bucket=provisioned.bucket, Key=KEY)
    image = replace(claimed(a_job(upload=2), attempt=2), renditions={"medium": known})

    await results.store(image, a_rendition("green"), is_main=True)

    assert await stored_colour(s3, provisioned) == "green"


async def test_results_with_the_same_pixels_have_different_e_tags(results: S3Results) -> None:
    first = await results.store(claimed(a_job(upload=1, e_tag="a"), attempt=1), a_rendition(), is_main=True)
    image = replace(claimed(a_job(upload=2, e_tag="a"), attempt=2), renditions={"medium": first})

    second = await results.store(image, a_rendition(), is_main=True)

    assert second.e_tag != first.e_tag
    assert second.size_bytes == first.size_bytes


async def test_a_late_write_of_an_upload_between_two_equal_ones_is_rejected(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    """Uploads A, B and A again: the object that B's worker read must differ from the one it then finds."""
    first = await results.store(
        claimed(a_job(upload=1, e_tag="a"), attempt=1), a_rendition("red"), is_main=True
    )
    known = {"medium": first}
    late = replace(claimed(a_job(upload=2, e_tag="b"), attempt=2), renditions=known)
    third = replace(claimed(a_job(upload=3, e_tag="a"), attempt=3), renditions=known)

    stored = await overtaken(s3, provisioned, results, late=late, later=third)

    head = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert head["ETag"].strip('"') == stored.e_tag
    assert await stored_colour(s3, provisioned) == "red"


async def test_a_late_write_by_a_recipe_between_two_equal_ones_is_rejected(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    """Recipes A, B and A again, of one upload: the first result must not be kept for the third attempt."""
    first = await results.store(claimed(a_job(), attempt=1, recipe="a"), a_rendition("red"), is_main=True)
    known = {"medium": first}
    late = replace(claimed(a_job(), attempt=2, recipe="b"), renditions=known)
    third = replace(claimed(a_job(), attempt=3, recipe="a"), renditions=known)

    stored = await overtaken(s3, provisioned, results, late=late, later=third)

    head = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert head["ETag"].strip('"') == stored.e_tag
    assert await stored_colour(s3, provisioned) == "red"


async def overtaken(
    s3: "S3Client", settings: Settings, results: S3Results, *, late: Image, later: Image
) -> Rendition:
    """Store the later attempt's picture between the read and the write of the late attempt."""
    client: Any = PausedClient(s3)
    writing = asyncio.create_task(
        build_results(client, settings).store(late, a_rendition("green"), is_main=True)
    )
    async with asyncio.timeout(10):
        await client.is_paused.wait()
    stored = await results.store(later, a_rendition("red"), is_main=True)
    client.resume.set()
    with pytest.raises(LeaseLostError):
        await writing
    return stored


async def table_id() -> str:
    return "table"


@pytest.fixture
def results_of_records(s3: "S3Client", provisioned: Settings) -> S3Results:
    """Results that show which record they were stored for."""
    return S3Results(
        s3,
        retry=RETRY_POLICIES.bucket,
        bucket=provisioned.bucket,
        keys=provisioned.result_keys,
        table_id=table_id,
    )


async def test_a_result_of_another_record_is_replaced_although_it_could_be_kept(
    results_of_records: S3Results,
) -> None:
    first = claimed(a_job())
    second = replace(first, record_id="another")
    stored = await results_of_records.store(first, a_rendition(), is_main=True)

    with pytest.raises(LaterResultError):
        await results_of_records.store(second, a_rendition(), is_main=True)
    raised = apply(second, attempt_raised(above=first.attempt, at=utc_now()))
    replaced = await results_of_records.store(raised, a_rendition(), is_main=True)

    assert replaced.e_tag != stored.e_tag
    assert await results_of_records.store(raised, a_rendition(), is_main=True) == replaced


async def test_only_results_of_the_same_record_are_discarded(
    s3: "S3Client", provisioned: Settings, results_of_records: S3Results, results: S3Results
) -> None:
    image = claimed(a_job())
    key = results.key_of(image, a_rendition(), is_main=True)
    await results_of_records.store(image, a_rendition(), is_main=True)

    await results_of_records.discard(replace(image, record_id="another"), [key])
    await results.discard(image, [key])  # it does not know whose result that is
    assert (await s3.head_object(Bucket=provisioned.bucket, Key=key))["Metadata"]["attempt"] == "1"
    await results_of_records.discard(image, [key, "processed/user_1/missing.jpg"])

    listed = await s3.list_objects_v2(Bucket=provisioned.bucket, Prefix="processed/")
    assert listed["KeyCount"] == 0
