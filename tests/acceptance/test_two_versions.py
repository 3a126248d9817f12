"""Two versions of the worker on one queue: an upgrade, a canary that is killed, and the way back."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.acceptance.conftest import SMALL_WORKER, Command, until_logged
from tests.support.emulators import variables_of
from tests.support.fork_server import CommandProcess
from tests.support.pictures import encoded, quadrants
from tests.support.whole_worker import USER, upload, wait_until_queue_is_empty
from worker.bootstrap import build_queries
from worker.domain.history import claim_count, outcomes
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.local.embedded_aws import embedded_environment
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

ROOT: Final = Path(__file__).parents[2]

OLD_COMMIT: Final = "4ddda72"
"""
The version that runs next to the present one, the last whose readers know no values but their own.

It runs with the present dependencies and resources. Choose a later one when the dependencies no longer fit.
"""


@pytest.fixture(scope="module")
def old_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the old version, from the history of the repository."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("the old version is taken from git, and this is not a clone of the repository")
    archive = subprocess.run(
        [git, "-C", str(ROOT), "archive", OLD_COMMIT, "worker", "config"], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history has no commit {OLD_COMMIT}: it is shallow; run `git fetch --unshallow`")
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


class Fleet:
    """Workers of both versions on one queue, and their command lines."""

    def __init__(self, command: Command, settings: Settings, old_version: Path) -> None:
        assert settings.endpoint_url
        self._command, self._old = command, old_version
        self._variables = {**SMALL_WORKER, **variables_of(settings), "WORKER_VISIBILITY_TIMEOUT_S": "6"}
        self._environment = {**embedded_environment(settings.endpoint_url), **self._variables, "PATH": ""}

    @asynccontextmanager
    async def new(self) -> AsyncIterator[CommandProcess]:
        async with self._command.started("run", **self._variables) as process:
            await until_logged(process, "service.started")
            yield process

    @asynccontextmanager
    async def old(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await self._start_old("run")
        try:
            await until_logged(process, "service.started")
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def documents(self, *arguments: str) -> tuple[Any, Any]:
        """Return the JSON that a command of the old and of the new version prints."""
        process = await self._start_old(*arguments, "--json")
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()
        ended = await self._command.run(*arguments, "--json", **self._variables)
        assert ended.status == 0, ended.stderr
        return json.loads(stdout), json.loads(ended.stdout)

    async def _start_old(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker", *arguments),
            cwd=self._command.folder,
            env={**self._environment, "PYTHONPATH": str(self._old), "HOME": os.devnull},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


async def ended(
    dynamodb: "DynamoDBClient", settings: Settings, ids: Sequence[str], *, least: int | None = None
) -> list[Image]:
    """Wait until so many of the images, or all, are completed; return those."""
    queries = build_queries(dynamodb, settings)
    async with asyncio.timeout(100):
        while True:
            images = await queries.images(((image_id, USER) for image_id in ids), consistent=True)
            completed = [image for image in images if image.status is ImageStatus.COMPLETED]
            if len(completed) >= (len(ids) if least is None else least):
                return completed
            await asyncio.sleep(0.05)  # leaves the emulator free for the workers


@pytest.mark.timeout(300)
async def test_an_old_and_the_new_version_share_a_queue_through_an_upgrade_and_a_rollback(
    command: Command,
    provisioned: Settings,
    old_version: Path,
    s3: "S3Client",
    sqs: "SQSClient",
    dynamodb: "DynamoDBClient",
) -> None:
    fleet = Fleet(command, provisioned, old_version)
    picture, other = encoded(quadrants(900, 700)), encoded(quadrants(700, 900))
    batches = [[f"img_{batch}_{number}" for number in range(10)] for batch in range(4)]
    ids = [image_id for batch in batches for image_id in batch]

    async def send(batch: Sequence[str], content: bytes = picture) -> None:
        for image_id in batch:
            await upload(s3, provisioned, image_id, content)

    async with fleet.old() as old:
        await send(batches[0])
        before = await ended(dynamodb, provisioned, batches[0])
        async with fleet.new() as new:  # the upgrade: both, until the old one is killed
            await send(batches[1])
            await ended(dynamodb, provisioned, batches[1], least=3)
            old.kill()
            await old.wait()
            await ended(dynamodb, provisioned, batches[1])
            await send(batches[2])
            await send(batches[0][:3], other)  # newer uploads of images that the old version completed
            await ended(dynamodb, provisioned, batches[2], least=3)
            new.kill()  # with images in flight
            await new.wait()
    async with fleet.old():  # the rollback: the old version takes over what the new one had claimed
        await send(batches[3])
        await send(batches[2][:3], other)  # and processes newer uploads of its images
        await ended(dynamodb, provisioned, ids)
        await wait_until_queue_is_empty(sqs, provisioned)
    async with fleet.new():  # and forward again
        await send(batches[3][:3], other)
        await wait_until_queue_is_empty(sqs, provisioned)
        images = await ended(dynamodb, provisioned, ids)

    by_id = {image.image_id: image for image in images}
    uploaded_twice = {*batches[0][:3], *batches[2][:3], *batches[3][:3]}
    for image in images:
        completions = outcomes(image.history).get("completed", 0)
        assert 1 <= completions <= (2 if image.image_id in uploaded_twice else 1), image.image_id
        assert claim_count(image.history) == image.attempt
        for rendition in image.renditions.values():
            head = await s3.head_object(Bucket=provisioned.results_bucket, Key=rendition.key)
            assert head["ETag"].strip('"') == rendition.e_tag
            is_tall = image.image_id in uploaded_twice
            assert (rendition.height > rendition.width) is is_tall
    assert len({entry.worker for image in images for entry in image.history if entry.worker}) == 4
    assert {image.image_id for image in before} == set(batches[0]) <= by_id.keys()

    for arguments in (("list", "--user", USER), ("status", "completed")):
        for document in await fleet.documents("images", *arguments, "--limit", "100"):
            statuses = {each["imageId"]: each["status"] for each in document["images"]}
            assert statuses == dict.fromkeys(ids, "completed")
    for user in await fleet.documents("users", "get", USER):
        assert user["statistics"]["totalImages"] == len(ids)
        assert user["statistics"]["totalStorageUsed"] == sum(image.total_bytes() for image in images)
    for dead in await fleet.documents("queue", "dead"):
        assert dead["deadLetters"] == []
