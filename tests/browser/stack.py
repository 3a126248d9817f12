"""
What the browser tests look at: a worker and a console on an embedded AWS, and images of every kind.

There are uploads that a worker has completed, rejected or sent to the dead-letter queue, failed images that
succeed when they are retried, an image whose first worker was killed, one that nobody works on, and a user
whose every text is hostile.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

from PIL import ExifTags, Image

from tests.chaos.workers import STARTED, Workers, wait_until, worker_processes
from tests.support.builders import a_message
from tests.support.console_process import ConsoleProcess, console_process
from tests.support.pictures import encoded, quadrants
from tests.support.whole_worker import take_notifications
from worker.bootstrap import (
    Clients,
    build_ledger,
    build_queries,
    deploy_storage,
    open_client,
    open_clients,
    queue_url,
)
from worker.domain import image as record
from worker.domain.claim import Claimant, Claimed
from worker.domain.clock import utc_now
from worker.domain.job import Job
from worker.domain.status import TERMINAL_STATUSES, StepName
from worker.domain.transition import failed
from worker.local.demo_images import BUNDLED
from worker.local.embedded_aws import EMBEDDED_REGION, embedded_aws
from worker.settings import Settings
from worker.sqs.events import KeyLayout, parse, to_body

USER: Final = "alice"
"""Owner of the demo images."""

PICTURED_USER: Final = "grace"
"""Owner of some of the demo images, to whom no test uploads others: her page looks always the same."""

OTHER_USERS: Final = ("bob", "carol", "dave")
HOSTILE_USER: Final = "<img src=x onerror=alert(1)>\u202egnp.\x1b[31m&amp;'\"{{7*7}}"
HOSTILE_TEXT: Final = "<script>alert('x')</script>\u202e\x1b[2J\"' onmouseover=alert(2) ${7*7} {{7*7}}"
RETRIED_CODE: Final = "decode_timeout"
"""Error code of the failed images that succeed when they are retried."""

VISIBILITY_S: Final = 6
"""The shortest visibility timeout, after which the image of a killed worker gets a second attempt."""

RETRIED: Final = ("slow-1", "slow-2", "slow-3")
DEMO_FILES: Final = {
    "mountains-at-dawn.jpg": "mountains",
    "forest-from-a-phone.jpg": "forest",
    "forest-transparent.png": "forest",
    "tulips.webp": "tulips",
    "sea-at-sunset.jpg": "sea",
    "broken-on-purpose.jpg": "lake",
}
"""Name of each uploaded file -> the bundled image that it is made of."""


@dataclass(eq=False)
class Stack:
    """
    The running processes, and the resources that they use.

    Attributes:
        settings: Settings with the names of the resources.
        clients: Open clients of the embedded AWS.
        workers: The worker processes.
        console: The console.
        pictures: Folder of the demo images.
        prefix: Path prefix of the console.
        operation_id: Id of a bulk action that waits for its confirmation.
    """

    settings: Settings
    clients: Clients
    workers: Workers
    console: ConsoleProcess
    pictures: Path
    prefix: str = ""
    operation_id: str = ""

    def url(self, path: str) -> str:
        """Return the URL of a page of the console; `OPERATION` in the path is the id of the bulk action."""
        return self.console.origin + self.prefix + path.replace("OPERATION", self.operation_id)

    async def image(self, image_id: str, user_id: str = USER) -> record.Image | None:
        """Return an image of the record; None if it does not exist."""
        queries = build_queries(self.clients.dynamodb, self.settings)
        return await queries.image(image_id, user_id, consistent=True)

    async def ended(self, image_id: str, user_id: str = USER) -> record.Image:
        """Wait until an image is completed or failed, and return it."""
        async with asyncio.timeout(60):
            while True:
                image = await self.image(image_id, user_id)
                if image is not None and image.status in TERMINAL_STATUSES:
                    return image
                await asyncio.sleep(0.05)

    async def put(
        self, name: str, content: bytes, *, user_id: str = USER, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Upload an object as `uploads/{user_id}/{name}`, with percent-encoded metadata."""
        await self.clients.s3.put_object(
            Bucket=self.settings.bucket,
            Key=f"uploads/{user_id}/{name}",
            Body=content,
            Metadata={key: quote(value, safe=" ,") for key, value in (metadata or {}).items()},
        )

    async def send(self, queue_name: str, body: str) -> None:
        """Send a message to a queue."""
        url = await queue_url(self.clients.sqs, queue_name)
        await self.clients.sqs.send_message(QueueUrl=url, MessageBody=body)

    async def put_without_event(self, names: Sequence[str], user_id: str = USER) -> dict[str, Job]:
        """Upload an image under each name while no worker runs; return the jobs of their notifications."""
        for name in names:
            await self.put(f"{name}.jpg", encoded(quadrants(320, 240)), user_id=user_id)
        bodies = await take_notifications(self.clients.sqs, self.settings, len(names))
        layout = KeyLayout(self.settings.bucket, self.settings.upload_keys, "processed/")
        jobs = [part for body in bodies for part in parse(a_message(body), layout) if isinstance(part, Job)]
        return {job.image_id: job for job in jobs}

    async def claim(self, job: Job, *, worker: str, ago_s: float) -> record.Image:
        """Claim an image as a worker did some time ago."""
        now = utc_now() - timedelta(seconds=ago_s)
        claimant = Claimant(
            owner=f"{worker}/{job.image_id}",
            now=now,
            lease_until=now + timedelta(seconds=VISIBILITY_S),
            recipe="recipe",
        )
        claim = await build_ledger(self.clients.dynamodb, self.settings).claim(job, claimant)
        assert isinstance(claim, Claimed)
        return claim.image


@asynccontextmanager
async def stack() -> AsyncIterator[Stack]:
    """Run an embedded AWS, a worker and a console, with images."""
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="console-")))
        endpoint_url = await opened.enter_async_context(embedded_aws())
        # The names of the resources are the defaults, which the screenshots show.
        settings = Settings(
            endpoint_url=endpoint_url, region=EMBEDDED_REGION, visibility_timeout_s=VISIBILITY_S
        )
        clients = await opened.enter_async_context(open_clients(settings))
        async with open_client("cloudformation", settings) as cloudformation:
            await deploy_storage(cloudformation, clients.dynamodb, settings)
        console = await opened.enter_async_context(
            console_process(settings, folder, endpoint_url=endpoint_url)
        )
        workers = await opened.enter_async_context(
            worker_processes(settings, folder, endpoint_url=endpoint_url, KILLED_ONCE=str(folder / "killed"))
        )
        running = Stack(settings, clients, workers, console, folder / "pictures")
        _write_pictures(running.pictures)
        await _seed_failures(running)
        await _seed_uploads(running)
        worker = await workers.start(0)
        await wait_until(lambda: worker.has_started, within_s=60, what=STARTED)
        await _wait_for_uploads(running)
        yield running


def _write_pictures(folder: Path) -> None:
    """Write the demo images; each format is one that Chromium shows."""
    folder.mkdir()
    for name, source in DEMO_FILES.items():
        content = (BUNDLED / f"{source}.jpg").read_bytes()
        match name.rpartition(".")[2]:
            case "png":
                with Image.open(BUNDLED / f"{source}.jpg") as image:
                    image.putalpha(Image.linear_gradient("L").resize(image.size))
                    content = encoded(image, "PNG", compress_level=1)
            case "webp":
                with Image.open(BUNDLED / f"{source}.jpg") as image:
                    content = encoded(image, "WEBP", method=0)
        (folder / name).write_bytes(content[: len(content) // 2] if "broken" in name else content)


async def _seed_failures(running: Stack) -> None:
    """Record failed images whose retry succeeds, one whose worker was killed, and one that never ended."""
    jobs = await running.put_without_event([*RETRIED, "killed-worker", "stuck", "redriven"])
    ledger = build_ledger(running.clients.dynamodb, running.settings)
    failure = record.Failure(
        code=RETRIED_CODE,
        message="the step took longer than 30 s and was stopped; retry the image",
        step=StepName.VALIDATION,
        retryable=True,
    )
    for name in RETRIED:
        image = await running.claim(jobs[name], worker="worker-1", ago_s=300)
        await ledger.settle(image, failed(failure, at=utc_now() - timedelta(seconds=299)))
    await ledger.close()
    await running.claim(jobs["stuck"], worker="worker-2", ago_s=600)
    await running.claim(jobs["killed-worker"], worker="worker-2", ago_s=90)
    await running.send(running.settings.queue_name, to_body(jobs["killed-worker"], reason="test"))
    await running.send(running.settings.dead_letter_queue_name, to_body(jobs["redriven"], reason="test"))


async def _seed_uploads(running: Stack) -> None:
    """Upload the demo images, broken ones of other users, and hostile ones; send unreadable messages."""
    for name in DEMO_FILES:
        content = (running.pictures / name).read_bytes()
        await running.put(name, content, metadata={"filename": name, "tags": "demo", "description": "A demo"})
        await running.put(name, content, user_id=PICTURED_USER, metadata={"filename": name})
    broken = (running.pictures / "broken-on-purpose.jpg").read_bytes()
    for user_id in OTHER_USERS:
        await running.put("incomplete.jpg", broken[: len(broken) // 2], user_id=user_id)
    await running.put("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", user_id="bob")
    await running.put("photo.jpg", hostile_jpeg(), user_id=HOSTILE_USER, metadata=hostile_metadata())
    await running.put("empty.jpg", HOSTILE_TEXT.encode(), user_id=HOSTILE_USER, metadata=hostile_metadata())
    message = HOSTILE_TEXT.replace("\x1b", "")  # SQS rejects control characters
    for body in ("not a notification", message, '{"Records": "none"}'):
        await running.send(running.settings.queue_name, body)


async def _wait_for_uploads(running: Stack) -> None:
    for name in (*DEMO_FILES, "killed-worker.jpg"):
        await running.ended(name.rpartition(".")[0])
    for name in DEMO_FILES:
        await running.ended(name.rpartition(".")[0], PICTURED_USER)
    for user_id in OTHER_USERS:
        await running.ended("incomplete", user_id)
    for image_id in ("photo", "empty"):
        await running.ended(image_id, HOSTILE_USER)


def hostile_metadata() -> dict[str, str]:
    """Return metadata of an upload with hostile text in every value."""
    return {"filename": HOSTILE_TEXT, "tags": f"{HOSTILE_TEXT},tag", "description": HOSTILE_TEXT}


def hostile_jpeg() -> bytes:
    """Return a JPEG with hostile text in its EXIF data."""
    exif = Image.Exif()
    for tag in (
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Artist,
    ):
        exif[tag] = "<script>alert('exif')</script>\x1b[31m"
    return encoded(quadrants(640, 400), exif=exif)
