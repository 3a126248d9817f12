"""Results behind an HTTP cache: after a second upload, no URL of the first is served as the second."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from PIL import Image as Picture

from tests.support.pictures import encoded, opened
from tests.support.whole_worker import USER, running_worker, upload, wait_until_processed
from worker.aws.errors import is_not_found, is_not_modified
from worker.bootstrap import build_queries, open_clients, open_repairs
from worker.cli.support.report import Report
from worker.domain.clock import utc_now
from worker.domain.image import Image
from worker.domain.requester import COMMAND_LINE, Requester
from worker.domain.status import ImageStatus
from worker.repair.reprocess import reprocess_all
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

VERSIONED = "{prefix}{userId}/{imageId}/{version}{@size}.{ext}"


@dataclass(frozen=True, slots=True)
class Response:
    """A stored response."""

    content: bytes
    e_tag: str
    cache_control: str


@dataclass(slots=True)
class HttpCache:
    """
    A private cache as RFC 9111 describes it, in which no time passes, over the bucket as its server.

    It uses a response without asking the server only while that is fresh: with a `max-age`, and without
    `no-cache`. A response without either is used too, as caches guess how long it is fresh.
    """

    s3: "S3Client"
    bucket: str
    stored: dict[str, Response] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def get(self, key: str) -> bytes | None:
        """Return the content under a URL; None if the server has none."""
        known = self.stored.get(key)
        if known is not None and self._is_fresh(known):
            return known.content
        self.asked.append(key)
        condition: Any = {"IfNoneMatch": known.e_tag} if known else {}
        try:
            response = await self.s3.get_object(Bucket=self.bucket, Key=key, **condition)
        except ClientError as error:
            if known is not None and is_not_modified(error):
                return known.content
            if is_not_found(error):
                self.stored.pop(key, None)
                return None
            raise
        async with response["Body"] as body:
            content = await body.read()
        self.stored[key] = Response(content, response["ETag"], response.get("CacheControl", ""))
        return content

    @staticmethod
    def _is_fresh(response: Response) -> bool:
        directives = {part.strip() for part in response.cache_control.split(",")}
        if directives & {"no-cache", "no-store", "max-age=0"}:
            return False
        return not response.cache_control or any(re.fullmatch(r"max-age=[1-9]\d*", one) for one in directives)


def colour_of(content: bytes | None) -> str | None:
    """Return the colour of a picture in one colour."""
    if content is None:
        return None
    pixel: Any = opened(content).getpixel((4, 3))
    return ("red", "green", "blue")[pixel.index(max(pixel))]


def picture(colour: str, file_format: str = "JPEG") -> bytes:
    return encoded(Picture.new("RGB", (160, 120), colour), file_format)


async def processed(
    s3: "S3Client", dynamodb: "DynamoDBClient", settings: Settings, content: bytes, *, attempt: int
) -> Image:
    """Upload a version of the image, and wait until it is completed and its leftovers are deleted."""
    await upload(s3, settings, "img_1", content)
    return await ended(dynamodb, settings, attempt=attempt)


async def ended(dynamodb: "DynamoDBClient", settings: Settings, *, attempt: int) -> Image:
    (image,) = await wait_until_processed(
        dynamodb, settings, "img_1", until=lambda image: image.attempt == attempt and not image.leftovers
    )
    assert image.status is ImageStatus.COMPLETED
    return image


async def keys_in(s3: "S3Client", settings: Settings) -> set[str]:
    listed = await s3.list_objects_v2(Bucket=settings.bucket, Prefix="processed/")
    return {found["Key"] for found in listed.get("Contents", [])}


@pytest.mark.parametrize(
    ("more", "has_new_url"),
    [
        pytest.param({}, False, id="by default"),
        pytest.param({"result_key": VERSIONED}, True, id="with the version in the key"),
        pytest.param(
            {"cache_control": "public, max-age=0, must-revalidate"}, False, id="with another header"
        ),
    ],
)
async def test_a_cache_never_serves_the_first_upload_as_the_second(
    s3: "S3Client",
    dynamodb: "DynamoDBClient",
    provisioned: Settings,
    more: dict[str, str],
    has_new_url: bool,
) -> None:
    settings = provisioned.model_copy(
        update={"watermark_enabled": False, "extra_sizes": ["thumbnail"], **more}
    )
    cache = HttpCache(s3, settings.bucket)
    async with running_worker(settings):
        first = await processed(s3, dynamodb, settings, picture("red"), attempt=1)
        urls = {size: rendition.key for size, rendition in first.renditions.items()}
        assert [colour_of(await cache.get(url)) for url in urls.values()] == ["red", "red"]

        second = await processed(s3, dynamodb, settings, picture("blue"), attempt=2)

    new_urls = {size: rendition.key for size, rendition in second.renditions.items()}
    assert [colour_of(await cache.get(url)) for url in new_urls.values()] == ["blue", "blue"]
    assert (urls.keys() == new_urls.keys(), set(urls.values()).isdisjoint(new_urls.values())) == (
        True,
        has_new_url,
    )
    assert await keys_in(s3, settings) == set(new_urls.values())
    if has_new_url:
        # Caches still have the first upload under its own URL; the bucket does not.
        assert [colour_of(await HttpCache(s3, settings.bucket).get(url)) for url in urls.values()] == [
            None,
            None,
        ]


async def test_a_cache_asks_nothing_about_a_result_that_cannot_change(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    settings = provisioned.model_copy(update={"result_key": VERSIONED})
    cache = HttpCache(s3, settings.bucket)
    async with running_worker(settings):
        image = await processed(s3, dynamodb, settings, picture("red"), attempt=1)

    key = image.renditions["medium"].key
    for _ in range(3):
        await cache.get(key)
    assert cache.asked == [key]
    assert re.fullmatch(rf"processed/{USER}/img_1/[0-9a-f]{{12}}\.jpg", key)


async def test_results_of_another_extension_and_of_a_dropped_size_are_deleted_at_completion(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    two_sizes = provisioned.model_copy(update={"extra_sizes": ["thumbnail"]})
    async with running_worker(two_sizes):
        await processed(s3, dynamodb, two_sizes, picture("red"), attempt=1)
    assert await keys_in(s3, provisioned) == {
        f"processed/{USER}/img_1.jpg",
        f"processed/{USER}/img_1@thumbnail.jpg",
    }

    async with running_worker(provisioned):
        await processed(s3, dynamodb, provisioned, picture("red", "PNG"), attempt=2)

    assert await keys_in(s3, provisioned) == {f"processed/{USER}/img_1.png"}


async def test_reprocessing_by_another_recipe_gives_another_url_and_the_new_header(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    before = provisioned.model_copy(update={"result_key": VERSIONED})
    after = before.model_copy(update={"cache_control": "public, max-age=300"})
    async with running_worker(before):
        first = await processed(s3, dynamodb, before, picture("red"), attempt=1)
    report = Report("testing")
    requester = Requester(by="a test", via=COMMAND_LINE, command="images reprocess")
    async with (
        open_clients(after) as clients,
        open_repairs(after, clients, requester=requester, reporter=report, rate_per_s=10_000) as repairs,
    ):
        await reprocess_all(
            repairs, user_id=None, status=ImageStatus.COMPLETED, before=utc_now(), recipe_changed=True
        )

    async with running_worker(after):
        second = await ended(dynamodb, after, attempt=2)

    assert first.processed_key != second.processed_key
    assert await keys_in(s3, after) == {second.processed_key}
    head = await s3.head_object(Bucket=after.bucket, Key=str(second.processed_key))
    assert head["CacheControl"] == "public, max-age=300"
    image = await build_queries(dynamodb, after).image("img_1", USER, consistent=True)
    assert image
    assert image.leftovers == ()
