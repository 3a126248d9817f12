"""Messages that kill the worker: each harms only itself, and its record has the reason."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import killed_worker
from tests.support.emulators import messages_in, variables_of
from tests.support.killed_worker import KILLER
from tests.support.pictures import encoded, quadrants
from worker.bootstrap import build_dead_letters, build_profile_store, build_queries, queue_url
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES
from worker.local.embedded_aws import embedded_environment
from worker.settings import Settings
from worker.sqs.dead_letters import DeadLetter

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

GOOD = "alice"
VISIBILITY_TIMEOUT_S = 6
MAX_RECEIVES = 2


@dataclass
class Fleet:
    """
    A worker that is started again whenever it is killed, and the state that it leaves.

    Attributes:
        deaths: How often it was killed.
        log: What it has logged.
    """

    settings: Settings
    environment: Mapping[str, str]
    folder: Path
    s3: "S3Client"
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"
    deaths: int = 0
    log: list[str] = field(default_factory=list)

    async def upload(self, user_id: str, *image_ids: str) -> None:
        content = encoded(quadrants(640, 480))
        for image_id in image_ids:
            key = f"uploads/{user_id}/{image_id}.jpg"
            await self.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=content)

    async def image(self, user_id: str, image_id: str) -> Image | None:
        return await build_queries(self.dynamodb, self.settings).image(image_id, user_id, consistent=True)

    async def move_after(self, receives: int) -> None:
        """Let the queue move a message to the dead-letter queue after so many receives."""
        url = await queue_url(self.sqs, self.settings.queue_name)
        attributes = await self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
        policy = json.loads(attributes["Attributes"]["RedrivePolicy"])
        policy = json.dumps({**policy, "maxReceiveCount": receives})
        await self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})

    async def run_until_queue_is_empty(self, *, killed_at: str, max_starts: int, **settings: str) -> None:
        """Run the worker until no message is left, at most so many times."""
        for _ in range(max_starts):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                killed_worker.__file__,
                "run",
                cwd=self.folder,
                env={**self.environment, "KILLED_AT": killed_at, **settings},
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            emptied = asyncio.create_task(self._until_queue_is_empty())
            output = asyncio.create_task(process.communicate())
            try:
                async with asyncio.timeout(60):
                    await asyncio.wait({emptied, output}, return_when=asyncio.FIRST_COMPLETED)
                if emptied.done():
                    process.terminate()
                    return
                self.deaths += 1
            finally:
                emptied.cancel()
                if process.returncode is None and not emptied.done():
                    process.kill()
                _, stderr = await output
                self.log += stderr.decode().splitlines()
                await asyncio.gather(emptied, return_exceptions=True)
        pytest.fail(f"messages are left after {max_starts} starts:\n" + "\n".join(self.log))

    async def dead_letters(self) -> list[DeadLetter]:
        letters = await build_dead_letters(self.sqs, self.settings, visibility_timeout_s=30)
        return [letter async for batch in letters.read() for letter in batch]

    async def _until_queue_is_empty(self) -> None:
        while await messages_in(self.sqs, self.settings.queue_name):
            await asyncio.sleep(0.1)  # leaves the emulator free for the worker


@pytest.fixture
def fleet(
    tmp_path: Path,
    ministack_endpoint: str,
    provisioned: Settings,
    s3: "S3Client",
    sqs: "SQSClient",
    dynamodb: "DynamoDBClient",
) -> Fleet:
    """A worker on the emulator, with one decoder."""
    environment = {
        "PATH": "",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **embedded_environment(ministack_endpoint),
        **variables_of(provisioned),
        "WORKER_PROCESSES": "1",
        "WORKER_WAIT_TIME_S": "1",
        "WORKER_HTTP_PORT": "0",
        "WORKER_VISIBILITY_TIMEOUT_S": str(VISIBILITY_TIMEOUT_S),
        "WORKER_MAX_RECEIVES": str(MAX_RECEIVES),
    }
    return Fleet(provisioned, environment, tmp_path, s3, sqs, dynamodb)


GOOD_IDS = [f"img_{number}" for number in range(5)]


async def completed_good_images(fleet: Fleet) -> list[str]:
    images = [await fleet.image(GOOD, image_id) for image_id in GOOD_IDS]
    profile = await build_profile_store(fleet.dynamodb, fleet.settings).get(GOOD)
    statistics = profile.get("statistics") if profile else None
    completed = [image.image_id for image in images if image and image.status == "completed"]
    assert isinstance(statistics, dict)
    assert statistics["totalImages"] == len(completed)
    return completed


@pytest.mark.timeout(240)
async def test_an_image_that_kills_the_worker_fails_with_the_reason_and_takes_no_other_along(
    fleet: Fleet,
) -> None:
    await fleet.upload(GOOD, *GOOD_IDS[:3])
    await fleet.upload(KILLER, "bad")
    await fleet.upload(GOOD, *GOOD_IDS[3:])

    await fleet.run_until_queue_is_empty(killed_at="decode", max_starts=4)

    assert await completed_good_images(fleet) == GOOD_IDS
    bad = await fleet.image(KILLER, "bad")
    assert bad
    assert bad.error
    assert (bad.status, bad.error.code) == ("failed", "worker_killed")
    (letter,) = await fleet.dead_letters()
    assert [job.image_id for job in letter.jobs] == ["bad"]
    assert (letter.code, letter.reason) == ("worker_killed", bad.error.message)
    assert fleet.deaths == MAX_RECEIVES


@pytest.mark.timeout(240)
async def test_a_message_that_kills_the_worker_before_its_record_exists_takes_no_other_along(
    fleet: Fleet,
) -> None:
    await fleet.move_after(4)
    await fleet.upload(GOOD, *GOOD_IDS[:3])
    await fleet.upload(KILLER, "bad")
    await fleet.upload(GOOD, *GOOD_IDS[3:])

    await fleet.run_until_queue_is_empty(killed_at="parse", max_starts=5, WORKER_MAX_RECEIVES="1")

    assert await completed_good_images(fleet) == GOOD_IDS
    assert [[job.image_id for job in letter.jobs] for letter in await fleet.dead_letters()] == [["bad"]]


@pytest.mark.timeout(240)
async def test_two_images_that_kill_the_worker_fail_and_take_no_other_along(fleet: Fleet) -> None:
    await fleet.upload(KILLER, "bad_1", "bad_2")
    await fleet.upload(GOOD, *GOOD_IDS)

    await fleet.run_until_queue_is_empty(killed_at="complete", max_starts=6)

    assert await completed_good_images(fleet) == GOOD_IDS
    images = [await fleet.image(KILLER, image_id) for image_id in ("bad_1", "bad_2")]
    assert [image.error.code for image in images if image and image.error] == ["worker_killed"] * 2
    assert {image.status for image in images if image} <= TERMINAL_STATUSES
    assert sorted(letter.code or "" for letter in await fleet.dead_letters()) == ["worker_killed"] * 2
