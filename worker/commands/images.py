"""`image-worker images`: what the record knows of pictures."""

import time
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from config.settings import Settings
from worker.bootstrap import open_client
from worker.commands import output, timeline
from worker.commands.running import asynchronous, start
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.record.items import summary_to_map, to_item
from worker.record.queries import Page, Queries
from worker.record.retention import set_ttl

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

app = typer.Typer(add_completion=False, no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The image id.")]
UserOption = Annotated[
    str | None, typer.Option("--user", help="The owner, where several have an image of that id.")
]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="Images on a page.")]
TokenOption = Annotated[str | None, typer.Option(help="nextToken of the page before.")]
_DAY_S = 24 * 60 * 60


@app.callback()
def images() -> None:
    """Ask the record about pictures."""


@app.command()
@asynchronous
async def get(
    image_id: IdArgument,
    *,
    user: UserOption = None,
    consistent: Annotated[bool, typer.Option("--consistent", help="Ask for the very latest.")] = False,
    json: output.JsonOption = False,
) -> int:
    """
    Show one picture: its steps, its history, and why it failed if it did.

    Example: image-worker images get img_1234567890abcdef
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        image = await _the_image(_queries(dynamodb, settings), image_id, user, consistent=consistent)
    if image is None:
        return _missing(image_id, settings)
    if json:
        output.print_json(to_item(image, index_shards=settings.index_shards))
    else:
        output.console().print(timeline.render(image))
    return 0


@app.command("list")
@asynchronous
async def list_(
    *,
    user: Annotated[str, typer.Option("--user", help="The owner.")],
    limit: LimitOption = 20,
    token: TokenOption = None,
    json: output.JsonOption = False,
) -> None:
    """
    List a user's pictures, newest first.

    Example: image-worker images list --user alice --limit 50
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        page = await _queries(dynamodb, settings).images_of_user(user, limit=limit, token=token)
    _print(page, json=json)


@app.command()
@asynchronous
async def status(
    status: Annotated[ImageStatus, typer.Argument(help="pending, processing, completed or failed.")],
    *,
    limit: LimitOption = 20,
    token: TokenOption = None,
    json: output.JsonOption = False,
) -> None:
    """
    List the pictures that are in a status, newest first.

    Example: image-worker images status failed
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        page = await _queries(dynamodb, settings).images_by_status(status, limit=limit, token=token)
    _print(page, json=json)


@app.command()
@asynchronous
async def recent(
    *,
    day: Annotated[
        str | None, typer.Option(metavar="DAY", help="As in 2024-01-31 (UTC); today if unset.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="DAY", help="From this day on, up to --day.")] = None,
    limit: LimitOption = 20,
    token: TokenOption = None,
    json: output.JsonOption = False,
) -> None:
    """
    List the pictures that were uploaded on a day, or on a range of days, newest first.

    Example: image-worker images recent --since 2024-01-01 --day 2024-01-31
    """
    last = _day(day, "--day") if day else utc_now().date()
    first = _day(since, "--since") if since else last
    if first > last:
        message = f"--since {first} lies after --day {last}: exchange them"
        raise ConfigurationError(message)
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        page = await _queries(dynamodb, settings).recent_images(first, last, limit=limit, token=token)
    _print(page, json=json)


@app.command()
@asynchronous
async def retention(
    image_id: IdArgument,
    *,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Keep the record this long from now.")
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Keep it until told otherwise.")] = False,
    user: UserOption = None,
) -> int:
    """
    Set or clear how long the record of a picture is kept; the pictures in the bucket are not touched.

    Example: image-worker images retention img_1234567890abcdef --days 30
    """
    if (days is None) == (not forever):
        message = "say either --days N or --forever"
        raise ConfigurationError(message)
    settings = start()
    ttl = int(time.time()) + days * _DAY_S if days is not None else None
    async with open_client("dynamodb", settings) as dynamodb:
        image = await _the_image(_queries(dynamodb, settings), image_id, user, consistent=True)
        if image is None or not await set_ttl(
            dynamodb, settings.table_name, image_id=image_id, user_id=image.user_id, ttl=ttl
        ):
            return _missing(image_id, settings)
    kept = "for ever" if days is None else f"for {days} days"
    output.console().print(f"the record of {escape(image_id)} is kept {kept}")
    return 0


def _queries(dynamodb: "DynamoDBClient", settings: Settings) -> Queries:
    return Queries(dynamodb, table=settings.table_name, index_shards=settings.index_shards)


async def _the_image(queries: Queries, image_id: str, user: str | None, *, consistent: bool) -> Image | None:
    """
    Find the one image that is meant.

    Raises:
        ConfigurationError: Several users have an image of that id.
    """
    if user is not None:
        return await queries.image(image_id, user, consistent=consistent)
    found = await queries.images_called(image_id, consistent=consistent)
    if len(found) > 1:
        owners = ", ".join(sorted(image.user_id for image in found))
        message = f"several users have an image {image_id}: add --user and one of {owners}"
        raise ConfigurationError(message)
    return found[0] if found else None


def _missing(image_id: str, settings: Settings) -> int:
    typer.echo(f"there is no image {image_id} in {settings.table_name}", err=True)
    return 1


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        message = f"{option} is {text!r}: it has to be a day, as in 2024-01-31"
        raise ConfigurationError(message) from error


def _print(page: Page, *, json: bool) -> None:
    if json:
        output.print_json(
            {"images": [summary_to_map(image) for image in page.images], "nextToken": page.next_token}
        )
        return
    rows = [
        [
            escape(image.image_id),
            escape(image.user_id),
            output.status_text(image.status),
            output.moment(image.created_at),
            output.human_bytes(image.file_size) if image.file_size is not None else "",
            escape(image.file_name),
        ]
        for image in page.images
    ]
    console = output.console()
    columns = ["image", "user", "status", "uploaded", "size", "file"]
    console.print(output.table(columns, rows, numeric=["size"], unbroken=["image"]))
    if not rows:
        console.print("none")
    if page.next_token:
        console.print(f"\nmore: --token {page.next_token}", soft_wrap=True)
