"""`image-worker users`: profiles and preferences."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from worker.bootstrap import RETRY_POLICIES, open_client, table_of
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.dynamodb.items import Item
from worker.dynamodb.profiles import ProfileStore, profile_from_item
from worker.recipe_settings import sizes

if TYPE_CHECKING:
    from worker.domain.step import Json

app = typer.Typer(add_completion=False, no_args_is_help=True)


class Switch(StrEnum):
    """On, off, or as the worker's own setting says."""

    ON = "on"
    OFF = "off"
    DEFAULT = "default"


@app.callback()
def users() -> None:
    """Ask for users' profiles and statistics, and set what they wish for their pictures."""


@app.command()
@asynchronous
async def get(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user id.")],
    *,
    json: output.JsonOption = False,
) -> int:
    """
    Show a user's preferences and statistics.

    Exit status 1: there is no such user.

    Example: image-worker users get alice
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        profiles = ProfileStore(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)
        item = await profiles.get(user)
    if item is None:
        typer.echo(f"there is no user {user} in {settings.table_name}", err=True)
        return 1
    _print(item, json=json)
    return 0


@app.command("set")
@asynchronous
async def set_(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user id; may be new.")],
    *,
    size: Annotated[str | None, typer.Option(help="The size of pictures; '' for the default.")] = None,
    watermark: Annotated[Switch | None, typer.Option(help="Whether they are marked.")] = None,
    watermark_text: Annotated[
        str | None, typer.Option(help="What the watermark says; '' for the default.")
    ] = None,
    watermark_image: Annotated[
        str | None, typer.Option(help="A logo under WORKER_WATERMARK_LOGOS_PREFIX; '' for the text.")
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """
    Set what a user wishes; pictures that are done keep the recipe they were made with.

    Workers notice within WORKER_PROFILE_CACHE_S.

    Example: image-worker users set alice --size large
    """
    changes: dict[str, Json] = {}
    if size is not None:
        changes["defaultImageSize"] = size or None
    if watermark is not None:
        changes["watermarkEnabled"] = None if watermark is Switch.DEFAULT else watermark is Switch.ON
    if watermark_text is not None:
        changes["watermarkText"] = watermark_text or None
    if watermark_image is not None:
        changes["watermarkImage"] = watermark_image or None
    if not changes:
        message = "there is nothing to set: add --size, --watermark, --watermark-text or --watermark-image"
        raise ConfigurationError(message)
    settings = start()
    known = sizes(settings)
    if size and size not in known:
        message = f"--size is {size!r}: it has to be one of {', '.join(known)}"
        raise ConfigurationError(message)
    async with open_client("dynamodb", settings) as dynamodb:
        profiles = ProfileStore(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)
        item = await profiles.set_preferences(user, changes, now=utc_now())
    _print(item, json=json)


def _print(item: Item, *, json: bool) -> None:
    if json:
        output.print_json(item)
        return
    profile = profile_from_item(item)
    wishes, statistics = profile.preferences, profile.statistics
    marked = {True: "on", False: "off", None: "default"}[wishes.watermark_enabled]
    rows = [
        ("user", escape(profile.user_id)),
        ("size", escape(wishes.default_image_size or "default")),
        ("watermark", marked),
        ("watermark text", escape(wishes.watermark_text or "default")),
        ("watermark image", escape(wishes.watermark_image or "none")),
        ("images", f"{statistics.total_images:,}"),
        ("storage", output.human_bytes(statistics.total_storage_used)),
        ("last upload", output.moment(statistics.last_upload_at)),
    ]
    output.console().print(output.table(["", ""], rows))
