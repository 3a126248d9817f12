"""A worker that dies at any of its AWS calls, or loses any answer, once or twice: the promises hold."""

import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count, product
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from botocore.exceptions import ConnectionClosedError
from structlog.testing import capture_logs

from tests.support.crash_points import (
    Aws,
    Calls,
    Conduct,
    Fault,
    Kind,
    Lives,
    check_history,
    is_result_of,
    live,
    receive,
    tapped,
)
from tests.support.emulators import messages_in
from tests.support.user_profiles import profiles_of
from worker.bootstrap import (
    RETRY_POLICIES,
    Clients,
    build_dead_letters,
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
from worker.repair.enqueue import enqueue_all
from worker.repair.reconcile import reconcile_all
from worker.repair.redrive import redrive_all
from worker.repair.reprocess import reprocess_images, retry_image
from worker.repair.requests import job_of
from worker.settings import Settings
from worker.sqs import dead_letters

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

NUMBERS = count(1)
ANNOUNCED_WITHIN_S = 20
"""S3 announces an upload when it gets round to it."""


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """A thousand deaths are not worth a line each."""
    with capture_logs():
        yield


@pytest.fixture
async def aws(provisioned: Settings, s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient") -> Aws:
    url = await queue_url(sqs, provisioned.queue_name)
    await sqs.purge_queue(QueueUrl=url)  # of what S3 sends to try a new notification
    return Aws(
        settings=provisioned,
        s3=s3,
        sqs=sqs,
        dynamodb=dynamodb,
        url=url,
        dead_letter_url=await queue_url(sqs, provisioned.dead_letter_queue_name),
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """The job of one message after all its crashes."""

    images: list[Image]
    since_last_fault: list[str]
    all_struck: bool


class Case:
    """
    Uploads of a user of their own, which workers take to their end in spite of the faults.

    Args:
        aws: Where.
        conduct: How the workers behave.
        uploads: How many are announced in one message.
    """

    def __init__(self, aws: Aws, conduct: Conduct, *, uploads: int = 1) -> None:
        self.aws, self.conduct = aws, conduct
        number = next(NUMBERS)
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
            await self._announce_together()

    async def _announce_together(self) -> None:
        bodies = [json.loads(received["Body"]) for received in await self.taken()]
        records = [record for body in bodies for record in body["Records"]]
        await self.aws.sqs.send_message(QueueUrl=self.aws.url, MessageBody=json.dumps({"Records": records}))

    async def taken(self) -> list[Any]:
        """Take the announcements of the uploads out of the queue."""
        messages: list[Any] = []
        for _ in self.image_ids:
            received = await receive(self.aws, within_s=ANNOUNCED_WITHIN_S)
            assert received, "an upload was not announced"
            await self.aws.sqs.delete_message(QueueUrl=self.aws.url, ReceiptHandle=received["ReceiptHandle"])
            messages.append(received)
        return messages

    async def run(self, content: bytes, faults: Sequence[Fault] = ()) -> Ended:
        calls = Calls(faults)
        await self.upload(content)
        lives = Lives(self.aws, calls, self.conduct)
        await lives.until_the_queue_is_empty(first_within_s=ANNOUNCED_WITHIN_S)
        images = [await self.image(image_id) for image_id in self.image_ids]
        return Ended(images, calls.since_fault, calls.all_struck)

    def of(self, conduct: Conduct) -> "Case":
        """Return the same case with workers of another conduct."""
        other = copy(self)
        other.conduct = conduct
        return other

    async def end(self) -> None:
        """Let workers live until the queue is empty, none of whom dies."""
        await Lives(self.aws, Calls(), self.conduct).until_the_queue_is_empty()

    async def image(self, image_id: str | None = None) -> Image:
        queries = build_queries(self.aws.dynamodb, self.aws.settings)
        image = await queries.image(image_id or self.image_id, self.user_id, consistent=True)
        assert image, "there is no record"
        return image

    async def check(self, images: Sequence[Image], content: bytes, *, completions: int = 1) -> None:
        """Raise unless all that was promised of completed pictures is so."""
        for image in images:
            check_history(image)
            assert image.status is ImageStatus.COMPLETED
            assert [entry.status for entry in image.history if entry.step is None].count(
                "completed"
            ) == completions
            assert image.renditions.keys() == {size.name for size in self.conduct.recipe.sizes}
            for size, rendition in image.renditions.items():
                stored = await self.aws.s3.get_object(Bucket=self.aws.settings.bucket, Key=rendition.key)
                async with stored["Body"] as body:
                    result = await body.read()
                assert is_result_of(result, content, size)
                assert len(result) == rendition.size_bytes
                assert stored["ETag"].strip('"') == rendition.e_tag
        assert await self.statistics() == (len(images), sum(image.total_bytes() for image in images))
        assert await self.waiting() == (0, 0)

    async def statistics(self) -> tuple[int, int]:
        profiles = profiles_of(self.aws.dynamodb, self.aws.settings)
        profile = await profiles.get(self.user_id)
        return (profile.statistics.total_images, profile.statistics.total_storage_used) if profile else (0, 0)

    async def waiting(self) -> tuple[int, int]:
        """Count the messages in the queue and among the dead letters."""
        sqs, settings = self.aws.sqs, self.aws.settings
        return (
            await messages_in(sqs, settings.queue_name),
            await messages_in(sqs, settings.dead_letter_queue_name),
        )


def faults_of(calls: int) -> list[Fault]:
    return [Fault(number, kind) for number in range(1, calls + 1) for kind in Kind]


READS = ("batch_get_", "get_", "head_", "list_", "query")


def different_faults_of(calls: Sequence[str]) -> list[Fault]:
    """
    Leave out the deaths that leave behind what another does too.

    Dying before a call is dying after the one before it; dying after one that reads is dying before it.
    """
    deaths = [
        Fault(number, Kind.DIES_AFTER)
        for number, name in enumerate(calls, start=1)
        if not name.startswith(READS)
    ]
    lost = [Fault(number, Kind.ANSWER_LOST) for number in range(1, len(calls) + 1)]
    return [Fault(1, Kind.DIES_BEFORE), *deaths, *lost]


async def test_a_worker_that_dies_at_any_call_leaves_one_result_counted_once(aws: Aws) -> None:
    calls = await undisturbed(aws, Conduct())

    for fault in faults_of(len(calls)):
        case = Case(aws, Conduct())
        ended = await case.run(b"picture", [fault])
        await case.check(ended.images, b"picture")

    print(f"calls: {' '.join(calls)}")
    print(f"covered 3 x {len(calls)} single points")


@pytest.mark.timeout(600)
async def test_a_worker_that_dies_and_whose_successor_dies_too_leaves_one_result_counted_once(
    aws: Aws,
) -> None:
    calls = await undisturbed(aws, Conduct())
    # A recovery makes at most one call more than an undisturbed run; a fault that finds no call strikes none.
    every = list(product(faults_of(len(calls)), faults_of(len(calls) + 1)))
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**32))
    random.Random(seed).shuffle(every)
    budget_s = float(os.environ.get("CRASH_PAIRS_S", "8"))
    began, covered, beyond = time.monotonic(), 0, 0

    for pair in every:
        if time.monotonic() - began > budget_s:
            break
        case = Case(aws, Conduct())
        ended = await case.run(b"picture", pair)
        await case.check(ended.images, b"picture")
        covered += ended.all_struck
        beyond += not ended.all_struck

    print(
        f"covered {covered} pairs, and {beyond} whose second fault found no call, of 3x3x{len(calls)}x"
        f"{len(calls) + 1}, in {time.monotonic() - began:.0f} s; CRASH_SEED={seed} CRASH_PAIRS_S={budget_s:g}"
    )
    assert covered


async def test_a_worker_that_dies_at_any_call_while_a_result_is_replaced_counts_the_newer_alone(
    aws: Aws,
) -> None:
    case = Case(aws, Conduct())
    await case.run(b"picture")
    calls = (await case.run(b"newer picture")).since_last_fault

    for fault in faults_of(len(calls)):
        case = Case(aws, Conduct())
        await case.run(b"picture")
        ended = await case.run(b"newer picture", [fault])
        await case.check(ended.images, b"newer picture", completions=2)

    print(f"covered 3 x {len(calls)} single points")


async def test_a_worker_that_dies_at_any_call_over_a_refused_picture_leaves_its_code_and_counts_nothing(
    aws: Aws,
) -> None:
    conduct = Conduct(error=CorruptError(reason="the test says so"))
    calls = await undisturbed(aws, conduct)

    for fault in faults_of(len(calls)):
        case = Case(aws, conduct)
        (image,) = (await case.run(b"picture", [fault])).images
        check_history(image)
        assert image.error
        assert (image.status, image.error.code) == (ImageStatus.FAILED, "corrupt")
        assert await case.statistics() == (0, 0)
        assert await case.waiting() == (0, 0)

    print(f"covered 3 x {len(calls)} single points")


async def test_a_worker_that_dies_at_any_call_of_the_last_receive_leaves_the_reason_and_a_dead_letter(
    aws: Aws,
) -> None:
    conduct = Conduct(error=TransientError("the pool is away"), max_receives=1)
    calls = await undisturbed(aws, conduct)
    without_letter: list[Fault] = []

    _, letters = await Case(aws, conduct).waiting()
    for fault in faults_of(len(calls)):
        case = Case(aws, conduct)
        (image,) = (await case.run(b"picture", [fault])).images
        check_history(image)
        assert image.error
        assert (image.status, image.error.code) == (ImageStatus.FAILED, "unavailable")
        before, (waiting, letters) = letters, await case.waiting()
        assert waiting == 0
        if letters == before:
            without_letter.append(fault)

    print(f"covered 3 x {len(calls)} single points: {' '.join(calls)}")
    assert without_letter == []


SIZES = (Size("medium", 800, 600), Size("small", 400, 300), Size("thumbnail", 100, 75))


@pytest.mark.parametrize(
    ("conduct", "uploads"),
    [
        pytest.param(Conduct(recipe=Recipe(sizes=SIZES, watermark=None)), 1, id="a recipe of three sizes"),
        pytest.param(Conduct(has_heartbeat=True), 1, id="a heartbeat in the middle of the job"),
        pytest.param(Conduct(), 2, id="two uploads in one message"),
    ],
)
async def test_a_worker_that_dies_at_any_call_leaves_each_result_once_with(
    aws: Aws, conduct: Conduct, uploads: int
) -> None:
    calls = await undisturbed(aws, conduct, uploads=uploads)

    faults = different_faults_of(calls)
    for fault in faults:
        case = Case(aws, conduct, uploads=uploads)
        ended = await case.run(b"picture", [fault])
        await case.check(ended.images, b"picture")
        assert ended.all_struck

    print(f"covered {len(faults)} different of 3 x {len(calls)} points: {' '.join(calls)}")


CORRUPT = Conduct(error=CorruptError(reason="the test says so"))
GIVEN_UP = Conduct(error=TransientError("the pool is away"), max_receives=1)


async def completed(case: Case) -> None:
    await case.run(b"picture")


async def refused(case: Case) -> None:
    await case.of(CORRUPT).run(b"picture")


async def given_up(case: Case) -> None:
    """Leave a failed picture, and a dead letter."""
    await case.of(GIVEN_UP).run(b"picture")


async def forgotten(case: Case) -> None:
    """Leave a picture pending, as a tool does that dies before it sends the message."""
    await refused(case)
    reopening = RepairWrites(
        case.aws.dynamodb, table=table_of(case.aws.settings), retry=RETRY_POLICIES.table, by="a test"
    )
    assert await reopening.retry(await case.image())


async def abandoned(case: Case) -> None:
    """Leave a picture processing under a lease that is over."""
    await forgotten(case)
    ledger = build_ledger(case.aws.dynamodb, case.aws.settings)
    now = utc_now()
    claimant = Claimant(owner="dead/1", now=now, lease_until=now, recipe="of old")
    await ledger.claim(job_of(await case.image()), claimant)


async def gone(case: Case) -> None:
    """Leave a picture pending whose upload is gone."""
    await forgotten(case)
    image = await case.image()
    await case.aws.s3.delete_object(Bucket=image.bucket, Key=image.key)


async def unannounced(case: Case) -> None:
    await case.upload(b"picture")
    await case.taken()


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
    letters = await build_dead_letters(clients.sqs, case.aws.settings, visibility_timeout_s=0)
    await redrive_all(repairs, letters, image_id=case.image_id, code=None, limit=1)


async def enqueue(repairs: RepairContext, _: Clients, case: Case) -> None:
    await enqueue_all(repairs, prefix=f"uploads/{case.user_id}/")


SHARDS = 1
Left: TypeAlias = Callable[[Case], Awaitable[None]]
Tool: TypeAlias = Callable[[RepairContext, Clients, Case], Awaitable[None]]


@pytest.mark.parametrize(
    ("left", "tool", "completions", "needs_reconcile"),
    [
        pytest.param(refused, retry, 1, True, id="images retry"),
        pytest.param(completed, reprocess, 2, True, id="images reprocess"),
        pytest.param(forgotten, reconcile, 1, False, id="reconcile, of a pending picture"),
        pytest.param(abandoned, reconcile, 1, False, id="reconcile, of a processing picture"),
        pytest.param(gone, reconcile, 0, False, id="reconcile, of a picture without an upload"),
        pytest.param(given_up, redrive, 1, False, id="queue redrive"),
        pytest.param(unannounced, enqueue, 1, False, id="enqueue"),
    ],
)
async def test_a_repair_tool_that_dies_at_any_call_and_is_run_again_loses_and_doubles_nothing(
    aws: Aws,
    monkeypatch: pytest.MonkeyPatch,
    left: Left,
    tool: Tool,
    completions: int,
    needs_reconcile: bool,
) -> None:
    # One shard, that looking at everything be one call; leases of no length, that no test has to wait.
    settings = aws.settings.model_copy(update={"index_shards": SHARDS, "visibility_timeout_s": 0})
    aws = replace(aws, settings=settings)
    monkeypatch.setattr(dead_letters, "_WAIT_S", 0)

    async def use(tool: Tool, case: Case, calls: Calls) -> None:
        clients = tapped(aws, calls)

        async def work() -> None:
            async with open_repairs(
                settings, clients, requested_by="a test", reporter=Report("testing"), rate_per_s=10_000
            ) as repairs:
                await tool(repairs, clients, case)

        try:
            await live(calls, work())
        except ConnectionClosedError:
            # Asked once, at the start: the tool ends with this error, and whoever ran it runs it again.
            assert calls.names[-1] == "get_queue_url"

    undisturbed = Calls()
    case = Case(aws, Conduct())
    await left(case)
    await use(tool, case, undisturbed)
    await case.end()
    unsent: list[Fault] = []

    faults = different_faults_of(undisturbed.names)
    for fault in faults:
        case, calls = Case(aws, Conduct()), Calls([fault])
        await left(case)
        for _ in range(2):
            await use(tool, case, calls)
        assert calls.all_struck
        if completions and (await case.waiting())[0] == 0:
            unsent.append(fault)
            await use(reconcile, case, Calls())
        await case.end()
        image = await case.image()
        if completions:
            await case.check([image], b"picture", completions=completions)
        else:
            check_history(image)
            assert image.error
            assert (image.status, image.error.code) == (ImageStatus.FAILED, "source_missing")
            assert (await case.statistics(), await case.waiting()) == ((0, 0), (0, 0))

    names = undisturbed.names
    print(f"covered {len(faults)} different of 3 x {len(names)} points: {' '.join(names)}")
    between = Fault(names.index("update_item") + 1, Kind.DIES_AFTER) if needs_reconcile else None
    assert unsent == ([between] if between else [])


async def undisturbed(aws: Aws, conduct: Conduct, *, uploads: int = 1) -> list[str]:
    """Return the calls of a job over which nobody dies, on connections that are open already."""
    await Case(aws, conduct, uploads=uploads).run(b"picture")
    return (await Case(aws, conduct, uploads=uploads).run(b"picture")).since_last_fault
