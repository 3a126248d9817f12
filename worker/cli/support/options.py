"""Arguments and options that several commands have, and what they mean."""

from datetime import datetime
from typing import Annotated

import typer

from worker.cli.support import output
from worker.domain import clock
from worker.domain.errors import ConfigurationError
from worker.domain.focus import Focus, parse_focus
from worker.domain.image import Image
from worker.dynamodb.queries import Queries
from worker.settings import Settings

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The image id.")]
UserOption = Annotated[
    str | None,
    typer.Option("--user", help="The owner, if several users have an image with this id."),
]


FocusOption = Annotated[
    str | None,
    typer.Option(
        "--focus",
        metavar="X,Y",
        help="Focal point, which crops keep in the middle: shares of width and height, as in 0.4,0.2.",
    ),
]


def parse_focus_option(text: str | None) -> Focus | None:
    """
    Return the focal point that `--focus` has; None if it is not given.

    Raises:
        ConfigurationError: The text is not a focal point.
    """
    try:
        return None if text is None else parse_focus(text)
    except ValueError as error:
        message = f"--focus: {error}"
        raise ConfigurationError(message) from error


def parse_time(option: str, text: str) -> datetime:
    """
    Return the time that an option has.

    Raises:
        ConfigurationError: The text is not an ISO 8601 time.
    """
    try:
        return clock.from_text(text)
    except ValueError as error:
        message = f"{option} is {text!r}: write a time as in 2024-01-31T12:00:00Z"
        raise ConfigurationError(message) from error


async def find_image(
    queries: Queries, image_id: str, user_id: str | None, *, consistent: bool
) -> Image | None:
    """
    Return the image with an id, of one user if given; None when it does not exist.

    Raises:
        ConfigurationError: Several users have an image with this id.
    """
    if user_id is not None:
        return await queries.image(image_id, user_id, consistent=consistent)
    found = await queries.images_with_id(image_id, consistent=consistent)
    if len(found) > 1:
        owners = ", ".join(sorted(image.user_id for image in found))
        message = f"several users have an image {image_id}: add --user with one of {owners}"
        raise ConfigurationError(message)
    return found[0] if found else None


def report_missing(image_id: str, settings: Settings) -> int:
    """Print on stderr that an image does not exist; return the exit status of the command."""
    output.print_note(
        f"image {image_id} does not exist in table {settings.table_name}; check the id and WORKER_TABLE_NAME"
    )
    return 1
