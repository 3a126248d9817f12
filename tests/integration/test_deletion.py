"""Deletions on an emulator and, where it matters, with a worker."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from tests.integration.test_events import events_until
from tests.integration.test_repair_tools import claimed, failed, open_tool, released, report_of
from tests.support.builders import a_requester
from tests.support.pictures import encoded, quadrants
from tests.support.user_profiles import profile_of
from tests.support.whole_worker import USER, running_worker, upload, wait_until_processed
from worker.bootstrap import build_deletions, build_ledger, build_profile_store, build_queries, open_clients
from worker.cli.app import run
from worker.cli.support.report import Report
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.local.embedded_aws import embedded_environment
from worker.repair.deletion import DeletionContext, delete_image, forget_user
from worker.repair.reconcile import reconcile_all
from worker.repair.reprocess import reprocess_images, retry_image
from worker.s3.results import identity_of
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

Command = Callable[..., Awaitable[tuple[int, str]]]

IMAGE = encoded(quadrants(96, 72))
OTHER_IMAGE = encoded(quadrants(72, 96))
LATER = timedelta(hours=1)


@asynccontextmanager
async def open_deletions(settings: Settings, **changes: Any) -> AsyncIterator[DeletionContext]:
    dry_run = changes.pop("dry_run", False)
    async with open_clients(settings) as clients:
        context = build_deletions(
            settings,
            clients,
            requester=a_requester("images delete"),
            reporter=Report("testing", dry_run=dry_run),
            dry_run=dry_run,
        )
        yield replace(context, **changes)


def counts_of(context: DeletionContext) -> dict[str, int]:
    assert isinstance(context.reporter, Report)
    return dict(context.reporter.counts)


async def current(dynamodb: "DynamoDBClient", settings: Settings, image_id: str) -> Image | None:
    return await build_queries(dynamodb, settings).image(image_id, USER, consistent=True)


async def keys(s3: "S3Client", settings: Settings, prefix: str = "") -> list[str]:
    listed = await s3.list_objects_v2(Bucket=settings.bucket, Prefix=prefix)
    return [found["Key"] for found in listed.get("Contents", [])]


async def processed(
    s3: "S3Client", dynamodb: "DynamoDBClient", settings: Settings, *image_ids: str
) -> list[Image]:
    async with running_worker(settings):
        for image_id in image_ids:
            await upload(s3, settings, image_id, IMAGE)
        return await wait_until_processed(dynamodb, settings, *image_ids)


async def test_nothing_is_left_of_a_deleted_image_and_its_neighbours_are_untouched(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    settings = provisioned.model_copy(update={"extra_sizes": ["thumbnail"]})
    image, _, _ = await processed(s3, dynamodb, settings, "img_1", "img_1.old", "img_1@2x")
    neighbours = [key for key in await keys(s3, settings) if "/img_1.old" in key or "/img_1@2x" in key]

    with capture_logs() as logs:
        async with open_deletions(settings) as context:
            await delete_image(context, image)
            await delete_image(context, image)

    assert counts_of(context) == {"deleted": 1, "already deleted": 1}
    assert await current(dynamodb, settings, "img_1") is None
    assert await keys(s3, settings) == neighbours
    profile = await profile_of(dynamodb, settings, USER)
    assert profile
    assert profile.statistics.total_images == 2
    (line,) = [each for each in logs if each["event"] == "image.deleted"]
    assert (line["image_id"], line["user_id"], line["by"]) == ("img_1", USER, a_requester().by)


@pytest.fixture
def command(
    provisioned: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    _unconfigured_logs: None,
) -> Command:
    """Return a function that runs `image-worker` in this process, and returns its status and stdout."""
    assert provisioned.endpoint_url
    names = ("bucket", "queue_name", "dead_letter_queue_name", "table_name")
    for name, value in (
        *embedded_environment(provisioned.endpoint_url).items(),
        *((f"WORKER_{name.upper()}", getattr(provisioned, name)) for name in names),
    ):
        monkeypatch.setenv(name, value)

    async def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()  # what the worker has logged before
        status = await asyncio.to_thread(run, list(arguments))
        return status, capsys.readouterr().out

    return call


async def test_the_commands_delete_an_image_of_any_user_and_everything_of_one(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient", command: Command
) -> None:
    await processed(s3, dynamodb, provisioned, "img_1", "img_2")

    assert await command("images", "delete", "img_1", "--yes") == (0, f"img_1  {USER}  deleted\n1 deleted\n")
    status, printed = await command("users", "forget", USER, "--yes", "--json")

    assert (status, json.loads(printed)["counts"]) == (0, {"deleted": 1, "profile deleted": 1})
    assert await keys(s3, provisioned) == []
    assert await profile_of(dynamodb, provisioned, USER) is None


async def test_a_dry_run_deletes_nothing(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    image = await failed(s3, dynamodb, provisioned, "img_1")

    async with open_deletions(provisioned, dry_run=True) as context:
        await delete_image(context, image)
        await forget_user(context, USER, before=utc_now() + LATER)

    assert counts_of(context) == {"deleted": 2}
    assert await current(dynamodb, provisioned, "img_1") == image
    assert await keys(s3, provisioned, "uploads/")


@pytest.mark.parametrize("content", [IMAGE, OTHER_IMAGE], ids=["the same content", "other content"])
async def test_a_newer_upload_is_kept(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient", content: bytes
) -> None:
    image = await failed(s3, dynamodb, provisioned, "img_1")
    older = replace(
        image, version=replace(image.version, uploaded_at=image.version.uploaded_at - timedelta(seconds=5))
    )
    key = await upload(s3, provisioned, "img_1", content)

    async with open_deletions(provisioned) as context:
        marked = await context.writes.begin(image)
        assert marked
        await context.objects.delete_source(replace(marked, version=older.version))

    assert key in await keys(s3, provisioned)


async def test_what_has_replaced_a_result_is_kept_unless_it_is_a_result_of_the_image(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    (image,) = await processed(s3, dynamodb, provisioned, "img_1")
    (rendition,) = image.renditions.values()
    foreign, own = f"processed/{USER}/img_1@foreign.jpg", f"processed/{USER}/img_1@own.jpg"
    bucket = provisioned.bucket
    await s3.put_object(Bucket=bucket, Key=rendition.key, Body=b"of another program")
    await s3.put_object(Bucket=bucket, Key=foreign, Body=b"1", Metadata={"image": f"{USER}/img_2"})
    await s3.put_object(Bucket=bucket, Key=own, Body=b"1", Metadata={"image": identity_of(image)})

    async with open_deletions(provisioned) as context:
        await delete_image(context, image)

    assert await keys(s3, provisioned) == sorted([rendition.key, foreign])


async def test_an_image_that_is_being_deleted_is_left_alone_by_every_repair(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    image = await failed(s3, dynamodb, provisioned, "img_1")
    async with open_deletions(provisioned) as context:
        marked = await context.writes.begin(image)
    assert marked

    async with open_tool(provisioned) as repairs:
        await retry_image(repairs, marked)
        await reprocess_images(repairs, [marked], before=None, recipe_changed=False)
        await reconcile_all(repairs, now=utc_now() + LATER, pending_for=timedelta(0))
        for write in (repairs.writes.requeue, repairs.writes.reprocess, repairs.writes.retry):
            pending = replace(marked, status=ImageStatus.PENDING)
            ended = replace(marked, status=ImageStatus.FAILED)
            assert await write(pending if write == repairs.writes.requeue else ended) is None

    assert report_of(repairs).counts == {"being deleted": 3}
    assert await current(dynamodb, provisioned, "img_1") == marked


async def test_a_deletion_waits_for_the_worker_at_most_until_its_lease_ends(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    acknowledging = await claimed(s3, dynamodb, provisioned, "img_1")
    silent = await claimed(s3, dynamodb, provisioned, "img_2")
    waits: dict[str, list[float]] = {"img_1": [], "img_2": []}
    now = utc_now()

    for image in (acknowledging, silent):

        async def sleep(seconds: float, image: Image = image) -> None:
            nonlocal now
            waits[image.image_id].append(seconds)
            now += timedelta(seconds=seconds)
            if image is acknowledging:
                await build_ledger(dynamodb, provisioned).acknowledge_deletion(image)

        def clock() -> datetime:
            return now

        async with open_deletions(provisioned, sleep=sleep, clock=clock) as context:
            await delete_image(context, image)
        assert await current(dynamodb, provisioned, image.image_id) is None

    assert len(waits["img_1"]) == 1
    assert 55 < sum(waits["img_2"]) < 61
    assert await keys(s3, provisioned) == []


async def test_a_pending_image_without_statistics_is_deleted(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    image = await released(s3, dynamodb, provisioned, "img_1")
    (counted,) = await processed(s3, dynamodb, provisioned, "img_2")
    profiles = build_profile_store(dynamodb, provisioned)
    profile = await profiles.get(USER, consistent=True)

    async with open_deletions(provisioned) as context:
        assert await context.writes.forget_profile(USER, {**(profile or {}), "updatedAt": "other"}) is False
        assert await context.writes.forget_profile(USER, profile or {})
        for each in (image, counted):
            await delete_image(context, each)

    assert counts_of(context) == {"deleted": 2}
    assert await profile_of(dynamodb, provisioned, USER) is None


async def test_an_image_of_another_bucket_is_reported(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    image = await failed(s3, dynamodb, provisioned, "img_1")

    async with open_deletions(provisioned, bucket="other") as context:
        await delete_image(context, image)

    assert counts_of(context) == {"failed": 1}
    assert await current(dynamodb, provisioned, "img_1") == image


async def test_a_forgotten_user_leaves_nothing_but_what_was_stored_later(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    await processed(s3, dynamodb, provisioned, *(f"img_{number}" for number in range(5)))
    bucket = provisioned.bucket
    orphans = (f"uploads/{USER}/expired.jpg", f"processed/{USER}/expired.jpg")
    others = (f"uploads/{USER}2/img.jpg", f"processed/{USER}2/img.jpg")
    for key in (*orphans, *others):
        await s3.put_object(Bucket=bucket, Key=key, Body=b"1")

    async with open_deletions(provisioned) as context:
        await forget_user(context, USER, before=utc_now() - LATER)
    assert counts_of(context) == {
        "deleted": 5,
        "objects stored since the command began": 2,
        "profile deleted": 1,
    }
    assert await keys(s3, provisioned) == sorted([*orphans, *others])

    async with open_deletions(provisioned) as context:
        await forget_user(context, USER, before=utc_now() + LATER)
    assert counts_of(context) == {"object without a record deleted": 2}
    assert await keys(s3, provisioned) == sorted(others)
    assert await profile_of(dynamodb, provisioned, USER) is None
    assert (await build_queries(dynamodb, provisioned).images_of_user(USER)).images == ()


async def test_only_results_of_the_user_are_deleted_whatever_the_template_of_their_keys(
    provisioned: Settings, s3: "S3Client"
) -> None:
    settings = provisioned.model_copy(update={"result_key": "{prefix}v1/{userId}/{imageId}{@size}.{ext}"})
    stored = ("processed/v1/alice/1.jpg", "processed/v1/v1/1.jpg", "processed/alice/1.jpg")
    for key in stored:
        await s3.put_object(Bucket=settings.bucket, Key=key, Body=b"1")

    for user_id, left in (("v1", {stored[0], stored[2]}), ("alice", {stored[2]})):
        async with open_deletions(settings) as context:
            await forget_user(context, user_id, before=utc_now() + LATER)
        assert set(await keys(s3, settings)) == left


async def test_the_folder_of_a_user_is_no_user(provisioned: Settings, s3: "S3Client") -> None:
    await s3.put_object(Bucket=provisioned.bucket, Key=f"uploads/{USER}/holidays/1.jpg", Body=b"1")

    async with open_deletions(provisioned) as context:
        for user_id in ("", ".", "..", f"{USER}/holidays"):
            with pytest.raises(ConfigurationError, match="there cannot be a user"):
                await forget_user(context, user_id, before=utc_now() + LATER)

    assert await keys(s3, provisioned)


async def test_a_deletion_is_an_event_after_the_end_of_the_image_and_the_expiry_of_a_record_is_none(
    with_stream: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    expired, image = await processed(s3, dynamodb, with_stream, "img_0", "img_1")
    await dynamodb.delete_item(
        TableName=with_stream.table_name, Key={"imageId": {"S": "img_0"}, "userId": {"S": USER}}
    )
    async with open_deletions(with_stream) as context:
        await delete_image(context, image)
    (again,) = await processed(s3, dynamodb, with_stream, "img_1")

    events = await events_until(with_stream, 4)
    of_image = [event for event in events if "/img_1/" in event.id]
    details: list[Any] = [event.envelope["detail"] for event in of_image]
    assert [event.id for event in of_image] == [
        f"{USER}/img_1/1/completed",
        f"{USER}/img_1/2/deleted",
        f"{USER}/img_1/1/completed",
    ]
    assert [event.id for event in events if "/img_0/" in event.id] == [f"{USER}/img_0/1/completed"]
    assert expired.record_id
    assert details[1]["processedKey"] == image.processed_key
    assert [detail["recordId"] for detail in details] == [image.record_id, image.record_id, again.record_id]


async def test_a_versioned_bucket_keeps_the_versions_under_a_delete_marker(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    await s3.put_bucket_versioning(Bucket=provisioned.bucket, VersioningConfiguration={"Status": "Enabled"})
    (image,) = await processed(s3, dynamodb, provisioned, "img_1")

    async with open_deletions(provisioned) as context:
        await delete_image(context, image)

    versions = await s3.list_object_versions(Bucket=provisioned.bucket)
    found = {each["Key"] for each in versions["Versions"]}
    assert {each["Key"] for each in versions["DeleteMarkers"]} == found
    assert found == {image.key, image.processed_key}
    assert await keys(s3, provisioned) == []
