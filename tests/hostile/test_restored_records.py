"""Records that were deleted, or restored from a backup, while the bucket has results of later attempts."""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image as Picture

from tests.support.builders import a_claimant, a_job, an_observer
from tests.support.crash_points import Fault, FaultInjector, FaultKind, InterceptedClient, check_history
from tests.support.emulators import create_table, delete_table
from tests.support.fakes.ports import FakeHold, FakeLogos, FakeMessageQueue, FakePool, FakeProfiles
from tests.support.pictures import encoded, opened
from tests.support.repairs import open_tool
from tests.support.retry import NO_WAIT
from tests.support.shared_storage import dynamodb, provisioned, s3, shared_storage, sqs, storage
from worker.bootstrap import (
    build_ledger,
    build_profile_store,
    build_queries,
    build_results,
    build_sources,
    build_table_identity,
    table_of,
)
from worker.cli.support.report import Report
from worker.delivery.handler import DeliveryConfig, MessageHandler
from worker.delivery.recipes import Recipes, recipe_builder
from worker.delivery.step_writer import StepWriter
from worker.domain.claim import Claimed
from worker.domain.clock import utc_now
from worker.domain.errors import LaterResultError, LeaseLostError, TransientError
from worker.domain.focus import Focus
from worker.domain.history import ATTEMPT_RAISED
from worker.domain.image import Failure, Image
from worker.domain.job import Job
from worker.domain.message import Delete, Disposition, Message
from worker.domain.profile import Statistics
from worker.domain.recipe import Recipe, Size
from worker.domain.status import ImageStatus
from worker.domain.step import DecoderOutput, EncodedRendition
from worker.domain.transition import image_released
from worker.dynamodb.ledger import DynamoLedger
from worker.dynamodb.profiles import profile_from_item
from worker.repair.result_state import reconcile_results
from worker.s3.results import S3Results
from worker.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

__all__ = ["dynamodb", "provisioned", "s3", "shared_storage", "sqs", "storage"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="session")


KEY = "processed/user_1/img_1.jpg"
SIZE = Size(name="medium", width=8, height=6)
SMALL = Size(name="small", width=4, height=3)
COLOURS = ("red", "green", "blue")


class ColouringPool(FakePool):
    """Makes renditions in the colour of the upload's first byte, each of its size."""

    async def run(
        self, content: object, recipe: Recipe, *, user_id: str, focus: Focus | None = None
    ) -> "AsyncGenerator[DecoderOutput, None]":
        assert isinstance(content, bytes | bytearray)
        async for output in super().run(b"upload", recipe, user_id=user_id):
            if isinstance(output, EncodedRendition):
                colour = COLOURS[content[0]]
                picture = encoded(Picture.new("RGB", (8, 6), colour))
                yield replace(output, width=8, height=6, content=picture)
            else:
                yield output


@dataclass
class Worker:
    """A handler on the real table and bucket, with a decoder pool in memory."""

    dynamodb: "DynamoDBClient"
    s3: "S3Client"
    settings: Settings
    sizes: tuple[Size, ...] = (SIZE,)
    uploads: int = 0

    async def upload(self, colour: str, *, size: int = 100) -> Job:
        """Upload a file; return its job."""
        self.uploads += 1
        content = bytes([COLOURS.index(colour)]) + b"x" * size
        job = a_job(
            upload=self.uploads,
            e_tag=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            uploaded_at=utc_now(),
        )
        job = replace(job, bucket=self.settings.bucket)
        await self.s3.put_object(Bucket=job.bucket, Key=job.key, Body=content, ContentType="image/jpeg")
        return job

    async def process(self, job: Job, *, receive_count: int = 1) -> Disposition:
        queue = FakeMessageQueue()
        handler = MessageHandler(
            parse=lambda _: [job],
            queue=queue,
            ledger=build_ledger(self.dynamodb, self.settings),
            recipes=Recipes(
                FakeProfiles(),
                recipe_builder(Recipe(sizes=self.sizes, watermark=None), {}, logo_prefix=""),
                FakeLogos().fill,
            ),
            sources=build_sources(self.s3),
            pool=ColouringPool(),
            results=self.results(),
            observer=an_observer(),
            clock=utc_now,
            config=DeliveryConfig(
                worker_id="worker-a", lease_s=60, max_receives=5, max_bytes=10_000, record_delay_s=0
            ),
        )
        message = Message(
            message_id="m", receipt_handle="r", body="", receive_count=receive_count, sent_at=utc_now()
        )
        return await handler.handle(message, FakeHold())

    def results(self) -> S3Results:
        identity = build_table_identity(self.dynamodb, self.settings)
        return build_results(self.s3, self.settings, table_identity=identity)

    async def uploaded(self, colour: str, *, size: int = 100) -> Job:
        """Upload a file and process it."""
        job = await self.upload(colour, size=size)
        assert await self.process(job) == Delete()
        return job

    async def image(self) -> Image:
        image = await build_queries(self.dynamodb, self.settings).image("img_1", "user_1", consistent=True)
        assert image
        return image

    async def item(self, image_id: str = "img_1") -> dict[str, Any]:
        key = {"imageId": {"S": image_id}, "userId": {"S": "user_1"}}
        response = await self.dynamodb.get_item(TableName=self.settings.table_name, Key=key)
        return dict(response["Item"])

    async def delete_record(self) -> None:
        key: Any = {"imageId": {"S": "img_1"}, "userId": {"S": "user_1"}}
        await self.dynamodb.delete_item(TableName=self.settings.table_name, Key=key)

    async def put(self, *items: dict[str, Any]) -> None:
        """Put items as a restore does."""
        for item in items:
            await self.dynamodb.put_item(TableName=self.settings.table_name, Item=item)

    async def statistics(self) -> Statistics:
        item = await build_profile_store(self.dynamodb, self.settings).get("user_1", consistent=True)
        return profile_from_item(item).statistics if item else Statistics()

    async def colour(self, key: str = KEY) -> str:
        response = await self.s3.get_object(Bucket=self.settings.results_bucket, Key=key)
        async with response["Body"] as body:
            pixel: Any = opened(await body.read()).getpixel((1, 1))
        return COLOURS[pixel.index(max(pixel))]

    async def assert_true(self, colour: str) -> Image:
        """Assert that record, results and statistics agree, and that the result has the colour."""
        image = await self.image()
        assert image.status is ImageStatus.COMPLETED
        for rendition in image.renditions.values():
            head = await self.s3.head_object(Bucket=self.settings.results_bucket, Key=rendition.key)
            assert head["ETag"].strip('"') == rendition.e_tag
            assert await self.colour(rendition.key) == colour
        return image


@pytest.fixture
def worker(dynamodb: "DynamoDBClient", s3: "S3Client", provisioned: Settings) -> Worker:
    return Worker(dynamodb, s3, provisioned)


@pytest.mark.parametrize("lost_attempts", [1, 2, 16])
async def test_a_newer_upload_replaces_results_that_are_later_than_a_restored_record(
    worker: Worker, lost_attempts: int
) -> None:
    await worker.uploaded("red")
    backup = [await worker.item(), await worker.item("user_profile")]
    for number in range(lost_attempts):
        await worker.uploaded(COLOURS[1 + number % 2], size=number)
    await worker.put(*backup)

    job = await worker.upload("blue", size=999)
    assert await worker.process(job) == Delete()

    image = await worker.assert_true("blue")
    assert image.attempt == lost_attempts + 2
    statistics = await worker.statistics()
    assert (statistics.total_images, statistics.total_storage_used) == (1, image.total_bytes())


@pytest.mark.parametrize("call", range(1, 9))
async def test_a_lost_response_of_any_write_to_a_restored_record_is_recognised(
    worker: Worker, call: int
) -> None:
    await worker.uploaded("red")
    backup = [await worker.item(), await worker.item("user_profile")]
    for size in range(3):
        await worker.uploaded("green", size=size)
    await worker.put(*backup)
    injector = FaultInjector([Fault(call, FaultKind.RESPONSE_LOST)])
    losing: Any = InterceptedClient(worker.dynamodb, injector, injector.new_worker())

    disposition = await replace(worker, dynamodb=losing).process(await worker.upload("blue"))

    assert disposition == Delete()
    image = await worker.assert_true("blue")
    check_history(image)
    assert image.attempt == 5
    assert [entry.detail.get("claimedAs") for entry in image.history].count(2) == 1
    assert (await worker.statistics()).total_images == 1


async def test_a_restored_record_of_several_sizes_is_processed_in_one_attempt(worker: Worker) -> None:
    worker.sizes = (SIZE, SMALL)
    await worker.uploaded("red")
    backup = await worker.item()
    await worker.uploaded("green")
    await worker.uploaded("green", size=5)
    await worker.put(backup)

    assert await worker.process(await worker.upload("blue")) == Delete()

    image = await worker.assert_true("blue")
    raised = [entry for entry in image.history if entry.detail.get("reason") == ATTEMPT_RAISED]
    assert [(entry.status, entry.attempt, entry.detail["claimedAs"]) for entry in raised] == [
        ("processing", 4, 2)
    ]
    assert (await worker.statistics()).total_images == 1


async def test_the_next_replacement_of_a_restored_record_is_an_ordinary_one(worker: Worker) -> None:
    await worker.uploaded("red")
    backup = await worker.item()
    for size in range(3):
        await worker.uploaded("green", size=size)
    await worker.put(backup)
    await worker.uploaded("blue")
    before = (await worker.image()).attempt

    await worker.uploaded("red", size=7)

    assert (await worker.assert_true("red")).attempt == before + 1


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_newer_upload_replaces_results_of_a_deleted_record(worker: Worker, attempts: int) -> None:
    for size in range(attempts):
        await worker.uploaded("green", size=size)
    await worker.delete_record()

    assert await worker.process(await worker.upload("blue")) == Delete()

    image = await worker.assert_true("blue")
    assert image.attempt == attempts + 1


async def test_the_same_event_again_completes_the_image_of_a_deleted_record(worker: Worker) -> None:
    await worker.uploaded("red")
    job = await worker.uploaded("green")
    await worker.delete_record()

    assert await worker.process(job) == Delete()

    await worker.assert_true("green")


async def test_a_worker_that_has_lost_its_lease_cannot_raise_its_attempt(worker: Worker) -> None:
    """The record decides: a result of a later attempt that the record has is never overwritten."""
    job = await worker.upload("red")
    ledger = build_ledger(worker.dynamodb, worker.settings)
    claim = await ledger.claim(job, a_claimant("worker-late/1", now=utc_now()))
    assert isinstance(claim, Claimed)
    await worker.uploaded("green")
    results = worker.results()
    picture = encoded(Picture.new("RGB", (8, 6), "red"))
    rendition = EncodedRendition(size="medium", width=8, height=6, format="jpeg", content=picture)

    with pytest.raises(LaterResultError) as raised:
        await results.store(claim.image, rendition, is_main=True)
    writer = StepWriter(ledger, claim.image, delay_s=0, clock=utc_now)
    with pytest.raises(LeaseLostError):
        await writer.raise_attempt(above=raised.value.stored_attempt)

    assert (await worker.assert_true("green")).attempt == 2


async def test_a_worker_whose_record_was_deleted_cannot_replace_the_result_of_the_next_record(
    worker: Worker,
) -> None:
    """The number of its attempt may be higher than that of the new record, which begins with 1."""
    job = await worker.upload("red")
    ledger = build_ledger(worker.dynamodb, worker.settings)
    first = await ledger.claim(job, a_claimant("worker-a/1", now=utc_now()))
    assert isinstance(first, Claimed)
    unavailable = Failure(code="unavailable", message="released", step=None, retryable=True)
    await ledger.settle(first.image, [image_released(unavailable, at=utc_now())])
    late = await ledger.claim(job, a_claimant("worker-late/1", now=utc_now(), recipe="of-the-late-worker"))
    assert isinstance(late, Claimed)
    await worker.delete_record()
    await worker.process(job)
    picture = encoded(Picture.new("RGB", (8, 6), "blue"))
    rendition = EncodedRendition(size="medium", width=8, height=6, format="jpeg", content=picture)

    with pytest.raises(LaterResultError) as raised:
        await worker.results().store(late.image, rendition, is_main=True)
    writer = StepWriter(ledger, late.image, delay_s=0, clock=utc_now)
    with pytest.raises(LeaseLostError):
        await writer.raise_attempt(above=raised.value.stored_attempt)

    assert (await worker.assert_true("red")).attempt == 1


async def test_an_attempt_whose_raise_lost_every_response_can_still_be_released(worker: Worker) -> None:
    injector = FaultInjector([Fault(2, FaultKind.RESPONSE_LOST), *[Fault(1, FaultKind.RESPONSE_LOST)] * 5])
    losing: Any = InterceptedClient(worker.dynamodb, injector, injector.new_worker())
    ledger = DynamoLedger(losing, table=table_of(worker.settings), retry=NO_WAIT)
    claim = await ledger.claim(await worker.upload("red"), a_claimant("worker-a/1", now=utc_now()))
    assert isinstance(claim, Claimed)
    writer = StepWriter(ledger, claim.image, delay_s=0, clock=utc_now)
    with pytest.raises(TransientError):
        await writer.raise_attempt(above=41)
    failure = Failure(code="unavailable", message="lost", step=None, retryable=True)

    await writer.settle(image_released(failure, at=writer.now()))

    image = await worker.image()
    check_history(image)
    assert (image.attempt, image.status) == (42, ImageStatus.PENDING)
    assert [entry.attempt for entry in image.history] == [0, 1, 1, 42, 42]


async def test_the_lease_is_renewed_while_and_after_the_attempt_is_raised(worker: Worker) -> None:
    ledger = build_ledger(worker.dynamodb, worker.settings)
    claim = await ledger.claim(await worker.upload("red"), a_claimant("worker-a/1", now=utc_now()))
    assert isinstance(claim, Claimed)
    writer = StepWriter(ledger, claim.image, delay_s=0, clock=utc_now)
    renew = writer.renew
    until = claim.image.updated_at.replace(microsecond=0)

    await asyncio.gather(
        writer.raise_attempt(above=41),
        *(renew(until=until) for _ in range(20)),
    )
    await renew(until=until)

    image = await worker.image()
    assert image.attempt == writer.image.attempt == 42
    assert image.lease
    assert image.lease.expires_at == until


@pytest.mark.parametrize("number", ["9" * 1900, "-1", "abc", ""], ids=["long", "negative", "text", "none"])
async def test_an_implausible_attempt_in_the_metadata_of_a_result_is_ignored(
    worker: Worker, number: str
) -> None:
    await worker.s3.put_object(
        Bucket=worker.settings.results_bucket,
        Key=KEY,
        Body=b"another",
        Metadata={"attempt": number} if number else {},
    )

    await worker.uploaded("blue")

    assert (await worker.assert_true("blue")).attempt == 1


async def counted(worker: Worker) -> tuple[int, int]:
    statistics = await worker.statistics()
    return statistics.total_images, statistics.total_storage_used


async def stored_and_abandoned(worker: Worker, job: Job) -> None:
    """Claim and store as a worker that is killed before it records the result."""
    ledger = build_ledger(worker.dynamodb, worker.settings)
    size = (await worker.s3.head_object(Bucket=job.bucket, Key=job.key))["ContentLength"]
    claim = await ledger.claim(
        replace(job, size_bytes=size),
        a_claimant("worker-dead/1", now=utc_now(), lease_s=-1, recipe="of-the-dead-worker"),
    )
    assert isinstance(claim, Claimed)
    writer = StepWriter(ledger, claim.image, delay_s=0, clock=utc_now)
    results = worker.results()
    picture = encoded(Picture.new("RGB", (8, 6), "blue"))
    rendition = EncodedRendition(size="medium", width=8, height=6, format="jpeg", content=picture)
    try:
        await results.store(writer.image, rendition, is_main=True)
    except LaterResultError as error:
        await writer.raise_attempt(above=error.stored_attempt)
        await results.store(writer.image, rendition, is_main=True)


async def test_the_same_event_after_its_record_was_deleted_does_not_count_twice(worker: Worker) -> None:
    job = await worker.uploaded("green")
    expected = await counted(worker)
    for _ in range(2):
        await worker.delete_record()

        assert await worker.process(job) == Delete()

        assert expected == await counted(worker) == (1, (await worker.image()).total_bytes())


async def test_a_newer_upload_after_its_record_was_deleted_counts_by_the_difference(worker: Worker) -> None:
    worker.sizes = (SIZE, SMALL)
    await worker.uploaded("green", size=500)
    await worker.delete_record()

    await worker.uploaded("blue", size=20)

    assert await counted(worker) == (1, (await worker.assert_true("blue")).total_bytes())


async def test_an_attempt_in_between_that_is_not_recorded_does_not_count_the_image_twice(
    worker: Worker,
) -> None:
    """The result of the deleted record is overwritten by an attempt that ends before it is recorded."""
    await worker.uploaded("green", size=500)
    await worker.delete_record()
    job = await worker.upload("blue", size=20)
    await stored_and_abandoned(worker, job)

    assert await worker.process(job) == Delete()

    assert await counted(worker) == (1, (await worker.assert_true("blue")).total_bytes())


async def test_an_image_whose_first_attempt_was_not_recorded_is_counted(worker: Worker) -> None:
    job = await worker.upload("blue")
    await stored_and_abandoned(worker, job)

    assert await worker.process(job) == Delete()

    assert await counted(worker) == (1, (await worker.assert_true("blue")).total_bytes())


async def test_an_image_that_fails_after_its_record_was_created_again_is_counted_once_it_completes(
    worker: Worker,
) -> None:
    job = await worker.uploaded("green")
    await worker.delete_record()
    await worker.process(job)
    missing = await worker.upload("blue", size=7)
    await worker.s3.delete_object(Bucket=missing.bucket, Key=missing.key)
    await worker.process(missing)
    assert await counted(worker) == (0, 0)

    await worker.uploaded("red", size=9)

    assert await counted(worker) == (1, (await worker.assert_true("red")).total_bytes())


@pytest.mark.parametrize("has_same_name", [True, False])
async def test_in_a_restored_table_an_image_that_is_newer_than_the_backup_is_counted(
    worker: Worker, has_same_name: bool
) -> None:
    """Neither the record nor the count are in the backup, and a restored table has another id."""
    job = await worker.uploaded("green")
    if has_same_name:
        await delete_table(worker.dynamodb, worker.settings.table_name)
    else:
        name = f"{worker.settings.table_name}-restored"
        worker.settings = worker.settings.model_copy(update={"table_name": name})
    await create_table(worker.dynamodb, worker.settings)

    assert await worker.process(job) == Delete()

    assert await counted(worker) == (1, (await worker.assert_true("green")).total_bytes())


async def test_a_profile_that_was_restored_with_its_records_stays_their_sum(worker: Worker) -> None:
    await worker.uploaded("red", size=100)
    backup = [await worker.item(), await worker.item("user_profile")]
    await worker.uploaded("green", size=900)
    await worker.put(*backup)

    await worker.uploaded("blue", size=50)

    assert await counted(worker) == (1, (await worker.assert_true("blue")).total_bytes())


async def reconciled(worker: Worker, *, dry_run: bool = False) -> Report:
    """Compare the results with the bucket; return the report."""
    report = Report("reconciling", dry_run=dry_run)
    async with open_tool(worker.settings, command="reconcile", dry_run=dry_run, report=report) as repairs:
        await reconcile_results(repairs)
    return report


@pytest.mark.parametrize("damage", ["missing", "another object", "another size missing"])
async def test_a_result_that_differs_from_its_record_is_found_and_repaired(
    worker: Worker, damage: str
) -> None:
    worker.sizes = (SIZE, SMALL)
    job = await worker.uploaded("green")
    before = await worker.image()
    keys = [rendition.key for rendition in before.renditions.values()]
    key = keys[-1] if damage == "another size missing" else KEY
    bucket = worker.settings.results_bucket
    if damage == "another object":
        await worker.s3.put_object(Bucket=bucket, Key=key, Body=b"another")
    else:
        await worker.s3.delete_object(Bucket=bucket, Key=key)

    dry = await reconciled(worker, dry_run=True)
    assert await worker.image() == before
    report = await reconciled(worker)
    pending = await worker.image()
    assert await worker.process(job) == Delete()

    action = "requeued: a result is missing"
    if damage == "another object":
        action = "requeued: another object in place of a result"
    assert dry.counts == report.counts == {action: 1}
    assert pending.status is ImageStatus.PENDING
    repaired = await worker.assert_true("green")
    assert await counted(worker) == (1, repaired.total_bytes())
    assert (await reconciled(worker)).counts == {"results as recorded": 1}


async def test_a_result_of_another_image_is_reported_and_left(worker: Worker) -> None:
    await worker.uploaded("green")
    await worker.s3.put_object(
        Bucket=worker.settings.results_bucket, Key=KEY, Body=b"x", Metadata={"image": "user_1/img_2"}
    )
    before = await worker.image()

    report = await reconciled(worker)

    assert report.counts == {"failed": 1}
    assert "is of another image" in report.errors[0]
    assert await worker.image() == before


async def test_a_missing_result_without_an_upload_is_reported_and_its_record_left(worker: Worker) -> None:
    job = await worker.uploaded("green")
    await worker.s3.delete_object(Bucket=worker.settings.results_bucket, Key=KEY)
    await worker.s3.delete_object(Bucket=job.bucket, Key=job.key)
    before = await worker.image()

    report = await reconciled(worker)

    assert report.counts == {"failed": 1}
    assert "no longer exists; the record is left unchanged" in report.errors[0]
    assert await worker.image() == before


async def test_after_a_restore_reconcile_finds_results_that_are_newer_than_their_records(
    worker: Worker,
) -> None:
    await worker.uploaded("red")
    backup = [await worker.item(), await worker.item("user_profile")]
    newer = await worker.uploaded("green", size=3)
    await worker.put(*backup)

    report = await reconciled(worker)
    assert await worker.process(newer) == Delete()

    assert report.counts == {"requeued: another object in place of a result": 1}
    assert await counted(worker) == (1, (await worker.assert_true("green")).total_bytes())
