"""The repair tools, on a real emulator and, where it matters, with a real worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.adapters import ledger_of, profile_of
from tests.support.emulators import messages_in
from tests.support.pictures import encoded, scene
from tests.support.whole_worker import USER, announcements, emptied, ended, put, working
from worker.bootstrap import (
    RETRY_POLICIES,
    build_dead_letters,
    build_queries,
    open_clients,
    open_repairs,
    queue_url,
)
from worker.cli.support.report import Report
from worker.domain.claim import Claimant, Claimed
from worker.domain.clock import utc_now
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
from worker.settings import Settings
from worker.sqs import dead_letters
from worker.sqs.events import to_body
from worker.sqs.sender import JobSender

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

PICTURE = encoded(scene(96, 72))
OTHER_PICTURE = encoded(scene(72, 96))
PATIENCE = timedelta(minutes=5)
TRANSIENT = Failure(code="unavailable", message="the bucket was away", step=None, retryable=True)


@pytest.fixture(autouse=True)
def _polls_that_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator is one server: a poll that does not wait misses nothing."""
    monkeypatch.setattr(dead_letters, "_WAIT_S", 0)


@asynccontextmanager
async def open_tool(
    settings: Settings, *, requested_by: str = "a test", dry_run: bool = False
) -> AsyncIterator[RepairContext]:
    """Open the dependencies of the repair tools, without a noticeable rate limit."""
    report = Report("testing", dry_run=dry_run)
    async with (
        open_clients(settings) as clients,
        open_repairs(
            settings, clients, requested_by=requested_by, reporter=report, rate_per_s=10_000, dry_run=dry_run
        ) as repairs,
    ):
        yield repairs


def report_of(repairs: RepairContext) -> Report:
    assert isinstance(repairs.reporter, Report)
    return repairs.reporter


async def claimed(
    s3: "S3Client", dynamodb: "DynamoDBClient", settings: Settings, image_id: str, *, lease_s: float = 60
) -> Image:
    """Return a picture that was uploaded and claimed; a negative lease is over already."""
    key = await put(s3, settings, image_id, PICTURE)
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
        recipe="a recipe of old",
    )
    answer = await ledger_of(dynamodb, settings).claim(job, claimant)
    assert isinstance(answer, Claimed)
    return answer.image


async def released(s3: "S3Client", dynamodb: "DynamoDBClient", settings: Settings, image_id: str) -> Image:
    """Return a picture that is pending, as if its worker had been told to stop."""
    image = await claimed(s3, dynamodb, settings, image_id)
    move = image_released(TRANSIENT, at=utc_now())
    return await ledger_of(dynamodb, settings).settle(image, [move])


async def failed(
    s3: "S3Client",
    dynamodb: "DynamoDBClient",
    settings: Settings,
    image_id: str,
    *,
    code: str = TRANSIENT.code,
) -> Image:
    """Return a picture that has failed for something that has passed."""
    image = await claimed(s3, dynamodb, settings, image_id)
    move = image_failed(replace(TRANSIENT, code=code), at=utc_now())
    return await ledger_of(dynamodb, settings).settle(image, [move])


async def the(dynamodb: "DynamoDBClient", settings: Settings, image_id: str) -> Image:
    """Return the image as it is now."""
    image = await build_queries(dynamodb, settings).image(image_id, USER, consistent=True)
    assert image
    return image


async def buried(
    sqs: "SQSClient", settings: Settings, image: Image, *, code: str | None = TRANSIENT.code
) -> None:
    """Put an image's job among the dead letters, as a worker does, or as a redrive policy: without a word."""
    url = await queue_url(sqs, settings.dead_letter_queue_name)
    attributes: Any = {
        name: {"DataType": "String", "StringValue": value}
        for name, value in {"code": code, "reason": "why not"}.items()
        if code and value
    }
    body = to_body(job_of(image), reason="dead letter")
    await sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)


async def forget_messages(sqs: "SQSClient", settings: Settings) -> None:
    await sqs.purge_queue(QueueUrl=await queue_url(sqs, settings.queue_name))


async def table(dynamodb: "DynamoDBClient", settings: Settings) -> list[Any]:
    """Return everything in the table."""
    items = (await dynamodb.scan(TableName=settings.table_name, ConsistentRead=True))["Items"]
    return sorted(items, key=str)


async def test_a_retry_after_the_cause_is_gone_ends_completed(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    content = encoded(scene(640, 480))
    async with working(provisioned.model_copy(update={"max_bytes": 1024})):
        await put(s3, provisioned, "img_1", content)
        (first,) = await ended(dynamodb, provisioned, "img_1")
        await emptied(sqs, provisioned)
    assert first.status == "failed"

    async with open_tool(provisioned, requested_by="images retry") as repairs:
        await retry_image(repairs, first)
        await retry_image(repairs, await the(dynamodb, provisioned, "img_1"))
    assert report_of(repairs).counts == {"retried": 1, "already pending": 1}

    async with working(provisioned):
        (second,) = await ended(dynamodb, provisioned, "img_1")
    assert (second.status, second.error, second.attempt) == ("completed", None, 2)
    asked = [entry for entry in second.history if entry.detail.get("reason") == "retried"]
    assert [(entry.status, entry.detail["by"]) for entry in asked] == [("pending", "images retry")]


async def test_pictures_whose_recipe_has_changed_get_a_new_result_and_count_as_before(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image_ids = ["img_1", "img_2", "img_3"]
    async with working(provisioned):
        for image_id in image_ids:
            await put(s3, provisioned, image_id, PICTURE)
        before = await ended(dynamodb, provisioned, *image_ids)
        await emptied(sqs, provisioned)
    changed = provisioned.model_copy(update={"quality": 40})

    async def ask(settings: Settings) -> dict[str, int]:
        async with open_tool(settings, requested_by="images reprocess") as repairs:
            await reprocess_all(
                repairs, user_id=USER, status=ImageStatus.COMPLETED, before=utc_now(), recipe_changed=True
            )
        return report_of(repairs).counts

    assert await ask(provisioned) == {"up to date": 3}
    assert await ask(changed) == {"reprocessed": 3}
    assert await ask(changed) == {}
    async with working(changed):
        after = await ended(dynamodb, provisioned, *image_ids)
        await emptied(sqs, provisioned)
    assert await ask(changed) == {"up to date": 3}

    assert [image.status for image in after] == ["completed"] * 3
    for old, new in zip(before, after, strict=True):
        assert old.renditions["medium"].e_tag != new.renditions["medium"].e_tag
    profile = await profile_of(dynamodb, provisioned, USER)
    assert profile
    assert profile.statistics.total_images == 3
    assert profile.statistics.total_storage_used == sum(image.total_bytes() for image in after)


async def test_a_picture_is_up_to_date_until_its_logo_is_another(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    logo = f"{provisioned.watermark_logos_prefix}logo.jpg"
    await s3.put_object(Bucket=provisioned.bucket, Key=logo, Body=PICTURE)
    marked = provisioned.model_copy(update={"watermark_image": f"s3://{provisioned.bucket}/{logo}"})
    async with working(marked):
        await put(s3, provisioned, "img_1", encoded(scene(640, 480)))
        await ended(dynamodb, provisioned, "img_1")
        await emptied(sqs, provisioned)

    async def ask() -> dict[str, int]:
        async with open_tool(marked) as repairs:
            await reprocess_all(
                repairs, user_id=None, status=ImageStatus.COMPLETED, before=utc_now(), recipe_changed=True
            )
        return report_of(repairs).counts

    assert await ask() == {"up to date": 1}
    await s3.put_object(Bucket=provisioned.bucket, Key=logo, Body=OTHER_PICTURE)
    assert await ask() == {"reprocessed": 1}


async def test_reprocessing_by_status_leaves_out_what_ended_after_the_given_moment(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    old = await failed(s3, dynamodb, provisioned, "img_1")
    await failed(s3, dynamodb, provisioned, "img_2")

    async with open_tool(provisioned) as repairs:
        await reprocess_all(
            repairs, user_id=None, status=ImageStatus.FAILED, before=old.updated_at, recipe_changed=False
        )

    assert report_of(repairs).counts == {"reprocessed": 1, "ended later": 1}
    assert (await the(dynamodb, provisioned, "img_1")).status == "pending"


async def test_a_picture_whose_upload_was_tidied_away_keeps_its_result(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with working(provisioned):
        key = await put(s3, provisioned, "img_1", PICTURE)
        await ended(dynamodb, provisioned, "img_1")
        await emptied(sqs, provisioned)
    await s3.delete_object(Bucket=provisioned.bucket, Key=key)
    before = await table(dynamodb, provisioned)

    async with open_tool(provisioned) as repairs:
        await reprocess_all(
            repairs, user_id=USER, status=ImageStatus.COMPLETED, before=utc_now(), recipe_changed=False
        )

    assert report_of(repairs).counts == {"failed": 1}
    assert f"{key} no longer exists" in report_of(repairs).errors[0]
    assert await table(dynamodb, provisioned) == before


async def test_what_was_moved_and_never_sent_is_found_by_reconcile(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image = await failed(s3, dynamodb, provisioned, "img_1")
    await forget_messages(sqs, provisioned)
    async with open_tool(provisioned) as repairs:
        url = f"{provisioned.endpoint_url}/000000000000/no-such-queue"
        broken_sender = JobSender(sqs, url=url, retry=RETRY_POLICIES.queue)
        await retry_image(replace(repairs, sender=broken_sender), image)
    assert report_of(repairs).counts == {"failed": 1}
    assert "reconcile" in report_of(repairs).errors[0]
    assert (await the(dynamodb, provisioned, "img_1")).status == "pending"

    async with open_tool(provisioned, requested_by="reconcile") as repairs:
        await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))

    assert report_of(repairs).counts == {"requeued": 1}
    async with working(provisioned):
        (after,) = await ended(dynamodb, provisioned, "img_1")
    assert after.status == "completed"


async def test_reconcile_revives_what_lost_its_message_or_its_worker_and_the_second_time_does_nothing(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    await released(s3, dynamodb, provisioned, "img_1")
    await claimed(s3, dynamodb, provisioned, "img_2", lease_s=-1)
    await forget_messages(sqs, provisioned)

    async with open_tool(provisioned, requested_by="reconcile") as repairs:
        await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))
        before = await table(dynamodb, provisioned)
        await reconcile_all(repairs, now=utc_now(), pending_for=PATIENCE)

    assert report_of(repairs).counts == {"requeued": 2}
    assert await table(dynamodb, provisioned) == before
    assert await messages_in(sqs, provisioned.queue_name) == 2
    async with working(provisioned):
        images = await ended(dynamodb, provisioned, "img_1", "img_2")
    assert [image.status for image in images] == ["completed"] * 2
    reasons = [[entry.detail.get("reason") for entry in image.history] for image in images]
    assert "requeued" in reasons[0]
    assert "lease_expired" in reasons[1]


async def test_two_reconciles_at_once_send_one_message(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    await released(s3, dynamodb, provisioned, "img_1")
    await forget_messages(sqs, provisioned)

    async with open_tool(provisioned) as one, open_tool(provisioned) as other:
        now = utc_now()
        await asyncio.gather(
            *(reconcile_all(repairs, now=now, pending_for=timedelta(0)) for repairs in (one, other))
        )

    assert (report_of(one).counts + report_of(other).counts)["requeued"] == 1
    assert await messages_in(sqs, provisioned.queue_name) == 1


async def test_reconcile_fails_what_has_no_upload_any_more(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    for image in (
        await released(s3, dynamodb, provisioned, "img_1"),
        await claimed(s3, dynamodb, provisioned, "img_2", lease_s=-1),
    ):
        await s3.delete_object(Bucket=provisioned.bucket, Key=image.key)

    async with open_tool(provisioned, requested_by="reconcile") as repairs:
        for _ in range(2):
            await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))

    assert report_of(repairs).counts == {"marked failed": 2}
    for image_id in ("img_1", "img_2"):
        image = await the(dynamodb, provisioned, image_id)
        assert image.error
        assert (image.status, image.error.code, image.lease) == ("failed", "source_missing", None)


async def test_reconcile_asks_for_what_lies_there_now_when_the_upload_was_replaced(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    before = await released(s3, dynamodb, provisioned, "img_1")
    await put(s3, provisioned, "img_1", OTHER_PICTURE)
    await forget_messages(sqs, provisioned)

    async with open_tool(provisioned, requested_by="reconcile") as repairs:
        await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))
    async with working(provisioned):
        (after,) = await ended(dynamodb, provisioned, "img_1")

    assert after.status == "completed"
    assert after.version.e_tag != before.version.e_tag
    assert after.renditions["medium"].height == 96


async def test_reconcile_touches_nothing_that_is_leased_or_lately_pending(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    await claimed(s3, dynamodb, provisioned, "img_1")
    held = await claimed(s3, dynamodb, provisioned, "img_2")
    await s3.delete_object(Bucket=provisioned.bucket, Key=held.key)
    await released(s3, dynamodb, provisioned, "img_3")
    await forget_messages(sqs, provisioned)
    before = await table(dynamodb, provisioned)

    async with open_tool(provisioned) as repairs:
        await reconcile_all(repairs, now=utc_now(), pending_for=PATIENCE)

    assert report_of(repairs).counts == {}
    assert await table(dynamodb, provisioned) == before
    assert await messages_in(sqs, provisioned.queue_name) == 0


async def test_redriving_by_code_completes_those_and_leaves_the_others_where_they_are(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    first = await failed(s3, dynamodb, provisioned, "img_1")
    second = await failed(s3, dynamodb, provisioned, "img_2", code="internal_error")
    third = await failed(s3, dynamodb, provisioned, "img_3")
    await forget_messages(sqs, provisioned)
    await buried(sqs, provisioned, first)
    await buried(sqs, provisioned, second, code="internal_error")
    await buried(sqs, provisioned, third, code=None)  # its record knows

    async with open_tool(provisioned, requested_by="queue redrive") as repairs:
        letters = await build_dead_letters(sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S)
        for _ in range(2):
            await redrive_all(repairs, letters, image_id=None, code="unavailable", limit=None)

        assert report_of(repairs).counts == {"redriven": 2}
        async with working(provisioned):
            images = await ended(dynamodb, provisioned, "img_1", "img_3")
        left = [letter async for some in letters.read() for letter in some]
        images_by_key = await images_of(left, repairs.queries)

    assert [image.status for image in images] == ["completed"] * 2
    assert [diagnose(letter, images_by_key).code for letter in left] == ["internal_error"]
    assert (await the(dynamodb, provisioned, "img_2")).status == "failed"


async def test_a_letter_stays_when_its_message_cannot_be_sent_and_goes_with_the_next_run(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image = await failed(s3, dynamodb, provisioned, "img_1")
    await forget_messages(sqs, provisioned)
    await buried(sqs, provisioned, image)

    async with open_tool(provisioned) as repairs:
        letters = await build_dead_letters(sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S)
        url = f"{provisioned.endpoint_url}/000000000000/no-such-queue"
        broken_sender = JobSender(sqs, url=url, retry=RETRY_POLICIES.queue)
        broken = replace(repairs, sender=broken_sender)
        await redrive_all(broken, letters, image_id="img_1", code=None, limit=None)
        assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 1
        await redrive_all(repairs, letters, image_id="img_1", code=None, limit=None)

    assert report_of(repairs).counts == {"failed": 1, "redriven": 1}
    assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 0
    assert await messages_in(sqs, provisioned.queue_name) == 1


async def test_letters_that_are_settled_go_and_those_that_nobody_can_read_stay(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with working(provisioned):
        await put(s3, provisioned, "img_1", PICTURE)
        (done,) = await ended(dynamodb, provisioned, "img_1")
        await emptied(sqs, provisioned)
    await buried(sqs, provisioned, done)
    dead_url = await queue_url(sqs, provisioned.dead_letter_queue_name)
    await sqs.send_message(QueueUrl=dead_url, MessageBody="what is this?")

    async with open_tool(provisioned) as repairs:
        letters = await build_dead_letters(sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S)
        await redrive_all(repairs, letters, image_id=None, code=None, limit=None)

    assert report_of(repairs).counts == {"already processed": 1, "failed": 1}
    assert await messages_in(sqs, provisioned.queue_name) == 0
    assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 1


async def test_no_more_letters_are_sent_back_than_asked_and_two_of_one_picture_are_sent_once(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    twice = await failed(s3, dynamodb, provisioned, "img_1")
    for image in (twice, twice):
        await buried(sqs, provisioned, image)
    others = [await failed(s3, dynamodb, provisioned, f"img_{number}") for number in range(2, 5)]
    await forget_messages(sqs, provisioned)

    async with open_tool(provisioned) as repairs:
        letters = await build_dead_letters(sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S)
        await redrive_all(repairs, letters, image_id=None, code=None, limit=None)
        assert await messages_in(sqs, provisioned.queue_name) == 1
        assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 0
        for image in others:
            await buried(sqs, provisioned, image)
        await redrive_all(repairs, letters, image_id=None, code=None, limit=2)

    assert await messages_in(sqs, provisioned.queue_name) == 3
    assert await messages_in(sqs, provisioned.dead_letter_queue_name) == 1


async def test_of_fifty_objects_of_which_twenty_are_done_thirty_are_asked_for(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    image_ids = [f"img_{number}" for number in range(50)]
    async with working(provisioned):
        for image_id in image_ids[:20]:
            await put(s3, provisioned, image_id, PICTURE)
        await ended(dynamodb, provisioned, *image_ids[:20])
        await emptied(sqs, provisioned)
    for image_id in image_ids[20:]:
        await put(s3, provisioned, image_id, PICTURE)
    await announcements(sqs, provisioned, 30)
    await s3.put_object(Bucket=provisioned.bucket, Key="uploads/readme.txt", Body=b"no upload")

    async with open_tool(provisioned, requested_by="enqueue") as repairs:
        await enqueue_all(repairs, prefix="uploads/")
        assert report_of(repairs).counts == {"already recorded": 20, "enqueued": 30, "not an upload": 1}
        async with working(provisioned):
            images = await ended(dynamodb, provisioned, *image_ids)
        report_of(repairs).counts.clear()
        await enqueue_all(repairs, prefix="uploads/")

    assert report_of(repairs).counts == {"already recorded": 50, "not an upload": 1}
    assert [(image.status, image.attempt) for image in images] == [("completed", 1)] * 50


async def test_an_object_that_replaced_a_recorded_one_within_the_same_second_is_asked_for(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    async with working(provisioned):
        await put(s3, provisioned, "img_1", PICTURE)
        (before,) = await ended(dynamodb, provisioned, "img_1")
        await emptied(sqs, provisioned)
    await put(s3, provisioned, "img_1", OTHER_PICTURE)
    await forget_messages(sqs, provisioned)

    async with open_tool(provisioned) as repairs:
        await enqueue_all(repairs, prefix=f"uploads/{USER}/")
    async with working(provisioned), asyncio.timeout(30):
        while (after := (await ended(dynamodb, provisioned, "img_1"))[0]).version == before.version:
            pass

    assert report_of(repairs).counts == {"enqueued": 1}
    assert after.renditions["medium"].height == 96


@pytest.mark.parametrize("tool_name", ["retry", "reprocess", "reconcile", "redrive", "enqueue"])
async def test_a_dry_run_says_what_would_be_done_and_changes_nothing(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings, tool_name: str
) -> None:
    dead = await failed(s3, dynamodb, provisioned, "img_1")
    await buried(sqs, provisioned, dead)
    await released(s3, dynamodb, provisioned, "img_2")
    await claimed(s3, dynamodb, provisioned, "img_3", lease_s=-1)
    gone = await released(s3, dynamodb, provisioned, "img_4")
    await s3.delete_object(Bucket=provisioned.bucket, Key=gone.key)
    await put(s3, provisioned, "img_5", PICTURE)
    await forget_messages(sqs, provisioned)
    names = (provisioned.queue_name, provisioned.dead_letter_queue_name)
    before = await table(dynamodb, provisioned), [await messages_in(sqs, name) for name in names]

    async with open_tool(provisioned, dry_run=True) as repairs:
        match tool_name:
            case "retry":
                await retry_image(repairs, dead)
            case "reprocess":
                await reprocess_all(
                    repairs, user_id=None, status=ImageStatus.FAILED, before=utc_now(), recipe_changed=False
                )
            case "reconcile":
                await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))
            case "redrive":
                letters = await build_dead_letters(sqs, provisioned, visibility_timeout_s=LIST_VISIBILITY_S)
                await redrive_all(repairs, letters, image_id=None, code=None, limit=None)
            case "enqueue":
                await enqueue_all(repairs, prefix="uploads/")

    expected = {
        "retry": {"retried": 1},
        "reprocess": {"reprocessed": 1},
        "reconcile": {"requeued": 2, "marked failed": 1},
        "redrive": {"redriven": 1},
        "enqueue": {"already recorded": 3, "enqueued": 1},
    }
    assert report_of(repairs).counts == expected[tool_name]
    assert (await table(dynamodb, provisioned), [await messages_in(sqs, name) for name in names]) == before
