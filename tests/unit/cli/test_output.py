"""What commands print."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.cli.support import output


def test_json_keeps_moments_and_paths_readable(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"at": datetime(2024, 1, 1, 12, tzinfo=UTC), "file": Path("ä.jpg")})
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"at": "2024-01-01T12:00:00.000Z", "file": "ä.jpg"}
    assert "ä" in printed.out
    assert printed.err == ""


def test_a_table_that_is_piped_keeps_each_row_on_its_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    key = "processed/" + "u" * 120 + ".jpg"
    output.console().print(output.table(("Key", "ms"), [(key, "7")], numeric=("ms",)))
    lines = [line for line in capsys.readouterr().out.splitlines() if key in line]
    assert len(lines) == 1
    assert lines[0].endswith(" 7")


def test_remarks_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.stderr_console().print("working")
    assert capsys.readouterr() == ("", "working\n")


def test_a_status_has_its_colour_and_an_unknown_one_has_none() -> None:
    assert output.status_text("failed") == "[bold red]failed[/]"
    assert output.status_text("odd") == "odd"
