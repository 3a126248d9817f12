"""The guarantees hold if a worker crashes at any of its AWS calls, or loses any response, once or twice."""

import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count, product
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from botocore.exceptions import ConnectionClosedError
from structlog.testing import capture_logs

from tests.support.builders import a_requester
from tests.support.crash_points import (
    Aws,
    Fault,
    FaultInjector,
    FaultKind,
    WorkerOptions,
    WorkerSequence,
    check_history,
    clients_of_new_worker,
    is_result_of,
    receive,
    run_until_done_or_crashed,
)
from tests.support.user_profiles import profiles_of
from worker.bootstrap import (
    RETRY_POLICIES,
    Clients,
    build_dead_letters,
    build_deletions,
    build_ledger,
    build_queries,
    open_repairs,
    queue_url,
    table_of,
)
from worker.cli.support.options import find_image
from worker.cli.support.report import Report
from worker.domain.claim import Claimant
from worker.domain.clock import utc_now
from worker.domain.errors import CorruptError, TransientError
from worker.domain.image import Image
from worker.domain.recipe import Recipe, Size
from worker.domain.status import ImageStatus
from worker.dynamodb.repair_writes import RepairWrites
from worker.repair.context import RepairContext
from worker.repair.deletion import DeletionContext, delete_image, forget_user
from worker.repair.enqueue import enqueue_all
from worker.repair.orphans import MIN_AGE, reconcile_orphans
from worker.repair.reconcile import reconcile_all
from worker.repair.redrive import redrive_all
from worker.repair.reprocess import reprocess_images, retry_image
from worker.repair.requests import job_of
from worker.repair.result_state import reconcile_results
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

CASE_NUMBERS = count(1)
SIZES = (Size("medium", 800, 600), Size("small", 400, 300), Size("thumbnail", 100, 75))
MESSAGE_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
NOTIFICATION_TIMEOUT_S = 20
"""How long to wait for the S3 notification of an upload."""


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """Keep the log lines of thousands of crashes out of the output."""
    with capture_logs():
        yield


@pytest.fixture
async def aws(provisioned: Settings, s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient") -> Aws:
    url = await queue_url(sqs, provisioned.queue_name)
    await sqs.purge_queue(QueueUrl=url)  # S3 sends a test event when notifications are configured
    return Aws(
        settings=provisioned,
        s3=s3,
        sqs=sqs,
        dynamodb=dynamodb,
        url=url,
        dead_letter_url=await queue_url(sqs, provisioned.dead_letter_queue_name),
    )


@dataclass(frozen=True, slots=True)
class CaseResult:
    """
    The state after the message has been processed in spite of all faults.

    Attributes:
        images: Images of the message.
        calls_since_fault: Names of the AWS calls made after the last fault.
        all_injected: Whether every fault has occurred.
    """

    images: list[Image]
    calls_since_fault: list[str]
    all_injected: bool


class Case:
    """
    Uploads of a new user, processed by one worker after another in spite of the faults.

    Args:
        aws: Clients and resources.
        options: How the workers behave.
        uploads: Number of uploads in one message.
    """

    def __init__(self, aws: Aws, options: WorkerOptions, *, uploads: int = 1) -> None:
        self.aws, self.options = aws, options
        number = next(CASE_NUMBERS)
        self.user_id, self.image_id = f"user_{number}", f"img_{number}"
        self.image_ids = [self.image_id, *(f"{self.image_id}_{place}" for place in range(1, uploads))]

    async def upload(self, content: bytes) -> None:
        for image_id in self.image_ids:
            await self.aws.s3.put_object(
                Bucket=self.aws.settings.bucket,
                Key=f"uploads/{self.user_id}/{image_id}.jpg",
                Body=content,
                ContentType="image/jpeg",
            )
        if len(self.image_ids) > 1:
            await self._merge_notifications()

    async def _merge_notifications(self) -> None:
        bodies = [json.loads(received["Body"]) for received in await self.take_notifications()]
        records = [record for body in bodies for record in body["Records"]]
        await self.aws.sqs.send_message(QueueUrl=self.aws.url, MessageBody=json.dumps({"Records": records}))

    async def take_notifications(self) -> list[Any]:
        """Receive and delete the S3 notifications of the uploads."""
        messages: list[Any] = []
        for _ in self.image_ids:
            received = await receive(self.aws, within_s=NOTIFICATION_TIMEOUT_S)
            assert received, "S3 did not send a notification for an upload"
            await self.aws.sqs.delete_message(QueueUrl=self.aws.url, ReceiptHandle=received["ReceiptHandle"])
            messages.append(received)
        return messages

    async def run(self, content: bytes, faults: Sequence[Fault] = ()) -> CaseResult:
        """Upload the content and run workers with the faults until the queue is empty."""
        injector = FaultInjector(faults)
        await self.upload(content)
        workers = WorkerSequence(self.aws, injector, self.options)
        await workers.run_until_queue_is_empty(first_within_s=NOTIFICATION_TIMEOUT_S)
        images = [await self.image(image_id) for image_id in self.image_ids]
        return CaseResult(images, injector.names_since_fault, injector.all_injected)

    def with_options(self, options: WorkerOptions) -> "Case":
        """Return the same case with other worker options."""
        other = copy(self)
        other.options = options
        return other

    async def finish(self) -> None:
        """Run workers without faults until the queue is empty."""
        await WorkerSequence(self.aws, FaultInjector(), self.options).run_until_queue_is_empty()

    async def image(self, image_id: str | None = None) -> Image:
        image = await self.record(image_id)
        assert image, "the table has no item of the image"
        return image

    async def record(self, image_id: str | None = None) -> Image | None:
        queries = build_queries(self.aws.dynamodb, self.aws.settings)
        return await queries.image(image_id or self.image_id, self.user_id, consistent=True)

    async def check(self, images: Sequence[Image], content: bytes, *, completions: int = 1) -> None:
        """Assert every guarantee for completed images: history, renditions, statistics, empty queues."""
        for image in images:
            check_history(image)
            assert image.status is ImageStatus.COMPLETED
            assert [entry.status for entry in image.history if entry.step is None].count(
                "completed"
            ) == completions
            assert image.renditions.keys() == {size.name for size in self.options.recipe.sizes}
            for size, rendition in image.renditions.items():
                stored = await self.aws.s3.get_object(Bucket=self.aws.settings.bucket, Key=rendition.key)
                async with stored["Body"] as body:
                    result = await body.read()
                assert is_result_of(result, content, size)
                assert len(result) == rendition.size_bytes
                assert stored["ETag"].strip('"') == rendition.e_tag
        assert await self.statistics() == (len(images), sum(image.total_bytes() for image in images))
        assert await self.message_counts() == (0, 0)

    async def result_keys(self) -> set[str]:
        """Return the keys of all results of the case's user."""
        prefix = f"processed/{self.user_id}/"
        listed = await self.aws.s3.list_objects_v2(Bucket=self.aws.settings.bucket, Prefix=prefix)
        return {found["Key"] for found in listed.get("Contents", [])}

    async def statistics(self) -> tuple[int, int]:
        profiles = profiles_of(self.aws.dynamodb, self.aws.settings)
        profile = await profiles.get(self.user_id)
        return (profile.statistics.total_images, profile.statistics.total_storage_used) if profile else (0, 0)

    async def message_counts(self) -> tuple[int, int]:
        """Return the number of messages in the queue and in the dead-letter queue."""
        counts: list[int] = []
        for url in (self.aws.url, self.aws.dead_letter_url):
            response = await self.aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            counts.append(sum(int(response["Attributes"][name]) for name in MESSAGE_COUNTS))
        waiting, letters = counts
        return waiting, letters


def faults_of(calls: int) -> list[Fault]:
    return [Fault(number, kind) for number in range(1, calls + 1) for kind in FaultKind]


READS = ("batch_get_", "get_", "head_", "list_", "query")


def distinct_faults_of(calls: Sequence[str]) -> list[Fault]:
    """
    Return the faults without those that leave the same state as another fault.

    A crash before a call equals a crash after the previous call; a crash after a read equals one before it.
    A read whose response is lost is made again and changes nothing: the first read of each name is enough.
    """
    crashes = [
        Fault(number, FaultKind.CRASH_AFTER)
        for number, name in enumerate(calls, start=1)
        if not name.startswith(READS)
    ]
    lost = [
        Fault(number, FaultKind.RESPONSE_LOST)
        for number, name in enumerate(calls, start=1)
        if not name.startswith(READS) or name not in calls[: number - 1]
    ]
    return [Fault(1, FaultKind.CRASH_BEFORE), *crashes, *lost]


async def test_a_crash_at_any_call_leaves_one_result_counted_once(aws: Aws) -> None:
    calls = await calls_without_faults(aws, WorkerOptions())

    for fault in faults_of(len(calls)):
        case = Case(aws, WorkerOptions())
        result = await case.run(b"upload", [fault])
        await case.check(result.images, b"upload")

    print(f"calls: {' '.join(calls)}")
    print(f"covered 3 x {len(calls)} single points")


@pytest.mark.timeout(600)
async def test_two_crashes_at_any_two_calls_leave_one_result_counted_once(
    aws: Aws,
) -> None:
    calls = await calls_without_faults(aws, WorkerOptions())
    # A recovery makes at most one call more than a run without faults; a second fault may find no call left.
    pairs = list(product(faults_of(len(calls)), faults_of(len(calls) + 1)))
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**32))
    random.Random(seed).shuffle(pairs)
    budget_s = float(os.environ.get("CRASH_PAIRS_S", "4"))
    started, covered, unreached = time.monotonic(), 0, 0

    for pair in pairs:
        if time.monotonic() - started > budget_s:
            break
        case = Case(aws, WorkerOptions())
        result = await case.run(b"upload", pair)
        await case.check(result.images, b"upload")
        covered += result.all_injected
        unreached += not result.all_injected

    print(
        f"covered {covered} pairs, and {unreached} whose second fault found no call, of 3x3x{len(calls)}x"
        f"{len(calls) + 1}, "
        f"in {time.monotonic() - started:.0f} s; CRASH_SEED={seed} CRASH_PAIRS_S={budget_s:g}"
    )
    assert covered


async def test_a_crash_at_any_call_while_a_result_is_replaced_counts_only_the_newer_result(
    aws: Aws,
) -> None:
    case = Case(aws, WorkerOptions())
    await case.run(b"upload")
    calls = (await case.run(b"newer upload")).calls_since_fault

    faults = distinct_faults_of(calls)
    for fault in faults:
        case = Case(aws, WorkerOptions())
        await case.run(b"upload")
        result = await case.run(b"newer upload", [fault])
        await case.check(result.images, b"newer upload", completions=2)

    print(f"covered {len(faults)} distinct faults of 3 x {len(calls)} points")


async def test_a_crash_at_any_call_while_results_get_new_keys_leaves_only_the_newer_ones(aws: Aws) -> None:
    result_key = "{prefix}{userId}/{imageId}/{version}{@size}.{ext}"
    aws = replace(aws, settings=aws.settings.model_copy(update={"result_key": result_key}))
    options = WorkerOptions(recipe=Recipe(sizes=SIZES[:2], watermark=None))
    case = Case(aws, options)
    await case.run(b"upload")
    calls = (await case.run(b"newer upload")).calls_since_fault
    assert calls.count("delete_object") == 2

    faults = distinct_faults_of(calls)
    for fault in faults:
        case = Case(aws, options)
        await case.run(b"upload")
        result = await case.run(b"newer upload", [fault])
        await case.check(result.images, b"newer upload", completions=2)
        (image,) = result.images
        assert image.leftovers == ()
        assert await case.result_keys() == {rendition.key for rendition in image.renditions.values()}

    print(f"covered {len(faults)} distinct faults of 3 x {len(calls)} points: {' '.join(calls)}")


async def test_a_crash_at_any_call_for_a_rejected_image_records_its_code_and_counts_nothing(
    aws: Aws,
) -> None:
    options = WorkerOptions(error=CorruptError(reason="injected by the test"))
    calls = await calls_without_faults(aws, options)

    faults = distinct_faults_of(calls)
    for fault in faults:
        case = Case(aws, options)
        (image,) = (await case.run(b"upload", [fault])).images
        check_history(image)
        assert image.error
        assert (image.status, image.error.code) == (ImageStatus.FAILED, "corrupt")
        assert await case.statistics() == (0, 0)
        assert await case.message_counts() == (0, 0)

    print(f"covered {len(faults)} distinct faults of 3 x {len(calls)} points")


async def test_a_crash_at_any_call_of_the_last_receive_leaves_the_reason_and_a_dead_letter(
    aws: Aws,
) -> None:
    options = WorkerOptions(error=TransientError("the pool is unavailable"), max_receives=1)
    calls = await calls_without_faults(aws, options)
    without_letter: list[Fault] = []

    _, letters = await Case(aws, options).message_counts()
    faults = distinct_faults_of(calls)
    for fault in faults:
        case = Case(aws, options)
        (image,) = (await case.run(b"upload", [fault])).images
        check_history(image)
        assert image.error
        assert (image.status, image.error.code) == (ImageStatus.FAILED, "unavailable")
        before, (waiting, letters) = letters, await case.message_counts()
        assert waiting == 0
        if letters == before:
            without_letter.append(fault)

    print(f"covered {len(faults)} distinct faults of 3 x {len(calls)} points: {' '.join(calls)}")
    assert without_letter == []


@pytest.mark.parametrize(
    ("options", "uploads"),
    [
        pytest.param(
            WorkerOptions(recipe=Recipe(sizes=SIZES, watermark=None), has_heartbeat=True),
            1,
            id="three sizes and a heartbeat during the job",
        ),
        pytest.param(WorkerOptions(), 2, id="two uploads in one message"),
    ],
)
async def test_a_crash_at_any_call_leaves_each_result_once_with(
    aws: Aws, options: WorkerOptions, uploads: int
) -> None:
    calls = await calls_without_faults(aws, options, uploads=uploads)

    faults = distinct_faults_of(calls)
    for fault in faults:
        case = Case(aws, options, uploads=uploads)
        result = await case.run(b"upload", [fault])
        await case.check(result.images, b"upload")
        assert result.all_injected

    print(f"covered {len(faults)} distinct faults of 3 x {len(calls)} points: {' '.join(calls)}")


CORRUPT = WorkerOptions(error=CorruptError(reason="injected by the test"))
UNAVAILABLE = WorkerOptions(error=TransientError("the pool is unavailable"), max_receives=1)


async def completed(case: Case) -> None:
    await case.run(b"upload")


async def rejected(case: Case) -> None:
    await case.with_options(CORRUPT).run(b"upload")


async def dead_lettered(case: Case) -> None:
    """Leave a failed image and a dead letter."""
    await case.with_options(UNAVAILABLE).run(b"upload")


async def pending_without_message(case: Case) -> None:
    """Leave a pending image without a message, as a tool that crashes before it sends the message."""
    await rejected(case)
    writes = RepairWrites(
        case.aws.dynamodb,
        table=table_of(case.aws.settings),
        retry=RETRY_POLICIES.table,
        requester=a_requester(),
    )
    assert await writes.retry(await case.image())


async def lease_expired(case: Case) -> None:
    """Leave an image in status processing with an expired lease and without a message."""
    await pending_without_message(case)
    ledger = build_ledger(case.aws.dynamodb, case.aws.settings)
    now = utc_now()
    claimant = Claimant(owner="crashed/1", now=now, lease_until=now, recipe="old")
    await ledger.claim(job_of(await case.image()), claimant)


async def upload_deleted(case: Case) -> None:
    """Leave a pending image whose upload is deleted."""
    await pending_without_message(case)
    image = await case.image()
    await case.aws.s3.delete_object(Bucket=image.bucket, Key=image.key)


async def notification_lost(case: Case) -> None:
    """Leave an upload whose S3 notification is lost."""
    await case.upload(b"upload")
    await case.take_notifications()


async def retry(repairs: RepairContext, _: Clients, case: Case) -> None:
    image = await find_image(repairs.queries, case.image_id, case.user_id, consistent=True)
    assert image
    await retry_image(repairs, image)


async def reprocess(repairs: RepairContext, _: Clients, case: Case) -> None:
    image = await find_image(repairs.queries, case.image_id, case.user_id, consistent=True)
    assert image
    await reprocess_images(repairs, [image], before=None, recipe_changed=False)


async def reconcile(repairs: RepairContext, _: Clients, __: Case) -> None:
    await reconcile_all(repairs, now=utc_now() + timedelta(seconds=1), pending_for=timedelta(0))


async def redrive(repairs: RepairContext, clients: Clients, case: Case) -> None:
    letters = await build_dead_letters(clients.sqs, case.aws.settings, visibility_timeout_s=0, wait_time_s=0)
    await redrive_all(repairs, letters, image_id=case.image_id, code=None, limit=1)


async def enqueue(repairs: RepairContext, _: Clients, case: Case) -> None:
    await enqueue_all(repairs, prefix=f"uploads/{case.user_id}/")


Setup: TypeAlias = Callable[[Case], Awaitable[None]]
Tool: TypeAlias = Callable[[RepairContext, Clients, Case], Awaitable[None]]


async def run_tool(tool: Tool, case: Case, injector: FaultInjector) -> None:
    """Run a repair tool until it ends or crashes."""
    settings, clients = case.aws.settings, clients_of_new_worker(case.aws, injector)

    async def work() -> None:
        async with open_repairs(
            settings, clients, requester=a_requester(), reporter=Report("testing"), rate_per_s=10_000
        ) as repairs:
            await tool(repairs, clients, case)

    try:
        await run_until_done_or_crashed(injector, work())
    except ConnectionClosedError:
        # The only call without retries; the tool ends with this error, and its user runs it again.
        assert injector.names[-1] == "get_queue_url"


@pytest.mark.parametrize(
    ("setup", "tool", "completions", "needs_reconcile"),
    [
        pytest.param(rejected, retry, 1, True, id="images retry"),
        pytest.param(completed, reprocess, 2, True, id="images reprocess"),
        pytest.param(pending_without_message, reconcile, 1, False, id="reconcile, pending image"),
        pytest.param(lease_expired, reconcile, 1, False, id="reconcile, processing image"),
        pytest.param(upload_deleted, reconcile, 0, False, id="reconcile, image without an upload"),
        pytest.param(dead_lettered, redrive, 1, False, id="queue redrive"),
        pytest.param(notification_lost, enqueue, 1, False, id="enqueue"),
    ],
)
async def test_a_repair_tool_that_crashes_at_any_call_and_runs_again_loses_and_duplicates_nothing(
    aws: Aws,
    setup: Setup,
    tool: Tool,
    completions: int,
    needs_reconcile: bool,
) -> None:
    # With one shard a list is one call; leases without a duration have expired when the tool runs again.
    aws = replace(
        aws, settings=aws.settings.model_copy(update={"index_shards": 1, "visibility_timeout_s": 0})
    )
    without_faults = FaultInjector()
    case = Case(aws, WorkerOptions())
    await setup(case)
    await run_tool(tool, case, without_faults)
    await case.finish()
    unsent: list[Fault] = []

    faults = distinct_faults_of(without_faults.names)
    for fault in faults:
        case, injector = Case(aws, WorkerOptions()), FaultInjector([fault])
        await setup(case)
        for _ in range(2):
            await run_tool(tool, case, injector)
        assert injector.all_injected
        if completions and (await case.message_counts())[0] == 0:
            unsent.append(fault)
            await run_tool(reconcile, case, FaultInjector())
        await case.finish()
        image = await case.image()
        if completions:
            await case.check([image], b"upload", completions=completions)
        else:
            check_history(image)
            assert image.error
            assert (image.status, image.error.code) == (ImageStatus.FAILED, "source_missing")
            assert (await case.statistics(), await case.message_counts()) == ((0, 0), (0, 0))

    names = without_faults.names
    print(f"covered {len(faults)} distinct faults of 3 x {len(names)} points: {' '.join(names)}")
    expected = [Fault(names.index("update_item") + 1, FaultKind.CRASH_AFTER)] if needs_reconcile else []
    assert unsent == expected


async def deletes_its_image(aws: Aws, case: Case, injector: FaultInjector) -> None:
    """Run `images delete` for the image of a case, if it has a record."""
    deletions = deletions_of(aws, injector)

    async def work() -> None:
        image = await deletions.queries.image(case.image_id, case.user_id, consistent=True)
        if image is not None:
            await delete_image(deletions, image)

    await run_until_done_or_crashed(injector, work())


async def forgets_its_user(aws: Aws, case: Case, injector: FaultInjector) -> None:
    """Run `users forget` for the user of a case."""
    deletions = deletions_of(aws, injector)
    await run_until_done_or_crashed(
        injector, forget_user(deletions, case.user_id, before=utc_now() + timedelta(seconds=1))
    )


def deletions_of(aws: Aws, injector: FaultInjector) -> DeletionContext:
    return build_deletions(
        aws.settings,
        clients_of_new_worker(aws, injector),
        requester=a_requester("images delete"),
        reporter=Report("testing"),
    )


async def keys_of(case: Case) -> list[str]:
    """Return the keys of the objects of a case's user."""
    found = [
        await case.aws.s3.list_objects_v2(Bucket=case.aws.settings.bucket, Prefix=f"{prefix}/{case.user_id}/")
        for prefix in ("uploads", "processed")
    ]
    return [each["Key"] for page in found for each in page.get("Contents", [])]


async def with_other_results(case: Case) -> None:
    """Leave a completed image, and a result of it that no record names, as of a worker that was killed."""
    await completed(case)
    image = await case.image()
    await case.aws.s3.put_object(
        Bucket=image.bucket,
        Key=f"processed/{image.user_id}/{image.image_id}@large.jpg",
        Body=b"left over",
        Metadata={"image": f"{image.user_id}/{image.image_id}"},
    )


Delete: TypeAlias = Callable[[Aws, Case, FaultInjector], Awaitable[None]]


@pytest.mark.parametrize(
    ("setup", "delete"),
    [
        pytest.param(with_other_results, deletes_its_image, id="images delete, completed image"),
        pytest.param(rejected, deletes_its_image, id="images delete, failed image"),
        pytest.param(lease_expired, deletes_its_image, id="images delete, processing image"),
        pytest.param(with_other_results, forgets_its_user, id="users forget"),
    ],
)
async def test_a_deletion_that_crashes_at_any_call_and_runs_again_leaves_nothing(
    aws: Aws, setup: Setup, delete: Delete
) -> None:
    aws = replace(aws, settings=aws.settings.model_copy(update={"index_shards": 1}))
    case, without_faults = Case(aws, WorkerOptions()), FaultInjector()
    await setup(case)
    await delete(aws, case, without_faults)

    faults = distinct_faults_of(without_faults.names)
    for fault in [None, *faults]:
        case, injector = Case(aws, WorkerOptions()), FaultInjector([fault] if fault else [])
        await setup(case)
        await delete(aws, case, injector)
        if await keys_of(case):
            assert await case.record(), f"objects without a record after {fault}"
        await delete(aws, case, injector)
        assert injector.all_injected
        await case.finish()
        assert await case.record() is None
        assert await keys_of(case) == []
        assert await case.statistics() == (0, 0)
        assert (await case.message_counts())[0] == 0

    names = without_faults.names
    print(f"covered {len(faults)} distinct faults of 3 x {len(names)} points: {' '.join(names)}")


class Objects:
    """Ignores what is reported of objects."""

    def found(self, what: str, *, key: str) -> None:
        pass

    removed = found


async def left_over(case: Case) -> None:
    """Leave a completed image, and a result that its record names as left over."""
    await completed(case)
    bucket, key = case.aws.settings.bucket, f"processed/{case.user_id}/left-over.jpg"
    image = await case.image()
    head = await case.aws.s3.head_object(Bucket=bucket, Key=image.renditions["medium"].key)
    stored = await case.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"1", Metadata=head["Metadata"])
    leftover = {"M": {"key": {"S": key}, "eTag": {"S": stored["ETag"].strip('"')}}}
    await case.aws.dynamodb.update_item(
        TableName=case.aws.settings.table_name,
        Key={"imageId": {"S": image.image_id}, "userId": {"S": image.user_id}},
        UpdateExpression="SET leftovers = :leftovers",
        ExpressionAttributeValues={":leftovers": {"L": [leftover]}},
    )


async def record_deleted(case: Case) -> None:
    """Leave a result of the table without a record; workers of these cases do not store the table's id."""
    await completed(case)
    table, bucket = case.aws.settings.table_name, case.aws.settings.bucket
    table_id = (await case.aws.dynamodb.describe_table(TableName=table))["Table"]["TableId"]
    key = (await case.image()).renditions["medium"].key
    metadata = (await case.aws.s3.head_object(Bucket=bucket, Key=key))["Metadata"]
    metadata |= {"record": f"{table_id}/0123456789abcdef"}
    await case.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"1", Metadata=metadata)
    await case.aws.dynamodb.delete_item(
        TableName=table,
        Key={"imageId": {"S": case.image_id}, "userId": {"S": case.user_id}},
    )


async def compare_results(repairs: RepairContext, _: Clients, __: Case) -> None:
    await reconcile_results(repairs)


async def remove_orphans(repairs: RepairContext, _: Clients, case: Case) -> None:
    repairs = replace(repairs, results_prefix=f"processed/{case.user_id}/")
    await reconcile_orphans(repairs, Objects(), now=utc_now() + 2 * MIN_AGE, removes=True)


@pytest.mark.parametrize(
    ("setup", "tool"),
    [
        pytest.param(left_over, compare_results, id="reconcile --objects, leftover"),
        pytest.param(left_over, remove_orphans, id="reconcile --orphans, leftover"),
        pytest.param(record_deleted, remove_orphans, id="reconcile --orphans, orphan"),
    ],
)
async def test_a_tool_that_crashes_at_any_call_and_runs_again_deletes_only_what_no_record_names(
    aws: Aws, setup: Setup, tool: Tool
) -> None:
    aws = replace(aws, settings=aws.settings.model_copy(update={"index_shards": 1}))
    without_faults = FaultInjector()
    case = Case(aws, WorkerOptions())
    await setup(case)
    await run_tool(tool, case, without_faults)
    assert "delete_object" in without_faults.names

    faults = distinct_faults_of(without_faults.names)
    for fault in faults:
        case, injector = Case(aws, WorkerOptions()), FaultInjector([fault])
        await setup(case)
        for _ in range(2):
            await run_tool(tool, case, injector)
        assert injector.all_injected
        if setup is left_over:
            image = await case.image()
            await case.check([image], b"upload")
            assert image.leftovers == ()
            assert await case.result_keys() == {image.renditions["medium"].key}
        else:
            assert await case.result_keys() == set()

    print(f"covered {len(faults)} distinct faults of 3 x {len(without_faults.names)} points")


async def calls_without_faults(aws: Aws, options: WorkerOptions, *, uploads: int = 1) -> list[str]:
    """Return the names of a job's calls without faults, on connections that are already open."""
    await Case(aws, options, uploads=uploads).run(b"upload")
    return (await Case(aws, options, uploads=uploads).run(b"upload")).calls_since_fault
