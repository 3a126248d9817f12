"""The runbook: an entry for each alarm and symptom, and nothing in it that does not exist."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from tests.support import templates
from worker.cli.app import COMMANDS
from worker.telemetry.metrics import Metrics

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations"
PAGE = "\n".join(page.read_text(encoding="utf-8") for page in sorted(OPERATIONS.glob("*.md")))
HEADINGS = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)


def section(heading: str) -> str:
    """Return what stands between a heading and the next."""
    return re.split(r"^#+ .+$", PAGE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_alarm_has_an_entry_with_meaning_checks_and_actions() -> None:
    resources = templates.template("alarms.yaml")["Resources"].values()
    names = {one["Properties"]["AlarmName"]["Fn::Sub"].rpartition("}-")[2] for one in resources}

    assert names <= set(HEADINGS)
    for name in names:
        text = section(name) or section("write-throttles")  # reads and writes share theirs
        assert all(word in text for word in ("**Mean", "**Look at**", "**Do**")), name


@pytest.mark.parametrize("symptom", ["Throttling", "Hot partitions", "High latency", "Cost"])
def test_every_symptom_of_the_table_has_an_entry(symptom: str) -> None:
    assert section(symptom).count("\n- **") >= 2


def commands() -> set[str]:
    """Return every command that the page names, inline or in a block, without its name."""
    inline = re.findall(r"`image-worker ([^`]+)`", PAGE)
    in_blocks = re.findall(r"^image-worker ([^#\n]+)", PAGE, re.MULTILINE)
    return {line.strip() for line in inline + in_blocks}


@pytest.mark.parametrize("line", sorted(commands()))
def test_every_command_exists_with_its_options(line: str) -> None:
    name, *rest = shlex.split(line)
    module = next(entry.module for entry in COMMANDS if entry.name == name)
    command = get_command(import_module(module).app)
    if isinstance(command, typer.core.TyperGroup) and rest:
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_every_metric_exists() -> None:
    exposition = Metrics().exposition().decode()
    for name in set(re.findall(r"image_worker_\w+", PAGE)):
        assert f"# TYPE {name} " in exposition, name
