"""Start of commands."""

import asyncio
import json

import pytest
import structlog

from worker.cli.support.entrypoint import asynchronous, start


@asynchronous
async def twice(number: int) -> int:
    """Double it."""
    await asyncio.sleep(0)
    return number * 2


def test_an_asynchronous_command_runs_to_completion_and_keeps_its_name_and_help() -> None:
    assert twice(21) == 42
    assert (twice.__name__, twice.__doc__) == ("twice", "Double it.")


@pytest.mark.usefixtures("_unconfigured_logs")
def test_start_reads_the_settings_and_configures_logging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKER_LOG_LEVEL", "warning")
    assert start().log_level == "warning"
    structlog.get_logger().info("image.completed")
    structlog.get_logger().warning("image.released")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "image.released"
