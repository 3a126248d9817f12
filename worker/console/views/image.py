"""`/images/{image_id}`: an image with its results, its timeline and its record."""

from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from worker.console.context import CONTEXT, ConsoleContext
from worker.console.image_content import image_content
from worker.console.page import respond
from worker.console.record import find_image, is_key, summary_of
from worker.domain.history import entry_count
from worker.domain.image import Image
from worker.dynamodb.items import summary_to_map
from worker.presentation.quoting import python_text, shell_command

_MAX_OWNERS: Final = 100
"""Users with images of one id that are listed."""


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app.router.add_get("/images/{image_id:[^/]+}", image, name="image")


async def image(request: web.Request) -> web.Response:
    """Show an image; without its user, the only image with the id, or a list of those that have it."""
    context = request.app[CONTEXT]
    image_id, user_id = request.match_info["image_id"], request.query.get("user")
    if user_id:
        found = [await find_image(request, image_id=image_id, user_id=user_id)]
    elif is_key(image_id=image_id):
        found = await context.queries.images_with_id(image_id)
    else:
        found = []
    if not found:
        raise web.HTTPNotFound(text=f"Image {image_id} does not exist in {context.table.name}.")
    if len(found) > 1:
        return respond(request, "owners.html", owners_content(image_id, found))
    return respond(request, "image.html", image_page_content(found[0], context))


def owners_content(image_id: str, images: Sequence[Image]) -> dict[str, Any]:
    """Return what is shown when several users have an image with an id."""
    return {
        "imageId": image_id,
        "images": [summary_to_map(summary_of(each)) for each in images[:_MAX_OWNERS]],
        "bound": f"{len(images)} users have an image with this id, as far as one query finds them"
        + (f"; the first {_MAX_OWNERS} are listed" if len(images) > _MAX_OWNERS else ""),
    }


def image_page_content(image: Image, context: ConsoleContext) -> dict[str, Any]:
    """Return what the page shows of an image: its live part, and how programs read its record."""
    content = image_content(image, context.table)
    return {
        **content,
        "commands": commands(image, table=context.table.name, region=context.region),
        "position": entry_count(image.history),
    }


def commands(image: Image, *, table: str, region: str) -> dict[str, str]:
    """Return the command and the boto3 call that return the record of an image."""
    key = f'{{"imageId": {python_text(image.image_id)}, "userId": {python_text(image.user_id)}}}'
    return {
        "cli": shell_command(
            ("image-worker", "images", "get", "--json", f"--user={image.user_id}", "--", image.image_id)
        ),
        "boto3": "import boto3\n\n"
        f"table = boto3.resource('dynamodb', region_name={python_text(region)}).Table({python_text(table)})\n"
        f"image = table.get_item(Key={key}).get('Item')\n",
    }
