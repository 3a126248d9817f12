"""The repair tools on an emulator and, where it matters, with a worker."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.builders import a_requester
from tests.support.emulators import messages_in
from tests.support.pictures import encoded, quadrants
from tests.support.repairs import open_tool
from tests.support.user_profiles import profile_of
from tests.support.whole_worker import (
    USER,
    running_worker,
    take_notifications,
    upload,
    wait_until_processed,
    wait_until_queue_is_empty,
)
from worker.bootstrap import (
    RETRY_POLICIES,
    build_dead_letters,
    build_ledger,
    build_queries,
    build_repair_writes,
    queue_url,
)
from worker.cli.support.report import Report
from worker.domain.claim import Claimant, Claimed
from worker.domain.clock import utc_now
from worker.domain.errors import ImageBusyError
from worker.domain.image import Failure, Image
from worker.domain.job import Job, SourceVersion
from worker.domain.status import ImageStatus
from worker.domain.transition import image_failed, image_released
from worker.repair.context import RepairContext
from worker.repair.enqueue import enqueue_all
from worker.repair.reconcile import reconcile_all
from worker.repair.redrive import LIST_VISIBILITY_S, diagnose, images_of, redrive_all
from worker.repair.reprocess import reprocess_all, retry_image
from worker.repair.requests import job_of
from worker.repair.retention import set_retention
from worker.settings import Settings
from worker.sqs.events import to_body
from worker.sqs.sender import JobSender

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

IMAGE = encoded(quadrants(96, 72))
OTHER_IMAGE = encoded(quadrants(72, 96))
PATIENCE = timedelta(minutes=5)
TRANSIENT = Failure(code="unavailable", message="the bucket was unavailable", step=None, retryable=True)


def report_of(repairs: RepairContext) -> Report:
    assert isinstance(repairs.reporter, Report)
    return repairs.reporter


async def claimed(
    s3: "S3Client", dynamodb: "DynamoDBClient", settings: Settings, image_id: str, *, lease_s: float = 60
) -> Image:
    """Return an uploaded and claimed image; with a negative lease, the lease has expired."""
    key = await upload(s3, settings, image_id, IMAGE)
    head = await s3.head_object(Bucket=settings.bucket, Key=key)
    now = utc_now()
    version = SourceVersion(
        e_tag=head["ETag"].strip('"'), version_id=None, sequencer=None, uploaded_at=head["LastModified"]
    )
    job = Job(bucket=settings.bucket, key=key, user_id=USER, image_id=image_id, version=version)
    claimant = Claimant(
        owner=f"lost-worker/{image_id}",
        now=now,
        lease_until=now + timedelta(seconds=lease_s),
        recipe="an old recipe",
    )
    claim = await build_ledger(dynamodb, settings).claim(job, claimant)
    assert isinstance(claim, Claimed)
    return claim.image


async def released(s3: "S3Client", dynamodb: "DynamoDBClient", settings: Settings, image_id: str) -> Image:
    """Return a pending image, as a stopped worker leaves it."""
    image = await claimed(s3, dynamodb, settings, image_id)
    move = image_released(TRANSIENT, at=utc_now())
    return await build_ledger(dynamodb, settings).settle(image, [move])


async def failed(
    s3: "S3Client",
    dynamodb: "DynamoDBClient",
    settings: Settings,
    image_id: str,
    *,
    code: str = TRANSIENT.code,
) -> Image:
    """Return an image that has failed for a transient reason."""
    image = await claimed(s3, dynamodb, settings, image_id)
    move = image_failed(replace(TRANSIENT, code=code), at=utc_now())
    return await build_ledger(dynamodb, settings).settle(image, [move])


async def current(dynamodb: "DynamoDBClient", settings: Settings, image_id: str) -> Image:
    """Return the image as currently stored."""
    image = await build_queries(dynamodb, settings).image(image_id, USER, consistent=True)
    assert image
    return image


async def send_dead_letter(
    sqs: "SQSClient", settings: Settings, image: Image, *, code: str | None = TRANSIENT.code
) -> None:
    """Send the job of an image to the dead-letter queue, as a worker does; without a code, as SQS does."""
    url = await queue_url(sqs, settings.dead_letter_queue_name)
    attributes: Any = {
        name: {"DataType": "String", "StringValue": value}
        for name, value in {"code": code, "reason": "a reason"}.items()
        if code and value
    }
    body = to_body(job_of(image), reason="dead letter")
    await sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)


async def purge_queue(sqs: "SQSClient", settings: Settings) -> None:
    await sqs.purge_queue(QueueUrl=await queue_url(sqs, settings.queue_name))


async def table(dynamodb: "DynamoDBClient", settings: Settings) -> list[Any]:
    """Return all items of the table."""
    items = (await dynamodb.scan(TableName=settings.table_name, ConsistentRead=True))["Items"]
    return sorted(items, key=str)


async def test_a_retry_completes_the_image_once_the_cause_is_fixed(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    content = encoded(quadrants(640, 480))
    async with running_worker(provisioned.model_copy(update={"max_bytes": 1024})):
        await upload(s3, provisioned, "img_1", content)
        (first,) = await wait_until_processed(dynamodb, provisioned, "img_1")
        await wait_until_queue_is_empty(sqs, provisioned)
    assert first.status == "failed"

    async with open_tool(provisioned, command="images retry") as repairs:
        await retry_image(repairs, first)
        await retry_image(repairs, await current(dynamodb, provisioned, "img_1"))
    assert report_of(repairs).counts == {"retried": 1, "already pending": 1}

    async with running_worker(provisioned):
        (second,) = await wait_until_processed(dynamodb, provisioned, "img_1")
    assert (second.status, second.error, second.attempt) == ("completed", None, 2)
    requests = [entry for entry in second.history if entry.detail.get("reason") == "retried"]
    assert [(entry.status, entry.detail["command"]) for entry in requests] == [("pending", "images retry")]


async def test_images_with_a_changed_recipe_get_a_new_result_and_are_counted_once(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image_ids = ["img_1", "img_2", "img_3"]
    async with running_worker(provisioned):
        for image_id in image_ids:
            await upload(s3, provisioned, image_id, IMAGE)
        before = await wait_until_processed(dynamodb, provisioned, *image_ids)
        await wait_until_queue_is_empty(sqs, provisioned)
    changed = provisioned.model_copy(update={"quality": 40})

    async def reprocess_changed(settings: Settings) -> dict[str, int]:
        async with open_tool(settings, command="images reprocess") as repairs:
            await reprocess_all(
                repairs, user_id=USER, status=ImageStatus.COMPLETED, before=utc_now(), recipe_changed=True
            )
        return report_of(repairs).counts

    assert await reprocess_changed(provisioned) == {"up to date": 3}
    assert await reprocess_changed(changed) == {"reprocessed": 3}
    assert await reprocess_changed(changed) == {}
    async with running_worker(changed):
        after = await wait_until_processed(dynamodb, provisioned, *image_ids)
        await wait_until_queue_is_empty(sqs, provisioned)
    assert await reprocess_changed(changed) == {"up to date": 3}

    assert [image.status for image in after] == ["completed"] * 3
    for old, new in zip(before, after, strict=True):
        assert old.renditions["medium"].e_tag != new.renditions["medium"].e_tag
    profile = await profile_of(dynamodb, provisioned, USER)
    assert profile
    assert profile.statistics.total_images == 3
    assert profile.statistics.total_storage_used == sum(image.total_bytes() for image in after)


async def test_an_image_is_up_to_date_until_its_logo_changes(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    logo = f"{provisioned.watermark_logos_prefix}logo.jpg"
    await s3.put_object(Bucket=provisioned.bucket, Key=logo, Body=IMAGE)
    marked = provisioned.model_copy(update={"watermark_image": f"s3://{provisioned.bucket}/{logo}"})
    async with running_worker(marked):
        await upload(s3, provisioned, "img_1", encoded(quadrants(640, 480)))
        await wait_until_processed(dynamodb, provisioned, "img_1")
        await wait_until_queue_is_empty(sqs, provisioned)

    async def reprocess_changed() -> dict[str, int]:
        async with open_tool(marked) as repairs:
            await reprocess_all(
                repairs, user_id=None, status=ImageStatus.COMPLETED, before=utc_now(), recipe_changed=True
            )
        return report_of(repairs).counts

    assert await reprocess_changed() == {"up to date": 1}
    await s3.put_object(Bucket=provisioned.bucket, Key=logo, Body=OTHER_IMAGE)
    assert await reprocess_changed() == {"reprocessed": 1}


async def test_reprocessing_by_status_skips_images_that_ended_after_the_given_time(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    old = await failed(s3, dynamodb, provisioned, "img_1")
    await failed(s3, dynamodb, provisioned, "img_2")

    async with open_tool(provisioned) as repairs:
        await reprocess_all(
            repairs, user_id=None, status=ImageStatus.FAILED, before=old.updated_at, recipe_changed=False
        )

    assert report_of(repairs).counts == {"reprocessed": 1, "ended later": 1}
    assert (await current(dynamodb, provisioned, "img_1")).status == "pending"


async def test_an_image_whose_upload_was_deleted_keeps_its_result(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with running_worker(provisioned):
        key = await upload(s3, provisioned, "img_1", IMAGE)
        await wait_until_processed(dynamodb, provisioned, "img_1")
        await wait_until_queue_is_empty(sqs, provisioned)
    await s3.delete_object(Bucket=provisioned.bucket, Key=key)
    before = await table(dynamodb, provisioned)

    async with open_tool(provisioned) as repairs:
        await reprocess_all(
            repairs, user_id=USER, status=ImageStatus.COMPLETED, before=utc_now(), recipe_changed=False
        )

    assert report_of(repairs).counts == {"failed": 1}
    assert f"{key} no longer exists" in report_of(repairs).errors[0]
    assert await table(dynamodb, provisioned) == before


async def test_reconcile_finds_an_image_whose_message_could_not_be_sent(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image = await failed(s3, dynamodb, provisioned, "img_1")
    await purge_queue(sqs, provisioned)
    async with open_tool(provisioned) as repairs:
        url = f"{provisioned.endpoint_url}/000000000000/no-such-queue"
        broken_sender = JobSender(sqs, url=url, retry=RETRY_POLICIES.queue)
        await retry_image(replace(repairs, sender=broken_sender), image)
    assert report_of(repairs).counts == {"failed": 1}
    assert "reconcile" in report_of(repairs).errors[0]
    assert (await current(dynamodb, provisioned, "img_1")).status == "pending"

    async with open_tool(provisioned, command="reconcile") as repairs:
        await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))

    assert report_of(repairs).counts == {"requeued": 1}
    async with running_worker(provisioned):
        (after,) = await wait_until_processed(dynamodb, provisioned, "img_1")
    assert after.status == "completed"


async def test_reconcile_requeues_images_without_message_or_worker_only_once(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    await released(s3, dynamodb, provisioned, "img_1")
    await claimed(s3, dynamodb, provisioned, "img_2", lease_s=-1)
    await purge_queue(sqs, provisioned)

    async with open_tool(provisioned, command="reconcile") as repairs:
        await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))
        before = await table(dynamodb, provisioned)
        await reconcile_all(repairs, now=utc_now(), pending_for=PATIENCE)

    assert report_of(repairs).counts == {"requeued": 2}
    assert await table(dynamodb, provisioned) == before
    assert await messages_in(sqs, provisioned.queue_name) == 2
    async with running_worker(provisioned):
        images = await wait_until_processed(dynamodb, provisioned, "img_1", "img_2")
    assert [image.status for image in images] == ["completed"] * 2
    reasons = [[entry.detail.get("reason") for entry in image.history] for image in images]
    assert "requeued" in reasons[0]
    assert "lease_expired" in reasons[1]


async def test_two_concurrent_reconciles_send_one_message(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    await released(s3, dynamodb, provisioned, "img_1")
    await purge_queue(sqs, provisioned)

    async with open_tool(provisioned) as first, open_tool(provisioned) as second:
        now = utc_now()
        await asyncio.gather(
            *(reconcile_all(repairs, now=now, pending_for=timedelta(0)) for repairs in (first, second))
        )

    assert (report_of(first).counts + report_of(second).counts)["requeued"] == 1
    assert await messages_in(sqs, provisioned.queue_name) == 1


async def test_reconcile_fails_images_whose_upload_is_gone(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    for image in (
        await released(s3, dynamodb, provisioned, "img_1"),
        await claimed(s3, dynamodb, provisioned, "img_2", lease_s=-1),
    ):
        await s3.delete_object(Bucket=provisioned.bucket, Key=image.key)

    async with open_tool(provisioned, command="reconcile") as repairs:
        for _ in range(2):
            await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))

    assert report_of(repairs).counts == {"marked failed": 2}
    for image_id in ("img_1", "img_2"):
        image = await current(dynamodb, provisioned, image_id)
        assert image.error
        assert (image.status, image.error.code, image.lease) == ("failed", "source_missing", None)


async def test_reconcile_fails_an_image_that_killed_a_worker_which_processed_it_alone(
    s3: "S3Client", dynamodb: "DynamoDBClient", sqs: "SQSClient", provisioned: Settings
) -> None:
    before = await claimed(s3, dynamodb, provisioned, "img_1", lease_s=-2)
    now = utc_now()
    alone = Claimant(owner="alone/1", now=now, lease_until=now - timedelta(seconds=1), recipe="a recipe")
    await build_ledger(dynamodb, provisioned).claim(job_of(before), alone)

    async with open_tool(provisioned, command="reconcile") as repairs:
        await reconcile_all(repairs, now=utc_now(), pending_for=PATIENCE)
        assert (await current(dynamodb, provisioned, "img_1")).status == "processing"
        await reconcile_all(repairs, now=utc_now(), pending_for=timedelta(0))

    assert report_of(repairs).counts == {"marked failed": 1}
    image = await current(dynamodb, provisioned, "img_1")
    assert image.error
    assert (image.status, image.error.code, image.lease) == ("failed", "worker_killed", None)
    assert "alone" in image.error.message


async def test_reconcile_requeues_the_current_upload_when_it_was_replaced(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    before = await released(s3, dynamodb, provisioned, "img_1")
    await upload(s3, provisioned, "img_1", OTHER_IMAGE)
    await purge_queue(sqs, provisioned)

    async with open_tool(provisioned, command="reconcile") as repairs:
        await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))
    async with running_worker(provisioned):
        (after,) = await wait_until_processed(dynamodb, provisioned, "img_1")

    assert after.status == "completed"
    assert after.version.e_tag != before.version.e_tag
    assert after.renditions["medium"].height == 96


async def test_reconcile_does_not_change_leased_or_recently_pending_images(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    await claimed(s3, dynamodb, provisioned, "img_1")
    held = await claimed(s3, dynamodb, provisioned, "img_2")
    await s3.delete_object(Bucket=provisioned.bucket, Key=held.key)
    await released(s3, dynamodb, provisioned, "img_3")
    await purge_queue(sqs, provisioned)
    before = await table(dynamodb, provisioned)

    async with open_tool(provisioned) as repairs:
        await reconcile_all(repairs, now=utc_now(), pending_for=PATIENCE)

    assert report_of(repairs).counts == {}
    assert await table(dynamodb, provisioned) == before
    assert await messages_in(sqs, provisioned.queue_name) == 0


async def test_redriving_by_code_leaves_other_dead_letters_in_the_queue(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    first = await failed(s3, dynamodb, provisioned, "img_1")
    second = await failed(s3, dynamodb, provisioned, "img_2", code="internal_error")
    third = await failed(s3, dynamodb, provisioned, "img_3")
    await purge_queue(sqs, provisioned)
    await send_dead_letter(sqs, provisioned, first)
    await send_dead_letter(sqs, provisioned, second, code="internal_error")
    await send_dead_letter(sqs, provisioned, third, code=None)  # the record has the code

    async with open_tool(provisioned, command="queue redrive") as repairs:
        letters = await build_dead_letters(
            sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S, wait_time_s=0
        )
        for _ in range(2):
            await redrive_all(repairs, letters, image_id=None, code="unavailable", limit=None)

        assert report_of(repairs).counts == {"redriven": 2}
        async with running_worker(provisioned):
            images = await wait_until_processed(dynamodb, provisioned, "img_1", "img_3")
        left = [letter async for some in letters.read() for letter in some]
        images_by_key = await images_of(left, repairs.queries)

    assert [image.status for image in images] == ["completed"] * 2
    assert [diagnose(letter, images_by_key).code for letter in left] == ["internal_error"]
    assert (await current(dynamodb, provisioned, "img_2")).status == "failed"


async def test_a_dead_letter_is_kept_until_its_message_has_been_sent(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image = await failed(s3, dynamodb, provisioned, "img_1")
    await purge_queue(sqs, provisioned)
    await send_dead_letter(sqs, provisioned, image)

    async with open_tool(provisioned) as repairs:
        letters = await build_dead_letters(
            sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S, wait_time_s=0
        )
        url = f"{provisioned.endpoint_url}/000000000000/no-such-queue"
        broken_sender = JobSender(sqs, url=url, retry=RETRY_POLICIES.queue)
        broken = replace(repairs, sender=broken_sender)
        await redrive_all(broken, letters, image_id="img_1", code=None, limit=None)
        assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 1
        await redrive_all(repairs, letters, image_id="img_1", code=None, limit=None)

    assert report_of(repairs).counts == {"failed": 1, "redriven": 1}
    history = (await current(dynamodb, provisioned, "img_1")).history
    assert [entry.detail["reason"] for entry in history if entry.detail.get("by") == "a test"] == [
        "retried",
        "requeued",
    ]
    assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 0
    assert await messages_in(sqs, provisioned.queue_name) == 1


async def test_obsolete_dead_letters_are_deleted_and_unparsable_ones_kept(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with running_worker(provisioned):
        await upload(s3, provisioned, "img_1", IMAGE)
        (done,) = await wait_until_processed(dynamodb, provisioned, "img_1")
        await wait_until_queue_is_empty(sqs, provisioned)
    await send_dead_letter(sqs, provisioned, done)
    dead_url = await queue_url(sqs, provisioned.dead_letter_queue_name)
    await sqs.send_message(QueueUrl=dead_url, MessageBody="not a job")

    async with open_tool(provisioned) as repairs:
        letters = await build_dead_letters(
            sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S, wait_time_s=0
        )
        await redrive_all(repairs, letters, image_id=None, code=None, limit=None)

    assert report_of(repairs).counts == {"already processed": 1, "failed": 1}
    assert await messages_in(sqs, provisioned.queue_name) == 0
    assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 1


async def test_redriving_respects_the_limit_and_sends_two_of_the_same_image_once(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    twice = await failed(s3, dynamodb, provisioned, "img_1")
    for image in (twice, twice):
        await send_dead_letter(sqs, provisioned, image)
    others = [await failed(s3, dynamodb, provisioned, f"img_{number}") for number in range(2, 5)]
    await purge_queue(sqs, provisioned)

    async with open_tool(provisioned) as repairs:
        letters = await build_dead_letters(
            sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S, wait_time_s=0
        )
        await redrive_all(repairs, letters, image_id=None, code=None, limit=None)
        assert await messages_in(sqs, provisioned.queue_name) == 1
        assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 0
        for image in others:
            await send_dead_letter(sqs, provisioned, image)
        await redrive_all(repairs, letters, image_id=None, code=None, limit=2)

    assert await messages_in(sqs, provisioned.queue_name) == 3
    assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 1


async def test_only_unrecorded_uploads_are_enqueued(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image_ids = [f"img_{number}" for number in range(10)]
    async with running_worker(provisioned):
        for image_id in image_ids[:4]:
            await upload(s3, provisioned, image_id, IMAGE)
        await wait_until_processed(dynamodb, provisioned, *image_ids[:4])
        await wait_until_queue_is_empty(sqs, provisioned)
    for image_id in image_ids[4:]:
        await upload(s3, provisioned, image_id, IMAGE)
    await take_notifications(sqs, provisioned, 6)
    await s3.put_object(Bucket=provisioned.bucket, Key="uploads/readme.txt", Body=b"not an upload")

    async with open_tool(provisioned, command="enqueue") as repairs:
        await enqueue_all(repairs, prefix="uploads/")
        assert report_of(repairs).counts == {"already recorded": 4, "enqueued": 6, "not an upload": 1}
        async with running_worker(provisioned):
            images = await wait_until_processed(dynamodb, provisioned, *image_ids)
        report_of(repairs).counts.clear()
        await enqueue_all(repairs, prefix="uploads/")

    assert report_of(repairs).counts == {"already recorded": 10, "not an upload": 1}
    assert [(image.status, image.attempt) for image in images] == [("completed", 1)] * 10


async def test_an_upload_replaced_within_the_same_second_is_enqueued(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with running_worker(provisioned):
        await upload(s3, provisioned, "img_1", IMAGE)
        (before,) = await wait_until_processed(dynamodb, provisioned, "img_1")
        await wait_until_queue_is_empty(sqs, provisioned)
    await upload(s3, provisioned, "img_1", OTHER_IMAGE)
    await purge_queue(sqs, provisioned)

    async with open_tool(provisioned) as repairs:
        await enqueue_all(repairs, prefix=f"uploads/{USER}/")
    async with running_worker(provisioned):
        (after,) = await wait_until_processed(
            dynamodb, provisioned, "img_1", until=lambda image: image.version != before.version
        )

    assert report_of(repairs).counts == {"enqueued": 1}
    assert after.renditions["medium"].height == 96


async def test_a_dry_run_of_any_tool_reports_what_would_be_done_and_changes_nothing(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    dead = await failed(s3, dynamodb, provisioned, "img_1")
    await send_dead_letter(sqs, provisioned, dead)
    await released(s3, dynamodb, provisioned, "img_2")
    await claimed(s3, dynamodb, provisioned, "img_3", lease_s=-1)
    gone = await released(s3, dynamodb, provisioned, "img_4")
    await s3.delete_object(Bucket=provisioned.bucket, Key=gone.key)
    await upload(s3, provisioned, "img_5", IMAGE)
    await purge_queue(sqs, provisioned)
    names = (provisioned.queue_name, provisioned.dead_letter_queue_name)
    before = await table(dynamodb, provisioned), [await messages_in(sqs, name) for name in names]
    letters = await build_dead_letters(
        sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S, wait_time_s=0
    )
    tools: dict[str, tuple[Callable[[RepairContext], Awaitable[None]], dict[str, int]]] = {
        "retry": (lambda repairs: retry_image(repairs, dead), {"retried": 1}),
        "reprocess": (
            lambda repairs: reprocess_all(
                repairs, user_id=None, status=ImageStatus.FAILED, before=utc_now(), recipe_changed=False
            ),
            {"reprocessed": 1},
        ),
        "reconcile": (
            lambda repairs: reconcile_all(
                repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0)
            ),
            {"requeued": 2, "marked failed": 1},
        ),
        "redrive": (
            lambda repairs: redrive_all(repairs, letters, image_id=None, code=None, limit=None),
            {"redriven": 1},
        ),
        "enqueue": (
            lambda repairs: enqueue_all(repairs, prefix="uploads/"),
            {"already recorded": 3, "enqueued": 1},
        ),
    }

    for name, (tool, expected) in tools.items():
        async with open_tool(provisioned, dry_run=True) as repairs:
            await tool(repairs)
        assert report_of(repairs).counts == expected, name
        after = await table(dynamodb, provisioned), [await messages_in(sqs, each) for each in names]
        assert after == before, name


async def test_retention_is_set_with_its_requester_unless_the_image_is_being_processed(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    queries = build_queries(dynamodb, provisioned)
    writes = build_repair_writes(dynamodb, provisioned, a_requester("images retention"))
    busy = await claimed(s3, dynamodb, provisioned, "img_1")
    seen = await failed(s3, dynamodb, provisioned, "img_2")

    with pytest.raises(ImageBusyError):
        await set_retention(queries, writes, busy, ttl=4_000_000_000)
    assert await set_retention(queries, writes, seen, ttl=4_000_000_000)
    cleared = await set_retention(queries, writes, seen, ttl=None)  # read again: it has changed since

    assert cleared == await current(dynamodb, provisioned, "img_2")
    assert cleared.ttl is None
    assert [(entry.status, entry.detail["by"]) for entry in cleared.history[-2:]] == [
        ("retention_set", "a test")
    ] * 2
    ended = await build_ledger(dynamodb, provisioned).settle(busy, [image_failed(TRANSIENT, at=utc_now())])
    assert ended.status == "failed", "a worker is not disturbed"
    await dynamodb.delete_item(
        TableName=provisioned.table_name, Key={"imageId": {"S": "img_2"}, "userId": {"S": USER}}
    )
    assert await set_retention(queries, writes, cleared, ttl=1) is None
