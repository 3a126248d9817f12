import json
import logging
import re
from typing import Any

import pytest
import structlog

from worker.telemetry import logs

pytestmark = pytest.mark.usefixtures("_unconfigured_logs")

LEAK = "password=hunter2"

log = structlog.get_logger()


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return dict(json.loads(line))


def test_an_event_is_one_line_of_json_on_stderr_with_its_head_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(format="json", level="info")
    log.info("image.completed", resize_ms=4, bytes_out=82_120)
    entry = logged(capsys)
    assert list(entry)[:3] == ["timestamp", "level", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("timestamp"))
    assert entry == {"level": "info", "event": "image.completed", "resize_ms": 4, "bytes_out": 82_120}


def test_bound_fields_are_in_every_later_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="json", level="info")
    with structlog.contextvars.bound_contextvars(image_id="img_1", attempt=2, message_id="m"):
        log.info("image.claimed")
    entry = logged(capsys)
    assert (entry["image_id"], entry["attempt"], entry["message_id"]) == ("img_1", 2, "m")


def test_events_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="json", level="warning")
    log.info("image.completed")
    assert capsys.readouterr().err == ""


def test_auto_is_json_when_stderr_is_not_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="auto", level="info")
    log.info("image.completed")
    assert logged(capsys)["event"] == "image.completed"


def test_auto_is_for_people_when_stderr_is_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    logs.configure(format="auto", level="info")
    log.info("image.completed", resize_ms=4)
    line = capsys.readouterr().err
    assert "image.completed" in line
    assert "\x1b[" in line
    assert "{" not in line


def failing(message: str) -> None:
    raise ValueError(message)


def test_an_exception_is_structured_in_json_without_local_variables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(format="json", level="info")
    hidden = "hunter2"
    try:
        failing(f"{len(hidden)} characters")
    except ValueError:
        log.exception("image.failed")
    entry = logged(capsys)
    (raised,) = entry["exception"]
    assert (raised["exc_type"], raised["exc_value"]) == ("ValueError", "7 characters")
    assert raised["frames"][-1]["name"] == "failing"
    assert "hunter2" not in json.dumps(entry)


def test_the_traceback_on_a_console_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="console", level="info")
    try:
        failing(LEAK)
    except ValueError:
        log.exception("image.failed")
    shown = capsys.readouterr().err
    assert "ValueError: password=[masked]" in shown
    assert "hunter2" not in shown


def test_a_value_on_a_console_has_no_control_or_bidirectional_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(format="console", level="info")
    log.info("image.failed", key="a\x1b]0;b\x07\u202e.jpg")

    assert "key=a\ufffd]0;b\ufffd\ufffd.jpg" in capsys.readouterr().err


def test_libraries_log_in_the_same_format_from_warning_up(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="json", level="debug")
    library = logging.getLogger("botocore.hooks")
    library.debug("signature %s", "ff")
    library.info("found credentials")
    library.warning("retrying %s", "GetItem")
    entry = logged(capsys)
    del entry["timestamp"]
    assert entry == {
        "level": "warning",
        "event": "library.logged",
        "logger": "botocore.hooks",
        "message": "retrying GetItem",
    }


def test_configuring_twice_does_not_log_twice(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="json", level="info")
    logs.configure(format="json", level="info")
    logging.getLogger("aiohttp").error("unclosed")
    assert logged(capsys)["message"] == "unclosed"


def test_values_without_a_json_form_are_written_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="json", level="info")
    log.info("image.completed", sizes={(800, 600)}, error=ValueError("AKIAIOSFODNN7EXAMPLE"))
    entry = logged(capsys)
    assert (entry["sizes"], entry["error"]) == ([[800, 600]], "[masked]")
