"""Which image is meant, where a command is told an id."""

from typing import TYPE_CHECKING, Annotated

import typer

from worker.bootstrap import RETRY_POLICIES, table_of
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image
from worker.dynamodb.queries import Queries
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The image id.")]
UserOption = Annotated[
    str | None, typer.Option("--user", help="The owner, where several have an image of that id.")
]


def queries_of(dynamodb: "DynamoDBClient", settings: Settings) -> Queries:
    """Return the record's read side as the settings have it."""
    return Queries(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)


async def the_image(queries: Queries, image_id: str, user: str | None, *, consistent: bool) -> Image | None:
    """
    Find the one image that is meant.

    Raises:
        ConfigurationError: Several users have an image of that id.
    """
    if user is not None:
        return await queries.image(image_id, user, consistent=consistent)
    found = await queries.images_with_id(image_id, consistent=consistent)
    if len(found) > 1:
        owners = ", ".join(sorted(image.user_id for image in found))
        message = f"several users have an image {image_id}: add --user and one of {owners}"
        raise ConfigurationError(message)
    return found[0] if found else None


def missing(image_id: str, settings: Settings) -> int:
    """Say on stderr that there is no such image; return the exit status of that."""
    typer.echo(f"there is no image {image_id} in {settings.table_name}", err=True)
    return 1
