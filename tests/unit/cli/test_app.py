"""The command line itself: what it lists, and how it ends."""

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

Says = Callable[..., None]

pytestmark = pytest.mark.usefixtures("_unconfigured_logs")


@pytest.fixture
def command_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a way to make `image-worker it` do something."""

    def install(body: Callable[[], object]) -> None:
        module = ModuleType("made_for_a_test")
        module.app = typer.Typer(add_completion=False)  # type: ignore[attr-defined]
        module.app.command()(body)
        entry = command_line.Entry("it", module.__name__, "Do it.", "Test")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(command_line, "COMMANDS", (entry,))

    return install


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    listing = "import sys; from worker.cli.app import run; status = run(['--help'])"
    heavy = "print([name for name in ('pydantic', 'botocore', 'PIL', 'structlog') if name in sys.modules])"
    script = f"{listing}; {heavy}; sys.exit(status)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert all(entry.name in ended.stdout for entry in command_line.COMMANDS)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("entry", command_line.COMMANDS, ids=lambda entry: entry.name)
def test_the_listing_says_of_a_command_what_the_command_says_of_itself(entry: command_line.Entry) -> None:
    command = typer.main.get_command(import_module(entry.module).app)
    beginning = entry.summary.rstrip(".").partition(":")[0]
    assert (command.help or "").startswith(beginning)


@pytest.mark.parametrize("entry", command_line.COMMANDS, ids=lambda entry: entry.name)
def test_every_command_explains_itself(entry: command_line.Entry) -> None:
    result = CliRunner().invoke(command_line.app, [entry.name, "--help"])
    assert result.exit_code == 0
    assert f"image-worker {entry.name}" in result.stdout


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["--version"]) == 0
    assert capsys.readouterr().out == f"image-worker {version('image-worker')}\n"


def test_a_wrong_command_ends_with_2_and_a_suggestion_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["setings"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "image-worker: no such command 'setings'; did you mean 'settings'; see image-worker --help\n"
    )


def test_a_wrong_option_ends_with_2_and_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["settings", "--no-such"]) == 2
    assert capsys.readouterr().err == (
        "image-worker settings: no such option: --no-such; see image-worker settings --help\n"
    )


def test_without_a_command_the_help_is_shown_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run([]) == 2
    told = capsys.readouterr()
    assert "Usage: image-worker" in told.out
    assert told.err == ""


@pytest.mark.parametrize(("body", "status"), [(lambda: None, 0), (lambda: 0, 0), (lambda: 1, 1)])
def test_a_command_ends_with_the_status_that_it_returns(
    command_that: Says, body: Callable[[], int | None], status: int
) -> None:
    command_that(body)
    assert command_line.run(["it"]) == status


def test_a_configuration_error_is_one_sentence_and_status_2(
    command_that: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(raising(ConfigurationError("the queue has no dead letters; run 'image-worker provision'")))
    assert command_line.run(["it"]) == 2
    assert capsys.readouterr().err == (
        "image-worker: the queue has no dead letters; run 'image-worker provision'\n"
    )


def test_a_failure_on_the_way_is_one_sentence_and_status_1(
    command_that: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(raising(TransientError("the table did not answer")))
    assert command_line.run(["it"]) == 1
    assert capsys.readouterr().err == "image-worker: the table did not answer\n"


def test_an_interrupt_is_quiet_and_status_130(command_that: Says, capsys: pytest.CaptureFixture[str]) -> None:
    command_that(raising(KeyboardInterrupt()))
    assert command_line.run(["it"]) == 130
    assert capsys.readouterr().err == ""


def test_a_bug_is_one_sentence_without_a_traceback(
    command_that: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(raising(RuntimeError("no room for AKIAIOSFODNN7EXAMPLE")))
    assert command_line.run(["it"]) == 1
    assert capsys.readouterr().err == (
        "image-worker: unexpected error: RuntimeError: no room for [masked]; this is a bug, "
        "please report it with the output of WORKER_LOG_LEVEL=debug\n"
    )


def test_a_bug_shows_its_traceback_at_debug(
    command_that: Says, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_LOG_LEVEL", "debug")
    command_that(raising(RuntimeError("no room")))
    assert command_line.run(["it"]) == 1
    log, sentence = capsys.readouterr().err.splitlines()
    assert '"event": "command.crashed"' in log
    assert '"name": "body"' in log
    assert sentence.endswith("please report it with the traceback above")


def test_a_service_that_logs_for_machines_logs_the_traceback_of_a_bug(
    command_that: Says, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        structlog.configure(processors=[structlog.processors.LogfmtRenderer()])
        message = "no room"
        raise RuntimeError(message)

    command_that(body)
    assert command_line.run(["it"]) == 1
    told = capsys.readouterr()
    assert "command.crashed" in told.out
    assert told.err.endswith("please report it with the traceback in the log\n")
