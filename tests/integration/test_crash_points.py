"""A worker that dies at any of its AWS calls, or loses any answer, once or twice: the promises hold."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from config.settings import Settings
from tests.crash_points import Aws, Calls, Conduct, Fault, Kind, Lives, receive, result_of
from worker.bootstrap import queue_url
from worker.domain.image import Image
from worker.domain.status import IMAGE_MOVES, STEP_MOVES, ImageStatus, StepStatus
from worker.record.profiles import CachedProfiles
from worker.record.queries import Queries

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

LEGAL_IMAGE = {(start, leads_to) for starts, leads_to in IMAGE_MOVES.values() for start in starts}
LEGAL_STEP = {(start, leads_to) for starts, leads_to in STEP_MOVES.values() for start in starts}
PAIRS_S = 60.0
NUMBERS = count(1)


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """A thousand deaths are not worth a line each."""
    with capture_logs():
        yield


@pytest.fixture
async def aws(
    provisioned: Settings, s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient"
) -> Aws:
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
    lives: int


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
        assert calls.all_struck, f"{faults} never struck in {calls.names}"
        image = await Queries(self.aws.dynamodb, table=self.aws.settings.table_name).image(
            self.image_id, self.user_id, consistent=True
        )
        assert image, f"no record after {calls.names}"
        return Ended(image, calls.since_fault, lives.count)

    async def check(self, image: Image, content: bytes, *, completions: int = 1) -> None:
        """Raise unless all that was promised of a completed picture is so."""
        check_history(image)
        assert image.status is ImageStatus.COMPLETED
        assert [entry.status for entry in image.history if entry.step is None].count("completed") == completions
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


def check_history(image: Image) -> None:
    """Raise unless the audit trail is one that the table of moves allows."""
    of_image = [ImageStatus(entry.status) for entry in image.history if entry.step is None]
    assert of_image[0] is ImageStatus.PENDING
    assert of_image[-1] is image.status
    assert set(pairwise(of_image)) <= LEGAL_IMAGE
    attempts = [entry.attempt for entry in image.history]
    assert attempts == sorted(attempts)
    assert image.attempt == attempts[-1]
    assert [entry.at for entry in image.history] == sorted(entry.at for entry in image.history)
    assert image.lease is None
    for attempt in set(attempts):
        for step in image.steps:
            of_step = [
                StepStatus(entry.status)
                for entry in image.history
                if entry.step is step and entry.attempt == attempt
            ]
            assert set(pairwise([StepStatus.PENDING, *of_step])) <= LEGAL_STEP


def singles(calls: int) -> list[Fault]:
    return [Fault(number, kind) for number in range(1, calls + 1) for kind in Kind]


@pytest.mark.timeout(240)
async def test_a_worker_that_dies_at_any_call_once_or_twice_leaves_one_result_counted_once(aws: Aws) -> None:
    content = b"picture"
    await Case(aws, Conduct()).run(content)
    undisturbed = await Case(aws, Conduct()).run(content)
    calls = undisturbed.since_last_fault
    pairs: list[tuple[Fault, Fault]] = []
    for fault in singles(len(calls)):
        case = Case(aws, Conduct())
        ended = await case.run(content, [fault])
        await case.check(ended.image, content)
        pairs += [(fault, second) for second in singles(len(ended.since_last_fault))]
    seed = random.SystemRandom().randrange(2**32)
    random.Random(seed).shuffle(pairs)
    began, covered = time.monotonic(), 0
    for pair in pairs:
        if time.monotonic() - began > PAIRS_S:
            break
        case = Case(aws, Conduct())
        ended = await case.run(content, pair)
        await case.check(ended.image, content)
        covered += 1
    print(f"calls: {' '.join(calls)}")  # noqa: T201
    print(  # noqa: T201
        f"covered 3 x {len(calls)} single points and {covered} of {len(pairs)} pairs"
        f" in {time.monotonic() - began:.0f} s, order of pairs by seed {seed}"
    )
