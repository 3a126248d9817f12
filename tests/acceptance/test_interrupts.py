"""Ctrl-C: every command exits immediately with status 130 and without a traceback."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import Command
from tests.support.pictures import encoded, quadrants
from tests.support.terminal import run_on_terminal
from worker.bootstrap import queue_url
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class UnresponsiveAws:
    """An AWS endpoint that accepts a request and never responds."""

    endpoint_url: str
    requested: asyncio.Event


@pytest.fixture
async def unresponsive() -> AsyncIterator[UnresponsiveAws]:
    requested = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        requested.set()
        await reader.read()  # until the client disconnects
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield UnresponsiveAws(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requested)


@pytest.mark.parametrize(
    "line",
    [
        "provision",
        "check",
        "run",
        "upload picture.jpg --user alice --wait",
        "images recent",
        "images reprocess --user alice",
        "queue redrive",
        "enqueue s3://image-uploads/uploads/",
        "reconcile",
        "table metrics",
    ],
)
async def test_a_command_waiting_for_a_response_is_interrupted_silently(
    command: Command, unresponsive: UnresponsiveAws, line: str
) -> None:
    (command.folder / "picture.jpg").write_bytes(b"a picture")
    async with command.started(*line.split(), AWS_ENDPOINT_URL=unresponsive.endpoint_url) as process:
        async with asyncio.timeout(30):
            await unresponsive.requested.wait()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            stdout, stderr = await process.communicate()

    assert (process.returncode, stdout, stderr) == (130, b"", b"")


async def test_a_new_interpreter_is_interrupted_silently(
    command: Command, unresponsive: UnresponsiveAws
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "users", "get", "alice"),
        cwd=command.folder,
        env={**command.environment, "AWS_ENDPOINT_URL": unresponsive.endpoint_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        await unresponsive.requested.wait()
        process.send_signal(signal.SIGINT)
        stdout, stderr = await process.communicate()

    assert (process.returncode, stdout, stderr) == (130, b"", b"")


async def test_an_interrupted_repair_reports_its_progress(
    with_resources: Command, provisioned: Settings, s3: "S3Client", sqs: "SQSClient"
) -> None:
    for number in range(11):
        await s3.put_object(Bucket=provisioned.bucket, Key=f"uploads/alice/img_{number:02}.png", Body=b"x")
    await sqs.purge_queue(QueueUrl=await queue_url(sqs, provisioned.queue_name))

    where = f"s3://{provisioned.bucket}/uploads/"
    # The first batch has ten images; the eleventh would follow after a minute and a half.
    async with with_resources.started("enqueue", where, "--rate", "0.1") as process:
        async with asyncio.timeout(30):
            lines = [(await process.stdout.readline()).decode() for _ in range(10)]
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            stdout, stderr = await process.communicate()

    assert lines == [f"img_{number:02}  alice  enqueued\n" for number in range(10)]
    assert (process.returncode, stdout) == (130, b"")
    assert stderr.decode() == "stopped after: 10 enqueued\n"


async def test_waiting_for_images_is_interrupted_with_ctrl_c(
    with_resources: Command,
) -> None:
    (with_resources.folder / "picture.jpg").write_bytes(encoded(quadrants(64, 48)))

    seen = await run_on_terminal(
        with_resources, "upload", "picture.jpg", "--user", "alice", "--wait", interrupt_at="processing"
    )

    assert seen.status == 130
    assert "Traceback" not in seen.text
    assert "img_" not in seen.text


@pytest.mark.parametrize(
    ("arguments", "moment"), [("demo", "preparing demo images"), ("demo mine", "0/2")], ids=["start", "work"]
)
async def test_the_demo_is_interrupted(tmp_path: Path, arguments: str, moment: str) -> None:
    (tmp_path / "mine").mkdir()
    for number in range(2):
        (tmp_path / "mine" / f"{number}.png").write_bytes(encoded(quadrants(64, 48), "PNG"))
    newcomer = Command(tmp_path, {"PATH": "", "WORKER_PROCESSES": "2"})

    seen = await run_on_terminal(newcomer, *arguments.split(), interrupt_at=moment)

    assert seen.status == 130
    assert "Traceback" not in seen.text
    assert [entry.name for entry in os.scandir(tmp_path)] == ["mine"]
