"""The command line: its help and its exit status."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from types import ModuleType

import pytest
import structlog
import typer
from typer.testing import CliRunner

from worker.cli import app as command_line
from worker.domain.errors import ConfigurationError, TransientError

Install = Callable[[Callable[[], object]], None]

pytestmark = pytest.mark.usefixtures("_unconfigured_logs")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes a function the body of `image-worker test`."""

    def install(body: Callable[[], object]) -> None:
        module = ModuleType("command_of_a_test")
        module.app = typer.Typer(add_completion=False)  # type: ignore[attr-defined]  # a module made for the test
        module.app.command()(body)
        entry = command_line.Entry("test", module.__name__, "Test.", "Test")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(command_line, "COMMANDS", (entry,))

    return install


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_help_lists_every_command_without_importing_it() -> None:
    listing = "import sys; from worker.cli.app import run; status = run(['--help'])"
    heavy = "print([name for name in ('pydantic', 'botocore', 'PIL', 'structlog') if name in sys.modules])"
    script = f"{listing}; {heavy}; sys.exit(status)"
    completed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(entry.name in completed.stdout for entry in command_line.COMMANDS)
    assert completed.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("entry", command_line.COMMANDS, ids=lambda entry: entry.name)
def test_the_summary_is_the_first_sentence_of_the_command_s_own_help(entry: command_line.Entry) -> None:
    command = typer.main.get_command(import_module(entry.module).app)
    summary = entry.summary.rstrip(".").partition(":")[0]
    assert (command.help or "").startswith(summary)


@pytest.mark.parametrize("entry", command_line.COMMANDS, ids=lambda entry: entry.name)
def test_every_command_has_help(entry: command_line.Entry) -> None:
    result = CliRunner().invoke(command_line.app, [entry.name, "--help"])
    assert result.exit_code == 0
    assert f"image-worker {entry.name}" in result.stdout


@pytest.mark.parametrize("width", [60, 200])
def test_a_paragraph_of_the_help_fills_the_terminal(width: int) -> None:
    result = CliRunner().invoke(
        command_line.app, ["reconcile", "--help"], terminal_width=width, env={"COLUMNS": str(width)}
    )
    lines = [line.strip() for line in result.stdout.splitlines()]
    first = next(number for number, line in enumerate(lines) if line.startswith("An image is stuck"))
    paragraph = lines[first : lines.index("", first)]
    following = [line.split()[0] for line in paragraph[1:]]
    assert all(len(f" {line} {word}") >= width - 1 for line, word in zip(paragraph, following, strict=False))


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["--version"]) == 0
    assert capsys.readouterr().out == f"image-worker {version('image-worker')}\n"


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        (".venv/bin/image-worker", ".venv/bin/image-worker"),
        ("/usr/local/bin/image-worker", "image-worker"),
        ("image-worker", "image-worker"),
        ("worker/__main__.py", "image-worker"),
    ],
)
def test_instructions_name_the_command_as_it_was_called(
    argument: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [argument, "local"])
    assert command_line.called_command() == named


def test_an_unknown_command_ends_with_2_and_a_suggestion_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command_line.run(["setings"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "image-worker: no such command 'setings'; did you mean 'settings'; see image-worker --help\n"
    )


def test_an_unknown_option_ends_with_2_and_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["settings", "--no-such"]) == 2
    assert capsys.readouterr().err == (
        "image-worker settings: no such option: --no-such; see image-worker settings --help\n"
    )


def test_without_a_command_only_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run([]) == 2
    captured = capsys.readouterr()
    assert "Usage: image-worker" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(("body", "status"), [(lambda: None, 0), (lambda: 0, 0), (lambda: 1, 1)])
def test_the_exit_status_is_the_returned_one(
    command: Install, body: Callable[[], int | None], status: int
) -> None:
    command(body)
    assert command_line.run(["test"]) == status


def test_a_configuration_error_is_one_line_and_status_2(
    command: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(ConfigurationError("the queue has no dead letters; run 'image-worker provision'")))
    assert command_line.run(["test"]) == 2
    assert capsys.readouterr().err == (
        "image-worker: the queue has no dead letters; run 'image-worker provision'\n"
    )


def test_a_transient_error_is_one_line_and_status_1(
    command: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(TransientError("the table is unreachable")))
    assert command_line.run(["test"]) == 1
    assert capsys.readouterr().err == "image-worker: the table is unreachable\n"


def test_an_interrupt_is_silent_and_status_130(command: Install, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(KeyboardInterrupt()))
    assert command_line.run(["test"]) == 130
    assert capsys.readouterr().err == ""


def test_a_bug_is_one_line_without_a_traceback(command: Install, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(RuntimeError("disk full for AKIAIOSFODNN7EXAMPLE")))
    assert command_line.run(["test"]) == 1
    assert capsys.readouterr().err == (
        "image-worker: unexpected error: RuntimeError: disk full for [masked]; this is a bug, "
        "please report it with the output of WORKER_LOG_LEVEL=debug\n"
    )


def test_a_bug_logs_its_traceback_at_debug_level(
    command: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_LOG_LEVEL", "debug")
    command(raising(RuntimeError("disk full")))
    assert command_line.run(["test"]) == 1
    log, message = capsys.readouterr().err.splitlines()
    assert '"event": "command.crashed"' in log
    assert '"name": "body"' in log
    assert message.endswith("please report it with the traceback above")


def test_a_service_logs_the_traceback_of_a_bug(command: Install, capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        structlog.configure(processors=[structlog.processors.LogfmtRenderer()])
        message = "disk full"
        raise RuntimeError(message)

    command(body)
    assert command_line.run(["test"]) == 1
    captured = capsys.readouterr()
    assert "command.crashed" in captured.out
    assert captured.err.endswith("please report it with the traceback in the log\n")
