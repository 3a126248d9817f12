"""`image-worker console`, and the console of `image-worker local`."""

import asyncio
import re
import signal

import pytest

from tests.acceptance.conftest import Command, until_logged
from tests.support.console import signed_in
from tests.support.emulators import a_free_port


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_the_console_prints_a_link_that_signs_in_and_ends_on_a_signal_while_a_stream_is_open(
    with_resources: Command, stop: signal.Signals
) -> None:
    async with with_resources.started("console", WORKER_CONSOLE_PORT=str(a_free_port())) as process:
        link = re.search(r"http://\S+", await until_logged(process, "login?token="))
        assert link
        async with signed_in(link[0]) as browser, browser.get("/queue/events") as stream:
            assert stream.status == 200
            assert await stream.content.readany()
            process.send_signal(stop)
            async with asyncio.timeout(30):
                await process.communicate()
    assert process.returncode == 0


async def test_local_starts_the_console(command: Command) -> None:
    settings = {"WORKER_PROCESSES": "1", "WORKER_HTTP_PORT": "0"}
    arguments = ("local", "--port", "0")
    async with command.started(*arguments, WORKER_CONSOLE_PORT=str(a_free_port()), **settings) as process:
        link = re.search(r"http://\S+", await until_logged(process, "login?token="))
        assert link
        async with signed_in(link[0]) as browser, browser.get("/") as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"WORKER_CONSOLE_PORT": "0"}, "WORKER_CONSOLE_PORT is 0: set it to a free port"),
        (
            {"WORKER_CONSOLE_AUTHENTICATION": "none", "WORKER_CONSOLE_HOST": "192.0.2.1"},
            "would open the console to every client",
        ),
    ],
    ids=["no port", "open to every client"],
)
async def test_wrong_settings_are_usage_errors(
    with_resources: Command, changes: dict[str, str], message: str
) -> None:
    ended = await with_resources.run("console", **changes)
    assert (ended.status, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


async def test_a_port_in_use_is_named_in_the_error(with_resources: Command) -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        ended = await with_resources.run("console", WORKER_CONSOLE_PORT=str(port))
    assert ended.status == 2
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "set WORKER_CONSOLE_PORT to a free port" in ended.stderr
