"""`image-worker settings`."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.cli.app import run
from worker.settings import Settings


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(["settings", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    return {each["name"]: each for each in document["settings"]} | {"unknown": document["unknown"]}


def test_every_setting_is_listed_with_its_variable_and_description(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = listed(capsys)
    assert len(settings) == len(Settings.model_fields) + 1
    assert settings["AWS_REGION"]["source"] == "default"
    assert settings["WORKER_QUALITY"] == {
        "name": "WORKER_QUALITY",
        "value": 82,
        "default": 82,
        "source": "default",
        "description": "Quality of JPEG, WebP and AVIF results.",
    }


def test_each_value_has_its_source_and_the_environment_takes_precedence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("WORKER_QUALITY=70\nWORKER_MAX_FRAMES=9\nAWS_REGION=eu-west-1\n")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    monkeypatch.setenv("WORKER_QUALITY", "71")
    monkeypatch.setenv("WORKER_EXTRA_SIZES", '["thumbnail"]')
    settings = listed(capsys)
    shown = {
        name: (settings[name]["value"], settings[name]["source"])
        for name in ("WORKER_QUALITY", "WORKER_MAX_FRAMES", "AWS_REGION", "WORKER_EXTRA_SIZES")
    }
    assert shown == {
        "WORKER_QUALITY": (71, "environment"),
        "WORKER_MAX_FRAMES": (9, ".env"),
        "AWS_REGION": ("eu-west-1", ".env"),
        "WORKER_EXTRA_SIZES": (["thumbnail"], "environment"),
    }


def test_a_password_in_the_endpoint_is_masked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://me:hunter2@aws.example:4566/")
    assert listed(capsys)["AWS_ENDPOINT_URL"]["value"] == "https://[masked]@aws.example:4566/"


def test_an_unknown_variable_is_reported_with_a_suggestion(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_QUALTY", "71")
    assert run(["settings"]) == 0
    assert capsys.readouterr().err == (
        "WORKER_QUALTY is set, but is not a setting of this version; did you mean WORKER_QUALITY?\n"
    )


@pytest.mark.parametrize("columns", ["80", "160"])
def test_the_table_shows_value_default_and_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("WORKER_QUALITY", "71")
    monkeypatch.setenv("WORKER_WATERMARK_TEXT", "[bold]Mine[/]")
    assert run(["settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (quality,) = (line for line in lines if line.startswith("WORKER_QUALITY"))
    assert "71 (default: 82)" in quality
    assert "environment" in quality
    assert any("[bold]Mine[/]" in line for line in lines)


def test_piped_output_has_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["settings"]) == 0
    assert "\x1b" not in capsys.readouterr().out
