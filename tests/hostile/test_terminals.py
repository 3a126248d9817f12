"""Text of uploads reaches a terminal or a log line without the characters that a terminal would act on."""

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import Command, CommandResult, until_logged
from tests.support.pictures import encoded, quadrants
from worker.bootstrap import queue_url
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

ACTED_ON = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""Control, escape, bidirectional and invisible characters; tabs and line feeds are allowed."""

CHARACTERS = (
    "\x07\x08\x0c\r\x1b[31m\x1b]0;owned\x07\x7f\x85\x9b2J\u202e\u2066\u200f\u200b\u2060\ufeff\U000e0041"
)
NAME = f"a{CHARACTERS}[red]b"
USER = f"u{CHARACTERS}[bold]"


def assert_harmless(ended: CommandResult) -> None:
    for text in (ended.stdout, ended.stderr):
        assert "Traceback" not in text
        assert "this is a bug" not in text
        found = ACTED_ON.search(text)
        assert found is None, (text[max(0, found.start() - 60) : found.end() + 20], found[0])


async def log_of_a_worker(
    s3: "S3Client", sqs: "SQSClient", settings: Settings, command: Command, log_format: str
) -> CommandResult:
    """Return what a worker prints that processes names, metadata and messages with these characters."""
    url = await queue_url(sqs, settings.queue_name)
    key = f"uploads/{USER}/{NAME}.png"
    event: dict[str, Any] = {"bucket": {"name": settings.bucket}, "object": {"key": key}}
    messages: list[dict[str, Any]] = [
        {"detail-type": "Object Created", "detail": event},
        {"detail-type": "Object Created", "detail": event | {"object": {"key": CHARACTERS}}},
        {"detail-type": CHARACTERS, "version": CHARACTERS, "key": CHARACTERS},
        {"version": 1, "bucket": CHARACTERS, "key": CHARACTERS},
    ]
    # The object does not exist: its name, and the error about it, are in the record and in the log.
    for message in messages:
        await sqs.send_message(QueueUrl=url, MessageBody=json.dumps(message))
    metadata = {"filename": "%1B%5B31m%C2%9B%E2%80%AE", "tags": "%1B%5D0%3Bx%07", "description": "%0D%7F"}
    await s3.put_object(
        Bucket=settings.bucket,
        Key="uploads/user/good.png",
        Body=encoded(quadrants(80, 50), "PNG"),
        Metadata=metadata,
    )
    async with command.started("run", WORKER_LOG_FORMAT=log_format, WORKER_LOG_LEVEL="debug") as worker:
        await until_logged(worker, "image.completed")
        while json.loads((await command.run("queue", "stats", "--json")).stdout)["waiting"]:
            await asyncio.sleep(0.1)  # leaves the machine to the worker
        worker.terminate()
        stdout, stderr = await worker.communicate()
    return CommandResult(0, stdout.decode(), stderr.decode())


async def test_no_console_log_prints_what_a_terminal_would_act_on(
    s3: "S3Client", sqs: "SQSClient", provisioned: Settings, with_resources: Command
) -> None:
    assert_harmless(await log_of_a_worker(s3, sqs, provisioned, with_resources, "console"))


@pytest.mark.timeout(240)
async def test_no_command_or_json_log_prints_what_a_terminal_would_act_on(
    s3: "S3Client", sqs: "SQSClient", provisioned: Settings, with_resources: Command
) -> None:
    assert_harmless(await log_of_a_worker(s3, sqs, provisioned, with_resources, "json"))

    for arguments in (
        ("images", "get", NAME),
        ("images", "get", NAME, "--json"),
        ("images", "get", "good"),
        ("images", "list", "--user", USER),
        ("images", "status", "failed"),
        ("images", "recent", "--json"),
        ("images", "reprocess", "--status", "failed"),
        ("images", "get", f"missing{CHARACTERS}"),
        ("images", "recent", "--day", CHARACTERS.replace("\0", "")),
        ("images", "list", "--user", USER, "--token", CHARACTERS),
        ("users", "get", f"missing{CHARACTERS}"),
        ("users", "set", USER, "--size", CHARACTERS),
        ("users", "set", USER, "--watermark-text", CHARACTERS),
        ("users", "get", USER),
        ("queue", "dead"),
        ("queue", "dead", "--json"),
        ("queue", "redrive"),
        ("enqueue", f"s3://{provisioned.bucket}/uploads/{CHARACTERS}"),
        ("upload", f"missing{CHARACTERS}.jpg", "--user", "x"),
        ("check",),
    ):
        assert_harmless(await with_resources.run(*arguments))
    assert_harmless(await with_resources.run("check", WORKER_QUEUE_NAME=f"q{CHARACTERS}"))
    assert_harmless(await with_resources.run("settings", WORKER_WATERMARK_TEXT=CHARACTERS))
    assert_harmless(await with_resources.run("check", WORKER_PROCESSES=CHARACTERS))


async def test_the_demo_prints_the_names_of_files_without_what_a_terminal_would_act_on(
    command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / f"{NAME}.jpg").write_bytes(encoded(quadrants(80, 50)))
    (folder / f"{NAME}.png").write_bytes(b"not an image")
    (folder / f"{NAME}.txt").write_text("text")

    for options in ((), ("--json",)):
        assert_harmless(await command.run("demo", str(folder), "--out", f"out{CHARACTERS}", *options))
