"""`image-worker images`: what the record knows of pictures."""

from typing import Annotated

import typer

from worker.bootstrap import open_client
from worker.commands import output, timeline
from worker.commands.running import asynchronous, start
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.record.items import from_item
from worker.record.queries import Queries

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def images() -> None:
    """Ask the record about pictures."""


@app.command()
@asynchronous
async def get(
    image_id: Annotated[str, typer.Argument(metavar="ID", help="The image id.")],
    *,
    user: Annotated[
        str | None, typer.Option("--user", help="The owner, where several have an image of that id.")
    ] = None,
    json: output.JsonOption = False,
) -> int:
    """
    Show one picture: its steps, its history, and why it failed if it did.

    Example: image-worker images get img_1234567890abcdef
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        items = await Queries(dynamodb, table=settings.table_name).items_of(image_id)
    found = {
        image.user_id: (image, item)
        for image, item in ((from_item(item), item) for item in items)
        if user in {None, image.user_id} and not image.is_expired(utc_now())
    }
    if not found:
        typer.echo(f"there is no image {image_id} in {settings.table_name}", err=True)
        return 1
    if len(found) > 1:
        message = f"several users have an image {image_id}: add --user and one of {', '.join(sorted(found))}"
        raise ConfigurationError(message)
    ((image, item),) = found.values()
    if json:
        output.print_json(item)
    else:
        output.console().print(timeline.render(image))
    return 0
