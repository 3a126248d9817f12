"""`/preview`: what other settings would make of chosen images, and which settings those are."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from aiohttp import hdrs, web

from worker.console.context import CONTEXT, ConsoleContext
from worker.console.page import respond
from worker.console.previews import PREVIEWS, Preview
from worker.console.recipe_form import RecipeChange, RecipeForm, RecipeSettings, read_form
from worker.console.record import find_image, is_key
from worker.console.urls import url
from worker.console.views.media import SMALLEST
from worker.delivery.recipes import find_rule, recipe_builder
from worker.domain.errors import ImageWorkerError, UnreadableRecordError
from worker.domain.image import Image, ImageSummary
from worker.domain.recipe import Recipe
from worker.domain.status import ImageStatus, StepName
from worker.domain.step import CONTENT_TYPES, EncodedRendition
from worker.dynamodb.profiles import profile_from_item

MAX_IMAGES: Final = 4
"""Number of images that are previewed at once."""

COUNTED: Final = 1000
"""Number of images, the newest, whose recipes are compared when the changed ones are counted."""

_RECENT: Final = 8
_MAX_NAME: Final = 200
_RECENT_DAYS: Final = timedelta(days=6)
_PAGE_SIZE: Final = 100
_COUNT_TIMEOUT_S: Final = 30.0
_COUNTING: Final = web.AppKey("counting", asyncio.Lock)
"""Held while images are counted, which reads up to a thousand records: by one request at a time."""

_FIELDS_OF_SIZE: Final = frozenset(
    {
        *("size", "width", "height", "fit", "gravity", "background", "enlarge", "format", "quality"),
        *("targetBytes", "count"),
    }
)


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app[_COUNTING] = asyncio.Lock()
    app.router.add_get("/preview", preview, name="preview")
    app.router.add_get("/preview/rendition", rendition, name="preview-rendition")
    app.router.add_get("/preview/original/{user_id:[^/]+}/{image_id:[^/]+}", displayable, name="displayable")


async def preview(request: web.Request) -> web.Response:
    """Show the form, the chosen images before and after, and the settings to set."""
    context, current = request.app[CONTEXT], request.app[CONTEXT].recipe_settings
    form = read_form(request.query, current)
    images, problems = await _chosen_images(request)
    recent = await _newest_completed(context)
    content: dict[str, Any] = {
        "fields": {name: asdict(field) for name, field in form.fields.items()},
        "sizes": _size_links(request, form, current),
        "recipe": {"current": current.standard.hash, "changed": None, "isInRecipe": None},
        "environment": None,
        "envFile": None,
        "images": [],
        "problems": problems,
        "maxImages": MAX_IMAGES,
        "recent": _recent(request, recent, images),
        "count": None,
    }
    if (change := form.change) is not None:
        recipes = _Recipes(context, change)
        content |= {
            "recipe": {
                "current": current.standard.hash,
                "changed": change.standard.hash,
                "isInRecipe": change.is_in_recipe,
            },
            "environment": dict(change.environment),
            "envFile": change.env_file(),
            "images": [await _compare(request, image, change, recipes) for image in images],
            "count": await _count(request, recipes) if request.query.get("count") else None,
        }
    return respond(request, "preview.html", content)


async def rendition(request: web.Request) -> web.Response:
    """Return the file of a previewed rendition; the query is that of the page, with one image."""
    form = read_form(request.query, request.app[CONTEXT].recipe_settings)
    if form.change is None:
        raise web.HTTPBadRequest(text=" ".join(form.errors.values()))
    images, problems = await _chosen_images(request)
    if not images:
        raise web.HTTPNotFound(text=" ".join(problems) or "The address does not name an image.")
    recipes = _Recipes(request.app[CONTEXT], form.change)
    made = await _render(request, images[0], form.change, recipes)
    return _file(made.renditions[form.change.size.name])


async def displayable(request: web.Request) -> web.Response:
    """Return an upload as a WebP of bounded size, for uploads in a format that browsers do not show."""
    parts = request.match_info
    image = await find_image(request, image_id=parts["image_id"], user_id=parts["user_id"])
    return _file(await request.app[PREVIEWS].displayable(image))


def _file(rendition: EncodedRendition) -> web.Response:
    return web.Response(
        body=bytes(rendition.content),
        content_type=CONTENT_TYPES[rendition.format],
        headers={hdrs.CACHE_CONTROL: "private, max-age=60"},
    )


def reference(image: Image | ImageSummary) -> str:
    """
    Return what `image` in the query names an image by: its percent-encoded user id and image id.

    Ids can have characters that fields of forms do not keep, and that pages must not contain.
    """
    return f"{quote(image.user_id, safe='')}/{quote(image.image_id, safe='')}"


async def _chosen_images(request: web.Request) -> tuple[list[Image], list[str]]:
    """Return the images that the query names by reference or id, and a sentence about each problem."""
    names = [("image", name) for name in dict.fromkeys(request.query.getall("image", []))][:MAX_IMAGES]
    if image_id := request.query.get("id", "").strip():
        names.insert(0, ("id", image_id))
    images: dict[str, Image] = {}
    problems: list[str] = []
    for kind, name in names:
        try:
            found = await _images_named(request, name, is_id=kind == "id")
        except UnreadableRecordError as error:
            problems.append(f"{error}.")
            continue
        images |= {reference(image): image for image in found}
        if not found:
            problems.append(f"There is no image {name[:_MAX_NAME]}.")
    return list(images.values())[:MAX_IMAGES], problems


async def _images_named(request: web.Request, name: str, *, is_id: bool) -> list[Image]:
    queries = request.app[CONTEXT].queries
    if is_id:
        return await queries.images_with_id(name) if is_key(image_id=name) else []
    user_id, _, image_id = map(unquote, name.partition("/"))
    image = await queries.image(image_id, user_id) if is_key(image_id=image_id, user_id=user_id) else None
    return [image] if image else []


@dataclass(frozen=True, slots=True)
class _UserRecipes:
    """
    The recipes of an upload now and after the change.

    Attributes:
        now: The worker's current recipe.
        after: The changed standard recipe, with the preferences of the owner.
        has_preferences: Whether preferences change it.
        rule: Number of the rule that applies in place of the standard recipe; None if none does.
    """

    now: Recipe
    after: Recipe
    has_preferences: bool
    rule: int | None


class _Recipes:
    """Determines the recipes of uploads, and reads each profile once."""

    def __init__(self, context: ConsoleContext, change: RecipeChange) -> None:
        current = context.recipe_settings
        self._context, self._change = context, change
        self._build_now = recipe_builder(current.standard, current.sizes, logo_prefix=current.logo_prefix)
        self._build_after = recipe_builder(change.standard, change.sizes, logo_prefix=current.logo_prefix)
        self._found: dict[tuple[str, int | None], _UserRecipes] = {}

    async def of(self, image: Image) -> _UserRecipes:
        """Return the recipes of an upload; raises `TransientError` if the profile or logo cannot be read."""
        user_id = image.user_id
        rule = find_rule(self._context.recipe_settings.rules, user_id=user_id, key=image.key)
        number = rule.number if rule else None
        if (found := self._found.get((user_id, number))) is None:
            item = await self._context.profiles.get(user_id)
            profile = profile_from_item(item) if item else None
            build_now = rule.build if rule else self._build_now
            after = self._build_after(profile).recipe
            now = build_now(profile if rule is None or rule.has_preferences else None).recipe
            found = self._found[user_id, number] = _UserRecipes(
                now=await self._context.with_logo(now),
                after=await self._context.with_logo(after),
                has_preferences=after != self._change.standard,
                rule=number,
            )
        return found


async def _render(request: web.Request, image: Image, change: RecipeChange, recipes: _Recipes) -> Preview:
    """Render an image in the previewed size only, with the preferences of its owner."""
    recipe = replace((await recipes.of(image)).after, sizes=(change.size,))
    return await request.app[PREVIEWS].render(image, recipe, is_wanted=lambda: _is_connected(request))


def _is_connected(request: web.Request) -> bool:
    """Return whether the client still waits: a page that changes a field gives up its former request."""
    return request.transport is not None and not request.transport.is_closing()


async def _compare(
    request: web.Request, image: Image, change: RecipeChange, recipes: _Recipes
) -> dict[str, Any]:
    """Return an image's stored rendition and its preview, or why it cannot be rendered."""
    size = change.size.name
    notes: list[str] = []
    content: dict[str, Any] = {
        "imageId": image.image_id,
        "userId": image.user_id,
        "originalFileName": image.file_name,
        "reference": reference(image),
        "url": url(request, "image", image_id=image.image_id, query={"user": image.user_id}),
        "stored": None,
        "preview": None,
        "notes": notes,
        "error": None,
    }
    if (stored := image.renditions.get(size)) is not None:
        content["stored"] = {
            "format": stored.format,
            "width": stored.width,
            "height": stored.height,
            "bytes": stored.size_bytes,
            "ms": sum(image.step_durations_ms().values()) or None,
            "url": _stored_url(request, image, size),
        }
    try:
        recipes_of_user = await recipes.of(image)
        made = await _render(request, image, change, recipes)
    except ImageWorkerError as error:
        return content | {"error": str(error)}
    file = made.renditions[size]
    content["preview"] = {
        "format": file.format,
        "width": file.width,
        "height": file.height,
        "bytes": len(file.content),
        "ms": made.elapsed_ms,
        "steps": dict(made.steps_ms),
        "url": _rendition_url(request, image),
    }
    if stored and image.recipe != recipes_of_user.now.hash:
        notes.append("The stored rendition was made by another recipe than the worker's current one.")
    if recipes_of_user.rule is not None:
        notes.append(
            f"Recipe {recipes_of_user.rule} of the configuration file applies to this image, in place of the "
            "recipe that is previewed."
        )
    if recipes_of_user.has_preferences:
        notes.append(f"The preferences of {image.user_id} change the recipe.")
    reason = made.details[StepName.WATERMARK].get("reason")
    if recipes_of_user.after.watermark is not None and isinstance(reason, str):
        notes.append(f"Watermark: {reason}.")
    return content


def _stored_url(request: web.Request, image: Image | ImageSummary, size: str) -> str:
    return url(request, "media", user_id=image.user_id, image_id=image.image_id, size=size)


def _rendition_url(request: web.Request, image: Image) -> str:
    fields = [(name, value) for name, value in request.query.items() if name not in {"image", "id", "count"}]
    query = urlencode([*fields, ("image", reference(image))], quote_via=quote, errors="replace")
    return f"{url(request, 'preview-rendition')}?{query}"


def _size_links(request: web.Request, form: RecipeForm, current: RecipeSettings) -> list[dict[str, Any]]:
    """Return the sizes, those of the recipe first, and the URL that previews each; it keeps the watermark."""
    kept = [(name, value) for name, value in request.query.items() if name not in _FIELDS_OF_SIZE]
    in_recipe = [size.name for size in current.standard.sizes]
    return [
        {
            "size": name,
            "url": f"{url(request, 'preview')}?{urlencode([('size', name), *kept], quote_via=quote)}",
            "isCurrent": name == form.fields["size"].value,
            "isInRecipe": name in in_recipe,
        }
        for name in dict.fromkeys([*in_recipe, *current.sizes])
    ]


async def _newest_completed(context: ConsoleContext) -> Sequence[ImageSummary]:
    """Return the newest completed images of the last days, or of all time if there are none."""
    today = context.clock().date()
    page = await context.queries.recent_images(today - _RECENT_DAYS, today, limit=5 * _RECENT)
    found = [image for image in page.images if image.status is ImageStatus.COMPLETED][:_RECENT]
    if found:
        return found
    return (await context.queries.images_by_status(ImageStatus.COMPLETED, limit=_RECENT)).images


def _recent(
    request: web.Request, recent: Sequence[ImageSummary], chosen: list[Image]
) -> list[dict[str, Any]]:
    """Return the images to choose from: the chosen ones, then the newest."""
    references = {reference(image) for image in chosen}
    images: tuple[Image | ImageSummary, ...] = (*chosen, *recent)
    by_reference = {reference(image): image for image in images}
    return [
        {
            "reference": name,
            "imageId": image.image_id,
            "userId": image.user_id,
            "originalFileName": image.file_name,
            "thumbnail": _stored_url(request, image, SMALLEST) if image.processed_key else None,
            "isChosen": name in references,
        }
        for name, image in by_reference.items()
    ]


async def _count(request: web.Request, recipes: _Recipes) -> dict[str, int]:
    """
    Compare the recipes of the newest completed images with those of the worker and of the preview.

    Raises:
        TransientError: The table or a logo is unavailable.
        TimeoutError: The table responds slowly, or others are counting.
    """
    queries = request.app[CONTEXT].queries
    counted = outdated = changing = 0
    token: str | None = None
    async with asyncio.timeout(_COUNT_TIMEOUT_S), request.app[_COUNTING]:
        for _ in range(COUNTED // _PAGE_SIZE):
            page = await queries.images_by_status(ImageStatus.COMPLETED, limit=_PAGE_SIZE, token=token)
            keys = [(image.image_id, image.user_id) for image in page.images]
            images = await queries.images(keys)
            for image in images:
                user = await recipes.of(image)
                counted += 1
                outdated += image.recipe != user.now.hash
                changing += user.rule is None and image.recipe != user.after.hash
            if (token := page.next_token) is None:
                break
    return {"counted": counted, "limit": COUNTED, "outdated": outdated, "changing": changing}
