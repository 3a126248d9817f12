"""Ctrl-C: every command ends at once, with status 130 and without a traceback."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import Command
from tests.support.forked import CommandLine
from tests.support.pictures import encoded, scene
from tests.support.terminal import on_a_terminal
from worker.bootstrap import queue_url
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class Silence:
    """An AWS that takes a request and never answers."""

    endpoint_url: str
    asked: asyncio.Event


@pytest.fixture
async def silence() -> AsyncIterator[Silence]:
    asked = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n")
        asked.set()
        await reader.read()  # until they hang up
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield Silence(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked)


@pytest.mark.parametrize(
    "line",
    [
        "provision",
        "check",
        "run",
        "upload picture.jpg --user alice --wait",
        "images recent",
        "images reprocess --user alice",
        "users get alice",
        "queue redrive",
        "enqueue s3://image-uploads/uploads/",
        "reconcile",
        "table metrics",
    ],
)
async def test_a_command_that_waits_for_an_answer_is_interrupted_without_a_word(
    command: Command, silence: Silence, line: str
) -> None:
    (command.folder / "picture.jpg").write_bytes(b"a picture")
    async with command.started(*line.split(), AWS_ENDPOINT_URL=silence.endpoint_url) as process:
        async with asyncio.timeout(30):
            await silence.asked.wait()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            stdout, stderr = await process.communicate()

    assert (process.returncode, stdout, stderr) == (130, b"", b"")


async def test_a_repair_that_is_interrupted_says_how_far_it_has_come(
    with_resources: Command, provisioned: Settings, s3: "S3Client", sqs: "SQSClient"
) -> None:
    for number in range(11):
        await s3.put_object(Bucket=provisioned.bucket, Key=f"uploads/alice/img_{number:02}.png", Body=b"x")
    await sqs.purge_queue(QueueUrl=await queue_url(sqs, provisioned.queue_name))

    where = f"s3://{provisioned.bucket}/uploads/"
    # Ten go together; the eleventh would go after a minute and a half.
    async with with_resources.started("enqueue", where, "--rate", "0.1") as process:
        assert process.stdout
        async with asyncio.timeout(30):
            told = [(await process.stdout.readline()).decode() for _ in range(10)]
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            stdout, stderr = await process.communicate()

    assert told == [f"img_{number:02}  alice  asked for\n" for number in range(10)]
    assert (process.returncode, stdout) == (130, b"")
    assert stderr.decode() == "stopped after: 10 asked for\n"


async def test_following_pictures_that_nobody_processes_is_given_up_with_ctrl_c(
    with_resources: Command,
) -> None:
    (with_resources.folder / "picture.jpg").write_bytes(encoded(scene(64, 48)))

    seen = await on_a_terminal(
        with_resources, "upload", "picture.jpg", "--user", "alice", "--wait", interrupt_at="processing"
    )

    assert seen.status == 130
    assert "Traceback" not in seen.text
    assert "img_" not in seen.text


@pytest.mark.parametrize("moment", ["painting pictures", "0/14"])
async def test_the_demo_stops_where_it_is(tmp_path: Path, command_line: CommandLine, moment: str) -> None:
    newcomer = Command(tmp_path, {"PATH": "", "WORKER_PROCESSES": "2"}, command_line)

    seen = await on_a_terminal(newcomer, "demo", interrupt_at=moment)

    assert seen.status == 130
    assert "Traceback" not in seen.text
    assert not any(os.scandir(tmp_path))
