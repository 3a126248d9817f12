"""
The `image-worker` command: which commands there are, and how each of them ends.

A command is a file in this folder with an `app` of its own, and a line in `COMMANDS`. The file is imported
when its command is called, so it imports at its top whatever it needs, and `image-worker --help` stays quick.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer._click.core import Command, Context

NAME: Final = "image-worker"
DONE: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A command, or a group of them, as the help lists it.

    Attributes:
        name: What is typed.
        module: Where its `app` is: a `typer.Typer` with one command, or with several for a group.
        summary: The first sentence of the command's own help.
        panel: The heading that it stands under.
    """

    name: str
    module: str
    summary: str
    panel: str


COMMANDS: Final = (
    Entry(
        "demo",
        "worker.cli.demo",
        "Watch pictures go through an embedded AWS: no account, no Docker.",
        "Try",
    ),
    Entry("local", "worker.cli.local", "Run an embedded AWS and the worker until Ctrl-C.", "Try"),
    Entry("run", "worker.cli.run", "Consume the queue until SIGTERM or SIGINT.", "Run"),
    Entry("health", "worker.cli.health", "Ask the worker on this machine whether it is alive.", "Run"),
    Entry(
        "provision",
        "worker.cli.provision",
        "Create or update bucket, queues and table; safe to repeat.",
        "Set up",
    ),
    Entry(
        "check",
        "worker.cli.check",
        "Say whether queue, bucket, table and permissions are there and right, and what to do if not.",
        "Set up",
    ),
    Entry(
        "settings",
        "worker.cli.settings",
        "List every setting: its value, its default and where the value comes from.",
        "Set up",
    ),
    Entry(
        "upload",
        "worker.cli.upload",
        "Put pictures in the bucket under the upload key, and print their image ids.",
        "Use",
    ),
    Entry(
        "images",
        "worker.cli.images",
        "Ask the record about pictures, and ask for pictures again.",
        "Use",
    ),
    Entry(
        "users",
        "worker.cli.users",
        "Ask for users' profiles and statistics, and set what they wish for their pictures.",
        "Use",
    ),
    Entry(
        "queue",
        "worker.cli.queue",
        "See how much waits, what could not be processed and why, and send it back.",
        "Operate",
    ),
    Entry(
        "enqueue",
        "worker.cli.enqueue",
        "Ask for pictures that lie in the bucket and have no record, or one of an older object.",
        "Operate",
    ),
    Entry(
        "reconcile",
        "worker.cli.reconcile",
        "Find pictures that nobody works on although they are not done, and ask for them again.",
        "Operate",
    ),
    Entry("table", "worker.cli.table", "Back up the table and see what it consumes.", "Operate"),
)


class LazyCommand(TyperCommand):
    """A line of the help, which becomes the real command when it is called."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.summary, rich_help_panel=entry.panel)
        self.entry = entry

    def load(self) -> "Command":
        """Import the file and return its command or group."""
        return typer.main.get_command(import_module(self.entry.module).app)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: "Context | None" = None,
        **extra: Any,  # noqa: ANN401 - as in the class above
    ) -> "Context":
        """Let the real command parse the arguments; from here on typer sees only that one."""
        return self.load().make_context(info_name, args, parent, **extra)


class LazyGroup(TyperGroup):
    """All the commands, none of them imported yet."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - as in the class above
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


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the form that typer calls
    if wanted:
        typer.echo(f"{NAME} {version(NAME)}")
        raise typer.Exit(DONE)


@app.callback()
def image_worker(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """
    Take pictures from S3, validate, resize and watermark them, and record every step in DynamoDB.

    Settings come from the environment or a .env file: see `image-worker settings`.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line and return its exit status.

    0 done; 1 it ran and something failed; 2 wrong usage or configuration; 130 interrupted. Whatever fails
    is told in one sentence on stderr.

    Args:
        arguments: What was typed after the name; None takes it from the process.
    """
    try:
        status = typer.main.get_command(app)(args=arguments, prog_name=NAME, standalone_mode=False)
    except typer.TyperException as error:
        return _tell_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort of the process: it has to end in a sentence
        return _tell(error)
    return status if isinstance(status, int) else DONE


def _tell_usage(error: typer.TyperException) -> int:
    message = error.format_message().strip()
    if message:  # there is none where the help itself was the answer
        context = getattr(error, "ctx", None)
        path = context.command_path if context else NAME
        sentence = message[0].lower() + message[1:].rstrip(".?").replace("\n\t", " ").replace(
            ". Did", "; did"
        )
        _print(path, f"{sentence}; see {path} --help")
    return error.exit_code


def _tell(error: Exception) -> int:
    # Brings botocore along, for nothing when all is well.
    from worker.cli.support import errors as sentences  # noqa: PLC0415

    told = sentences.explain(error) or sentences.report_bug(error)
    _print(NAME, told.sentence)
    return MISUSED if told.is_misuse else FAILED


def _print(who: str, sentence: str) -> None:
    print(f"{who}: {sentence}", file=sys.stderr)  # noqa: T201 - stderr is where a command complains
