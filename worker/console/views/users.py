"""`/users`: a user's images, statistics and preferences."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from worker.console.context import CONTEXT
from worker.console.image_content import appearance
from worker.console.page import respond
from worker.console.record import is_key, summary_of
from worker.console.security import identity_of, log_action
from worker.console.urls import url
from worker.console.views.images import RECENT_DAYS, unreadable_content
from worker.domain import clock
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image, ImageSummary
from worker.domain.profile import MAX_TEXT_CHARACTERS, Profile
from worker.domain.step import Json
from worker.dynamodb.items import Item, summary_to_map
from worker.dynamodb.profiles import profile_from_item
from worker.dynamodb.queries import Page
from worker.presentation.quoting import python_text, shell_command
from worker.repair.preferences import set_preferences

PAGE_SIZE: Final = 24
_RECENT_IMAGES: Final = 200
"""Images whose users are listed."""

FIELDS: Final = ("defaultImageSize", "watermarkEnabled", "watermarkText", "watermarkImage")
"""Names of the form's fields: those of the preferences in the profile."""

_SWITCH: Final[Mapping[str, bool | None]] = {"": None, "on": True, "off": False}


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app.router.add_get("/users", users, name="users")
    app.router.add_get("/users/{user_id:[^/]+}", user, name="user")
    app.router.add_post("/users/{user_id:[^/]+}/preferences", save_preferences, name="preferences")


async def users(request: web.Request) -> web.Response:
    """Show the users of the newest images, or redirect to the one that was entered."""
    if entered := request.query.get("user", "").strip():
        raise web.HTTPSeeOther(url(request, "user", user_id=entered))
    context = request.app[CONTEXT]
    today = context.clock().date()
    first = today - timedelta(days=RECENT_DAYS - 1)
    page = await context.queries.recent_images(first, today, limit=_RECENT_IMAGES)
    return respond(request, "users.html", users_content(page))


def users_content(page: Page) -> dict[str, Any]:
    """Return what the list shows of the users of a page of images, newest first."""
    counts = Counter(image.user_id for image in page.images)
    newest = {image.user_id: image.created_at for image in reversed(page.images)}
    return {
        "users": [
            {"userId": user_id, "images": count, "lastUploadAt": clock.to_text(newest[user_id])}
            for user_id, count in counts.items()
        ],
        "bound": f"The users of the newest {_RECENT_IMAGES} images of the last {RECENT_DAYS} days",
    }


async def user(request: web.Request) -> web.Response:
    """Show a user."""
    return respond(request, "user.html", await _content(request))


async def save_preferences(request: web.Request) -> web.Response:
    """Save the preferences that were changed in the form, then show the user."""
    context, user_id = request.app[CONTEXT], request.match_info["user_id"]
    if not is_key(user_id=user_id):
        raise web.HTTPNotFound(text=f"There cannot be a user {user_id}.")
    form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    changes = changed_preferences(form)
    if changes:
        try:
            await set_preferences(
                context.profiles,
                user_id,
                changes,
                sizes=context.recipe_settings.sizes,
                logo_prefix=context.recipe_settings.logo_prefix,
                now=context.clock(),
            )
        except ConfigurationError as error:
            content = await _content(request)
            content |= {"problem": str(error), "form": {**content["form"], **_fields(form)}}
            return respond(request, "user.html", content, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        identity = identity_of(request)
        log_action(
            by=identity.name if identity else "unknown",
            action="users set",
            filter={"user_id": user_id, "preferences": sorted(changes)},
            count=1,
        )
    raise web.HTTPSeeOther(url(request, "user", user_id=user_id))


def changed_preferences(form: Mapping[str, str]) -> dict[str, Json]:
    """
    Return the preferences whose field differs from the value that the form was shown with.

    The others may have been changed by somebody else since, and stay as they are.
    """
    changes: dict[str, Json] = {}
    for name, value in _fields(form).items():
        if value == form.get(f"shown.{name}", ""):
            continue
        changes[name] = _SWITCH.get(value) if name == "watermarkEnabled" else value or None
    return changes


def _fields(form: Mapping[str, str]) -> dict[str, str]:
    return {name: form[name].strip() for name in FIELDS if name in form}


async def _content(request: web.Request) -> dict[str, Any]:
    context, user_id = request.app[CONTEXT], request.match_info["user_id"]
    token = request.query.get("token")
    if not is_key(user_id=user_id):
        raise web.HTTPNotFound(text=f"There cannot be a user {user_id}.")
    item = await context.profiles.get(user_id, consistent=True)
    page = await context.queries.images_of_user(user_id, limit=PAGE_SIZE, token=token)
    keys = [(image.image_id, image.user_id) for image in page.images]
    records = {(image.image_id, image.user_id): image for image in await context.queries.images(keys)}
    return {
        **user_content(user_id, item, page, records, token=token),
        "sizes": list(context.recipe_settings.sizes),
        "mainSize": context.recipe_settings.standard.main.name,
        "commands": commands(user_id, table=context.table.name, region=context.region),
    }


def user_content(
    user_id: str,
    item: Item | None,
    page: Page,
    records: Mapping[tuple[str, str], Image],
    *,
    token: str | None = None,
) -> dict[str, Any]:
    """
    Return what the page shows of a user.

    Args:
        user_id: Id of the user.
        item: Profile item of the user; None if there is none.
        page: A page of the user's images.
        records: Their records by image id and user id, as far as they could be read.
        token: Token of the page; None for the first one.
    """
    profile = profile_from_item({"userId": user_id, **(item or {})})
    statistics = profile.statistics
    return {
        "userId": user_id,
        "profile": item,
        "statistics": {
            "totalImages": statistics.total_images,
            "totalStorageUsed": statistics.total_storage_used,
            "lastUploadAt": clock.to_text(statistics.last_upload_at) if statistics.last_upload_at else None,
        },
        "preferences": _preferences(profile),
        "stored": _form(profile),
        "form": _form(profile),
        "ignoredPreferences": dict(profile.preferences.ignored),
        "maxCharacters": MAX_TEXT_CHARACTERS,
        "images": [_gallery_entry(each, records.get((each.image_id, each.user_id))) for each in page.images],
        "nextToken": page.next_token,
        "token": token,
        "unreadable": unreadable_content(page.unreadable),
        "problem": None,
    }


def _preferences(profile: Profile) -> dict[str, str | bool | None]:
    preferences = profile.preferences
    return {
        "defaultImageSize": preferences.default_image_size,
        "watermarkEnabled": preferences.watermark_enabled,
        "watermarkText": preferences.watermark_text,
        "watermarkImage": preferences.watermark_image,
    }


def _form(profile: Profile) -> dict[str, str]:
    """Return the values of the fields of the form."""
    enabled = {True: "on", False: "off", None: ""}[profile.preferences.watermark_enabled]
    values = {name: str(value or "") for name, value in _preferences(profile).items()}
    return {**values, "watermarkEnabled": enabled}


def _gallery_entry(summary: ImageSummary, record: Image | None) -> dict[str, Any]:
    """Return what the gallery shows of an image; its record is newer than the summary of the index."""
    if record is None:
        return {**summary_to_map(summary), "blurHash": None, "hasResult": summary.processed_key is not None}
    return {
        **summary_to_map(summary_of(record)),
        "blurHash": appearance(record)["blurHash"],
        "hasResult": bool(record.renditions),
    }


def commands(user_id: str, *, table: str, region: str) -> dict[str, str]:
    """Return the command and the boto3 call that return the profile of a user."""
    key = f'{{"imageId": "user_profile", "userId": {python_text(user_id)}}}'
    return {
        "cli": shell_command(("image-worker", "users", "get", "--json", "--", user_id)),
        "boto3": "import boto3\n\n"
        f"table = boto3.resource('dynamodb', region_name={python_text(region)}).Table({python_text(table)})\n"
        f"profile = table.get_item(Key={key}).get('Item')\n",
    }
