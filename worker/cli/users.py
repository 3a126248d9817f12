"""`image-worker users`: show users, set their preferences, and forget them."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from worker.bootstrap import build_profile_store, open_client
from worker.cli.delete import forget
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.dynamodb.items import Item
from worker.dynamodb.profiles import profile_from_item
from worker.presentation.units import human_bytes
from worker.recipe_settings import logo_prefix, sizes
from worker.repair.preferences import set_preferences

if TYPE_CHECKING:
    from worker.domain.step import Json

app = typer.Typer(add_completion=False, no_args_is_help=True)


class Switch(StrEnum):
    """On, off, or the default of the worker."""

    ON = "on"
    OFF = "off"
    DEFAULT = "default"


@app.callback()
def users() -> None:
    """Show users, set their preferences, and forget them."""


@app.command()
@asynchronous
async def get(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user id.")],
    *,
    json: output.JsonOption = False,
) -> int:
    """
    Show a user's preferences and statistics.

    Exit status 1: the user does not exist.

    Example: image-worker users get alice
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        item = await build_profile_store(dynamodb, settings).get(user)
    if item is None:
        output.print_note(
            f"user {user} does not exist in table {settings.table_name}; check the id and WORKER_TABLE_NAME"
        )
        return 1
    _print(item, json=json)
    return 0


@app.command("set")
@asynchronous
async def set_(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user id; created if new.")],
    *,
    size: Annotated[str | None, typer.Option(help="Size of the main result; '': the default.")] = None,
    watermark: Annotated[Switch | None, typer.Option(help="Whether results are watermarked.")] = None,
    watermark_text: Annotated[
        str | None, typer.Option(help="Text of the watermark; '': the default.")
    ] = None,
    watermark_image: Annotated[
        str | None,
        typer.Option(help="Logo under WORKER_WATERMARK_LOGOS_PREFIX, in place of the text; '': none."),
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """
    Set the preferences of a user, for images that are processed from now on.

    Workers use the new preferences within WORKER_PROFILE_CACHE_S.

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
        message = "no preference given: add --size, --watermark, --watermark-text or --watermark-image"
        raise ConfigurationError(message)
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        item = await set_preferences(
            build_profile_store(dynamodb, settings),
            user,
            changes,
            sizes=sizes(settings),
            logo_prefix=logo_prefix(settings),
            now=utc_now(),
        )
    _print(item, json=json)


app.command()(forget)


def _print(item: Item, *, json: bool) -> None:
    if json:
        output.print_json(item)
        return
    profile = profile_from_item(item)
    preferences, statistics = profile.preferences, profile.statistics
    watermark = {True: "on", False: "off", None: "default"}[preferences.watermark_enabled]
    rows = [
        ("user", escape(profile.user_id)),
        ("size", escape(preferences.default_image_size or "default")),
        ("watermark", watermark),
        ("watermark text", escape(preferences.watermark_text or "default")),
        ("watermark image", escape(preferences.watermark_image or "none")),
        ("images", f"{statistics.total_images:,}"),
        ("storage", human_bytes(statistics.total_storage_used)),
        ("last upload", output.moment(statistics.last_upload_at)),
    ]
    output.console().print(output.table(["", ""], rows))
