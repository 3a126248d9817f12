"""Reading uploads and storing results, on a real S3 API."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image as Picture

from tests.support.adapters import results_of, sources_of
from tests.support.builders import a_claimant, a_job
from tests.support.pictures import encoded, opened
from worker.domain.claim import Claimed, decide
from worker.domain.clock import utc_now
from worker.domain.errors import LeaseLostError, SourceMissingError, SupersededError, TooManyBytesError
from worker.domain.image import Image, Rendition
from worker.domain.job import Job
from worker.domain.step import EncodedRendition
from worker.s3.results import S3Results
from worker.settings import Settings

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


def claimed(job: Job, *, attempt: int = 1, recipe: str = "recipe") -> Image:
    """Return the job's image in its so-manieth attempt."""
    answer = decide(None, job, a_claimant(now=utc_now(), recipe=recipe))
    assert isinstance(answer, Claimed)
    return replace(answer.image, attempt=attempt)


def a_rendition(colour: str = "red") -> EncodedRendition:
    """Return a finished picture."""
    content = encoded(Picture.new("RGB", (8, 6), colour))
    return EncodedRendition(size="medium", width=8, height=6, format="jpeg", content=content)


class Asleep:
    """A client that falls asleep before its first write, and otherwise does as it is told."""

    def __init__(self, client: object) -> None:
        self._client = client
        self.is_asleep, self.wakes = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method: Callable[..., Awaitable[Any]] = getattr(self._client, name)
        return self._late(method) if name == "put_object" else method

    def _late(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(**request: Any) -> Any:  # noqa: ANN401 - as botocore takes it
            self.is_asleep.set()
            await self.wakes.wait()
            return await method(**request)

        return call


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

    source = await sources_of(s3).fetch(job, max_bytes=1_000_000)

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
        await sources_of(s3).fetch(job, max_bytes=4999)

    assert refused.value.size_bytes == 5000


async def test_an_upload_that_was_deleted_is_missing(s3: "S3Client", provisioned: Settings) -> None:
    job = await uploaded(s3, provisioned, b"picture")
    await s3.delete_object(Bucket=job.bucket, Key=job.key)

    with pytest.raises(SourceMissingError):
        await sources_of(s3).fetch(job, max_bytes=100)


async def test_where_versions_are_kept_the_announced_one_is_read_though_another_has_replaced_it(
    s3: "S3Client", provisioned: Settings
) -> None:
    await s3.put_bucket_versioning(Bucket=provisioned.bucket, VersioningConfiguration={"Status": "Enabled"})
    job = await uploaded(s3, provisioned, b"picture")
    announced = await s3.head_object(Bucket=job.bucket, Key=job.key)
    await uploaded(s3, provisioned, b"another")

    job = replace(job, version=replace(job.version, version_id=announced["VersionId"]))
    source = await sources_of(s3).fetch(job, max_bytes=100)

    assert bytes(source.content) == b"picture"


async def test_an_upload_that_was_replaced_is_superseded(s3: "S3Client", provisioned: Settings) -> None:
    job = await uploaded(s3, provisioned, b"picture")
    await uploaded(s3, provisioned, b"another")

    with pytest.raises(SupersededError):
        await sources_of(s3).fetch(job, max_bytes=100)


async def stored_colour(s3: "S3Client", settings: Settings) -> str:
    """Return the colour of the picture that lies under the result's key."""
    answer = await s3.get_object(Bucket=settings.bucket, Key=KEY)
    async with answer["Body"] as body:
        pixel: Any = opened(await body.read()).getpixel((4, 3))
    return ("red", "green", "blue")[pixel.index(max(pixel))]


@pytest.fixture
def results(s3: "S3Client", provisioned: Settings) -> S3Results:
    return results_of(s3, provisioned)


async def test_a_result_is_stored_under_its_key_with_its_type(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    rendition = await results.store(claimed(a_job()), a_rendition(), is_main=True)

    answer = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert (rendition.key, rendition.e_tag) == (KEY, answer["ETag"].strip('"'))
    assert rendition.size_bytes == answer["ContentLength"]
    assert (answer["ContentType"], answer["Metadata"]["attempt"]) == ("image/jpeg", "1")


async def test_other_sizes_carry_their_name_in_the_key(results: S3Results) -> None:
    rendition = await results.store(claimed(a_job()), a_rendition(), is_main=False)

    assert rendition.key == "processed/user_1/img_1_medium.jpg"


async def test_a_result_that_the_crashed_attempt_stored_is_adopted(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    first = await results.store(claimed(a_job(), attempt=1), a_rendition(), is_main=True)

    again = await results.store(claimed(a_job(), attempt=2), a_rendition(), is_main=True)

    assert again == first
    answer = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert answer["Metadata"]["attempt"] == "1"


async def test_a_newer_upload_overwrites_the_older_result(
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


async def test_a_result_that_somebody_deleted_is_stored_again(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    known = await results.store(claimed(a_job(), attempt=1), a_rendition("red"), is_main=True)
    await s3.delete_object(Bucket=provisioned.bucket, Key=KEY)
    image = replace(claimed(a_job(upload=2), attempt=2), renditions={"medium": known})

    await results.store(image, a_rendition("green"), is_main=True)

    assert await stored_colour(s3, provisioned) == "green"


async def test_results_of_the_same_picture_have_different_e_tags(results: S3Results) -> None:
    first = await results.store(claimed(a_job(upload=1, e_tag="a"), attempt=1), a_rendition(), is_main=True)
    image = replace(claimed(a_job(upload=2, e_tag="a"), attempt=2), renditions={"medium": first})

    second = await results.store(image, a_rendition(), is_main=True)

    assert second.e_tag != first.e_tag
    assert second.size_bytes == first.size_bytes


async def test_a_writer_asleep_between_its_look_and_its_write_cannot_put_back_what_two_equal_uploads_enclose(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    """Uploads A, B, and A again: what B's writer has seen must not pass for what lies there when it wakes."""
    first = await results.store(
        claimed(a_job(upload=1, e_tag="a"), attempt=1), a_rendition("red"), is_main=True
    )
    known = {"medium": first}
    sleeper = replace(claimed(a_job(upload=2, e_tag="b"), attempt=2), renditions=known)
    third = replace(claimed(a_job(upload=3, e_tag="a"), attempt=3), renditions=known)

    stored = await overtaken(s3, provisioned, results, sleeper=sleeper, winner=third)

    head = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert head["ETag"].strip('"') == stored.e_tag
    assert await stored_colour(s3, provisioned) == "red"


async def test_a_writer_asleep_between_its_look_and_its_write_cannot_undo_a_recipe_that_came_back(
    s3: "S3Client", provisioned: Settings, results: S3Results
) -> None:
    """One upload, one recipe, another, and the first again: its old result must not be adopted as it is."""
    first = await results.store(claimed(a_job(), attempt=1, recipe="one"), a_rendition("red"), is_main=True)
    known = {"medium": first}
    sleeper = replace(claimed(a_job(), attempt=2, recipe="another"), renditions=known)
    third = replace(claimed(a_job(), attempt=3, recipe="one"), renditions=known)

    stored = await overtaken(s3, provisioned, results, sleeper=sleeper, winner=third)

    head = await s3.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert head["ETag"].strip('"') == stored.e_tag
    assert await stored_colour(s3, provisioned) == "red"


async def overtaken(
    s3: "S3Client", settings: Settings, results: S3Results, *, sleeper: Image, winner: Image
) -> Rendition:
    """Let one store a green picture, asleep before its write until the winner has stored a red one."""
    client: Any = Asleep(s3)
    late = results_of(client, settings)
    writing = asyncio.create_task(late.store(sleeper, a_rendition("green"), is_main=True))
    async with asyncio.timeout(10):
        await client.is_asleep.wait()
    stored = await results.store(winner, a_rendition("red"), is_main=True)
    client.wakes.set()
    with pytest.raises(LeaseLostError):
        await writing
    return stored
