"""Output of commands."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.markup import escape

from worker.cli.support import output

HOSTILE = "beach\x1b]0;owned\x07\x9b2J\u202egpj.exe"
SAFE = "beach\ufffd]0;owned\ufffd\ufffd2J\ufffdgpj.exe"


def test_json_contains_times_and_paths_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"at": datetime(2024, 1, 1, 12, tzinfo=UTC), "file": Path("ä.jpg")})
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"at": "2024-01-01T12:00:00.000Z", "file": "ä.jpg"}
    assert "ä" in printed.out
    assert printed.err == ""


def test_a_piped_table_keeps_each_row_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    key = "processed/" + "u" * 120 + ".jpg"
    output.console().print(output.table(("Key", "ms"), [(key, "7")], numeric=("ms",)))
    lines = [line for line in capsys.readouterr().out.splitlines() if key in line]
    assert len(lines) == 1
    assert lines[0].endswith(" 7")


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.stderr_console().print("working")
    assert capsys.readouterr() == ("", "working\n")


def test_a_status_has_a_colour_unless_it_is_unknown() -> None:
    assert output.status_text("failed") == "[bold red]failed[/]"
    assert output.status_text("odd") == "odd"


def test_names_of_uploads_reach_a_terminal_without_control_and_bidirectional_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    output.console().print(output.table(("File", "Status"), [(escape(HOSTILE), "[green]completed[/]")]))
    printed = capsys.readouterr().out

    assert SAFE in printed
    assert "\x1b[32mcompleted" in printed  # the console's own colours are kept


def test_json_escapes_the_characters_that_a_terminal_acts_on(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"file": HOSTILE})
    printed = capsys.readouterr().out

    assert not set(printed) & set("\x1b\x07\x9b\u202e")
    assert json.loads(printed) == {"file": HOSTILE}
