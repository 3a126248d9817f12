"""
The `image-worker` command: the list of commands, and the exit status.

To add a command, add a module with a `typer.Typer` named `app` to this folder, and an entry to `COMMANDS`. A
module is only imported when its command is called, which keeps `image-worker --help` fast.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from worker.domain.printable import printable

if TYPE_CHECKING:
    from typer._click.core import Command, Context

NAME: Final = "image-worker"
SUCCESS: Final = 0
FAILED: Final = 1
USAGE_ERROR: Final = 2
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Entry:
    """
    An entry of the help: a command, or a group of commands.

    Attributes:
        name: Name of the command.
        module: Module with its `app`: a `typer.Typer` with one command, or with several for a group.
        summary: First sentence of the command's own help.
        panel: Heading that the help lists it under.
    """

    name: str
    module: str
    summary: str
    panel: str


COMMANDS: Final = (
    Entry(
        "demo",
        "worker.cli.demo",
        "Process demo images, or your own, on an embedded AWS: no account, no Docker.",
        "Try",
    ),
    Entry(
        "local",
        "worker.cli.local",
        "Run an embedded AWS, the worker and the web console until Ctrl-C.",
        "Try",
    ),
    Entry("run", "worker.cli.run", "Run the worker: process messages until SIGTERM or SIGINT.", "Run"),
    Entry(
        "console",
        "worker.cli.console",
        "Run the web console: see images, failures, queues and users, and act on them.",
        "Run",
    ),
    Entry("health", "worker.cli.health", "Check whether the worker on this machine is healthy.", "Run"),
    Entry(
        "provision",
        "worker.cli.provision",
        "Create or update the buckets, queues and table with CloudFormation.",
        "Set up",
    ),
    Entry(
        "check",
        "worker.cli.check",
        "Check that the queues, buckets, table and permissions exist and are correct.",
        "Set up",
    ),
    Entry(
        "settings",
        "worker.cli.settings",
        "List all settings with their values, defaults and sources.",
        "Set up",
    ),
    Entry(
        "recipes",
        "worker.cli.recipes",
        "Show the recipes in force, check a configuration file, and preview its results.",
        "Set up",
    ),
    Entry("upload", "worker.cli.upload", "Upload images to S3 and print their image ids.", "Use"),
    Entry(
        "upload-form",
        "worker.cli.upload_form",
        "Print a presigned form for the upload of one image by a browser, as JSON.",
        "Use",
    ),
    Entry("images", "worker.cli.images", "Show, list, retry, reprocess and delete images.", "Use"),
    Entry("users", "worker.cli.users", "Show users, set their preferences, and forget them.", "Use"),
    Entry(
        "events",
        "worker.cli.events",
        "Follow, forward and replay the events of images, and delete objects of expired records.",
        "Use",
    ),
    Entry("queue", "worker.cli.queue", "Show queue depth, list and redrive dead letters.", "Operate"),
    Entry(
        "enqueue",
        "worker.cli.enqueue",
        "Enqueue uploads that are missing in the table, or recorded as an older version.",
        "Operate",
    ),
    Entry("reconcile", "worker.cli.reconcile", "Find stuck images and requeue them.", "Operate"),
    Entry(
        "table",
        "worker.cli.table",
        "Back up and restore the table, and show its capacity and throttling.",
        "Operate",
    ),
)


class LazyCommand(TyperCommand):
    """An entry of the help that imports the real command when it is called."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.summary, rich_help_panel=entry.panel)
        self.entry = entry

    def load(self) -> "Command":
        """Import the module and return its command or group, with help that fits any terminal width."""
        command = typer.main.get_command(import_module(self.entry.module).app)
        for each in (command, *(command.commands.values() if isinstance(command, TyperGroup) else ())):
            # Typer keeps the line breaks of a docstring, which are those of the source code.
            each.help = "\n\n".join(
                " ".join(paragraph.split()) for paragraph in (each.help or "").split("\n\n")
            )
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: "Context | None" = None,
        **extra: Any,  # noqa: ANN401 - as in the base class
    ) -> "Context":
        """Parse the arguments with the real command, which typer uses from here on."""
        return self.load().make_context(info_name, args, parent, **extra)


class LazyGroup(TyperGroup):
    """A group that lists all commands without importing them."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - as in the base class
        super().__init__(**attributes)
        for entry in COMMANDS:
            self.add_command(LazyCommand(entry))


app = typer.Typer(
    name=NAME,
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _set_configuration_file(name: str | None) -> None:
    if name is not None:
        os.environ["WORKER_CONFIG_FILE"] = name


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"{NAME} {version(NAME)}")
        raise typer.Exit(SUCCESS)


@app.callback()
def image_worker(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    _config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            callback=_set_configuration_file,
            help="Configuration file in TOML, a path or s3://bucket/key; default: WORKER_CONFIG_FILE.",
        ),
    ] = None,
) -> None:
    """
    Process images uploaded to S3: validate, resize and watermark them, and record each step in DynamoDB.

    Settings are read from the environment, a .env file and a configuration file: see `image-worker settings`.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line and return its exit status.

    0: success; 1: the command ran, but something failed; 2: wrong usage or configuration; 130: interrupted.
    Each error is printed as one line on stderr.

    Args:
        arguments: Command-line arguments without the program name; None reads those of the process.
    """
    try:
        status = typer.main.get_command(app)(args=arguments, prog_name=NAME, standalone_mode=False)
    except typer.TyperException as error:
        return _report_usage_error(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the process has to end with an error message
        return _report_error(error)
    return status if isinstance(status, int) else SUCCESS


def _report_usage_error(error: typer.TyperException) -> int:
    message = error.format_message().strip()
    if message:  # empty when the help was printed
        context = getattr(error, "ctx", None)
        path = context.command_path if context else NAME
        text = message[0].lower() + message[1:].rstrip(".?").replace("\n\t", " ").replace(". Did", "; did")
        _print(path, f"{text}; see {path} --help")
    return error.exit_code


def _report_error(error: Exception) -> int:
    # Imported here because it imports botocore, which is slow.
    from worker.cli.support import errors

    cli_error = errors.explain(error) or errors.report_bug(error)
    _print(NAME, cli_error.message)
    return USAGE_ERROR if cli_error.is_usage_error else FAILED


def _print(command: str, message: str) -> None:
    print(f"{command}: {printable(message)}", file=sys.stderr)  # noqa: T201 - error messages of a command go to stderr


def called_command() -> str:
    """Return the command by its name, or as it was called by a relative path: `.venv/bin/image-worker`."""
    called = Path(sys.argv[0])
    return str(called) if called.name == NAME and len(called.parts) > 1 and not called.is_absolute() else NAME
