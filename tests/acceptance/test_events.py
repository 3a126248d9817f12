"""`image-worker events` as people use it: processes that are killed and started again."""

import asyncio
import base64
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from tests.acceptance.conftest import SMALL_WORKER, Command
from tests.support.emulators import variables_of
from tests.support.pictures import encoded, quadrants
from tests.support.state_changes import ends_of
from worker.bootstrap import build_queries
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

IMAGE = encoded(quadrants(96, 72))
EVENTS_ON = {"WORKER_EVENTS": "true"}
UPLOADS = 24
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "events_endpoint.py"


async def records(dynamodb: "DynamoDBClient", settings: Settings, count: int) -> list[Image]:
    keys = [(f"img_{number}", "alice") for number in range(count)]
    return await build_queries(dynamodb, settings).images(keys, consistent=True)


async def ended(dynamodb: "DynamoDBClient", settings: Settings, *, least: int) -> list[Image]:
    """Wait until so many images have ended; return the records."""
    async with asyncio.timeout(100):
        while True:
            images = await records(dynamodb, settings, UPLOADS)
            if sum(image.status in TERMINAL_STATUSES for image in images) >= least:
                return images
            await asyncio.sleep(0.1)


async def test_a_consumer_killed_at_random_receives_every_end_while_workers_are_killed(
    command: Command, with_stream: Settings, s3: "S3Client", dynamodb: "DynamoDBClient", tmp_path: Path
) -> None:
    rng = random.Random(5)
    variables = {**SMALL_WORKER, **variables_of(with_stream), "WORKER_VISIBILITY_TIMEOUT_S": "6"}
    checkpoint, received = tmp_path / "positions.json", set[str]()

    async def consume(*, at_least: int, up_to: set[str]) -> None:
        """Run `events tail`, and kill it after so many events that are new, or once it has printed all."""
        arguments = ("events", "tail", "--from", "oldest", "--checkpoint", str(checkpoint), "--json")
        enough = min(len(received) + at_least, len(received | up_to))
        async with command.started(*arguments, **variables) as consumer, asyncio.timeout(100):
            assert consumer.stdout is not None
            while len(received) < enough:
                line = await consumer.stdout.readline()
                received.add(json.loads(line)["detail"]["id"])
            consumer.kill()
            written = (await consumer.stdout.read()).decode().split("\n")[:-1]  # without a line that is cut
            received.update(json.loads(line)["detail"]["id"] for line in written)

    for number in range(UPLOADS):
        content = b"not an image" if number % 5 == 4 else IMAGE
        key = f"uploads/alice/img_{number}.jpg"
        await s3.put_object(Bucket=with_stream.bucket, Key=key, Body=content, ContentType="image/jpeg")
    for share in (0.2, 0.6, 1.0):  # each worker is killed with images in flight, but for the last
        async with command.started("run", **variables) as worker:
            images = await ended(dynamodb, with_stream, least=round(share * UPLOADS))
            worker.kill()
        await consume(at_least=rng.randint(1, 9), up_to=ends_of(images))
    while received != ends_of(images):
        await consume(at_least=rng.randint(5, 15), up_to=ends_of(images))
    assert {name.rpartition("/")[2] for name in received} == {"completed", "failed"}


async def test_expired_records_are_followed_until_ctrl_c(
    command: Command, with_stream: Settings, tmp_path: Path
) -> None:
    variables = {**variables_of(with_stream), "WORKER_DELETE_EXPIRED_OBJECTS": "true"}
    checkpoint = tmp_path / "expired.json"
    arguments = ("events", "delete-expired", "--checkpoint", str(checkpoint))
    async with command.started(*arguments, **variables) as follower, asyncio.timeout(60):
        while not checkpoint.exists():
            await asyncio.sleep(0.05)
        follower.send_signal(signal.SIGINT)
        assert await follower.wait() == 130
    assert isinstance(json.loads(checkpoint.read_text()), dict)
    rejected = await command.run(*arguments, **variables_of(with_stream))
    assert (rejected.status, "set it to true to delete them" in rejected.stderr) == (2, True)


async def test_check_names_the_stream_and_the_pipe(command: Command, provisioned: Settings) -> None:
    checked = await command.run("check", "--json", **variables_of(provisioned), **EVENTS_ON)
    findings = {finding["name"]: finding for finding in json.loads(checked.stdout)["findings"]}
    assert not findings["stream"]["ok"]
    assert "image-worker provision" in findings["stream"]["fix"]
    assert "there is no pipe image-worker-events" in findings["pipe"]["message"]
    assert checked.status == 0, "the worker itself needs no events"


async def test_wrong_arguments_are_explained(command: Command, with_stream: Settings) -> None:
    variables = {**variables_of(with_stream), **EVENTS_ON}
    for arguments, message in (
        (("forward", "localhost"), "is not a URL"),
        (("forward", "http://localhost/hooks"), "WORKER_WEBHOOK_SECRET is not whsec_"),
        (("replay", "--since", "yesterday"), "--since is 'yesterday': write a time as in"),
        (
            ("replay", "--since", "2024-01-02", "--until", "2024-01-01"),
            "is not before --until",
        ),
        (("replay", "--since", "2024-01-02T00:00:00Z", "--status", "pending"), "only completed and failed"),
    ):
        ended = await command.run("events", *arguments, **variables)
        assert ended.status == 2
        assert message in ended.stderr
        assert ended.stderr.count("\n") == 1


async def test_the_example_of_an_endpoint_accepts_signed_events_only(
    command: Command,
    with_stream: Settings,
    s3: "S3Client",
    dynamodb: "DynamoDBClient",
    free_port: int,
) -> None:
    secret = "whsec_" + base64.b64encode(b"0123456789abcdefghijklmn").decode()
    variables = {**SMALL_WORKER, **variables_of(with_stream), "WORKER_WEBHOOK_SECRET": secret}
    url = f"http://127.0.0.1:{free_port}/hooks"
    example = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        str(free_port),
        env={**os.environ, "WORKER_WEBHOOK_SECRET": secret},
        stdout=asyncio.subprocess.PIPE,
    )
    assert example.stdout is not None
    try:
        await s3.put_object(Bucket=with_stream.bucket, Key="uploads/alice/img_0.jpg", Body=IMAGE)
        async with command.started("run", **variables), asyncio.timeout(100):
            await ended(dynamodb, with_stream, least=1)
        arguments = ("events", "forward", url, "--from", "oldest")
        async with command.started(*arguments, **variables), asyncio.timeout(100):
            line = await example.stdout.readline()
        assert line == b"alice/img_0 completed: processed/alice/img_0.jpg\n"
        async with aiohttp.ClientSession() as session:
            headers = {"webhook-id": "evt_1"}
            async with session.post(url, data=b'{"detail": {}}', headers=headers) as forged:
                assert forged.status == 401
    finally:
        example.kill()
        await example.communicate()
