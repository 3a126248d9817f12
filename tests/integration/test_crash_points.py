"""A worker that dies at any of its AWS calls, or loses any answer, once or twice: the promises hold."""

import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, product
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from config.settings import Settings
from tests.crash_points import Aws, Calls, Conduct, Fault, Kind, Lives, check_history, receive, result_of
from worker.bootstrap import queue_url
from worker.domain.errors import CorruptError, TransientError
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.record.profiles import CachedProfiles
from worker.record.queries import Queries

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

NUMBERS = count(1)


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """A thousand deaths are not worth a line each."""
    with capture_logs():
        yield


@pytest.fixture
async def aws(provisioned: Settings, s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient") -> Aws:
    return Aws(
        settings=provisioned,
        s3=s3,
        sqs=sqs,
        dynamodb=dynamodb,
        url=await queue_url(sqs, provisioned.queue_name),
        dead_letter_url=await queue_url(sqs, provisioned.dead_letter_queue_name),
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """One job after all its crashes."""

    image: Image
    since_last_fault: list[str]
    all_struck: bool


class Case:
    """One upload with a user of its own, which workers take to its end in spite of the faults."""

    def __init__(self, aws: Aws, conduct: Conduct) -> None:
        self.aws, self.conduct = aws, conduct
        number = next(NUMBERS)
        self.user_id, self.image_id = f"user_{number}", f"img_{number}"

    async def upload(self, content: bytes) -> dict[str, Any]:
        key = f"uploads/{self.user_id}/{self.image_id}.jpg"
        await self.aws.s3.put_object(
            Bucket=self.aws.settings.bucket, Key=key, Body=content, ContentType="image/jpeg"
        )
        message = await receive(self.aws)
        assert message, "the upload was not announced"
        return message

    async def run(self, content: bytes, faults: Sequence[Fault] = ()) -> Ended:
        calls = Calls(faults)
        lives = Lives(self.aws, calls, self.conduct)
        await lives.until_the_message_is_gone(await self.upload(content))
        image = await Queries(self.aws.dynamodb, table=self.aws.settings.table_name).image(
            self.image_id, self.user_id, consistent=True
        )
        assert image, f"no record after {calls.names}"
        return Ended(image, calls.since_fault, calls.all_struck)

    async def check(self, image: Image, content: bytes, *, completions: int = 1) -> None:
        """Raise unless all that was promised of a completed picture is so."""
        check_history(image)
        assert image.status is ImageStatus.COMPLETED
        assert [entry.status for entry in image.history if entry.step is None].count(
            "completed"
        ) == completions
        (rendition,) = image.renditions.values()
        stored = await self.aws.s3.get_object(Bucket=self.aws.settings.bucket, Key=rendition.key)
        async with stored["Body"] as body:
            assert await body.read() == result_of(content)
        assert stored["ETag"].strip('"') == rendition.e_tag
        assert await self.statistics() == (1, image.to_count())
        assert await self.waiting() == (0, 0)

    async def statistics(self) -> tuple[int, int]:
        profiles = CachedProfiles(self.aws.dynamodb, table=self.aws.settings.table_name, cache_s=0)
        profile = await profiles.get(self.user_id)
        return (profile.statistics.total_images, profile.statistics.total_storage_used) if profile else (0, 0)

    async def waiting(self) -> tuple[int, int]:
        """Count the messages in the queue and among the dead letters."""
        counts = []
        for url in (self.aws.url, self.aws.dead_letter_url):
            answer = await self.aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            attributes: Any = answer["Attributes"]
            counts.append(
                int(attributes["ApproximateNumberOfMessages"])
                + int(attributes["ApproximateNumberOfMessagesNotVisible"])
            )
        return counts[0], counts[1]


def faults_of(calls: int) -> list[Fault]:
    return [Fault(number, kind) for number in range(1, calls + 1) for kind in Kind]


async def test_a_worker_that_dies_at_any_call_leaves_one_result_counted_once(aws: Aws) -> None:
    calls = await undisturbed(aws, Conduct())

    for fault in faults_of(len(calls)):
        case = Case(aws, Conduct())
        ended = await case.run(b"picture", [fault])
        await case.check(ended.image, b"picture")

    print(f"calls: {' '.join(calls)}")  # noqa: T201
    print(f"covered 3 x {len(calls)} single points")  # noqa: T201


@pytest.mark.timeout(600)
async def test_a_worker_that_dies_and_whose_successor_dies_too_leaves_one_result_counted_once(
    aws: Aws,
) -> None:
    calls = await undisturbed(aws, Conduct())
    # A recovery makes at most one call more than an undisturbed run; a fault that finds no call strikes none.
    every = list(product(faults_of(len(calls)), faults_of(len(calls) + 1)))
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(2**32))
    random.Random(seed).shuffle(every)
    budget_s = float(os.environ.get("CRASH_PAIRS_S", "20"))
    began, covered, beyond = time.monotonic(), 0, 0

    for pair in every:
        if time.monotonic() - began > budget_s:
            break
        case = Case(aws, Conduct())
        ended = await case.run(b"picture", pair)
        await case.check(ended.image, b"picture")
        covered += ended.all_struck
        beyond += not ended.all_struck

    print(  # noqa: T201
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
        await case.check(ended.image, b"newer picture", completions=2)

    print(f"covered 3 x {len(calls)} single points")  # noqa: T201


async def test_a_worker_that_dies_at_any_call_over_a_refused_picture_leaves_its_code_and_counts_nothing(
    aws: Aws,
) -> None:
    conduct = Conduct(error=CorruptError(reason="the test says so"))
    calls = await undisturbed(aws, conduct)

    for fault in faults_of(len(calls)):
        case = Case(aws, conduct)
        image = (await case.run(b"picture", [fault])).image
        check_history(image)
        assert image.error
        assert (image.status, image.error.code) == (ImageStatus.FAILED, "corrupt")
        assert await case.statistics() == (0, 0)
        assert await case.waiting() == (0, 0)

    print(f"covered 3 x {len(calls)} single points")  # noqa: T201


async def test_a_worker_that_dies_at_any_call_of_the_last_receive_leaves_the_reason_and_a_dead_letter(
    aws: Aws,
) -> None:
    conduct = Conduct(error=TransientError("the pool is away"), max_receives=1)
    calls = await undisturbed(aws, conduct)
    without_letter: list[Fault] = []

    _, letters = await Case(aws, conduct).waiting()
    for fault in faults_of(len(calls)):
        case = Case(aws, conduct)
        image = (await case.run(b"picture", [fault])).image
        check_history(image)
        assert image.error
        assert (image.status, image.error.code) == (ImageStatus.FAILED, "unavailable")
        before, (waiting, letters) = letters, await case.waiting()
        assert waiting == 0
        if letters == before:
            without_letter.append(fault)

    print(f"covered 3 x {len(calls)} single points: {' '.join(calls)}")  # noqa: T201
    assert without_letter == []


async def undisturbed(aws: Aws, conduct: Conduct) -> list[str]:
    """Return the calls of a job over which nobody dies, on connections that are open already."""
    await Case(aws, conduct).run(b"picture")
    return (await Case(aws, conduct).run(b"picture")).since_last_fault
