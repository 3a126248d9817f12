"""`image-worker recipes`: show the recipes in force, check a configuration file, and preview its results."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape

from worker.bootstrap import build_decoder_pool, build_logos, open_client
from worker.cli.settings import variable
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.delivery.recipes import RecipeRule, find_rule
from worker.domain.errors import ConfigurationError, UnreadableMessageError
from worker.domain.recipe import Recipe, Size
from worker.domain.step import EXTENSIONS, EncodedRendition, Json, StepReport
from worker.presentation.units import human_bytes
from worker.recipe_settings import recipe_rules, standard_recipe
from worker.settings import Settings

app = typer.Typer(add_completion=False, no_args_is_help=True)

_USER: Final = "preview"
FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="Configuration file in TOML: a path, or s3://bucket/key.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRecipe:
    """A recipe, and the uploads that it applies to; `number` is 0 for the recipe of all others."""

    number: int
    match: Sequence[str]
    user: Sequence[str]
    preferences: bool
    recipe: Recipe

    def as_json(self) -> dict[str, Json]:
        """Return it as JSON, without the content of its logo."""
        values = asdict(self.recipe)
        if self.recipe.logo:
            values["watermark"]["logo"] = self.recipe.logo.source
        return {
            "number": self.number,
            "match": list(self.match),
            "user": list(self.user),
            "preferences": self.preferences,
            "hash": self.recipe.hash,
            "recipe": values,
        }


@app.callback()
def recipes() -> None:
    """Show the recipes in force, check a configuration file, and preview its results."""


@app.command()
def show(
    *,
    key: Annotated[str | None, typer.Option(help="Only the recipe of the upload with this key.")] = None,
    user: Annotated[
        str | None, typer.Option(help="With --key: the owner; default: the user in the key.")
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """
    Show the recipes in force: the first that matches an upload applies, with its owner's preferences.

    Example: image-worker recipes show --key uploads/alice/avatars/me.jpg
    """
    settings = start()
    if user is not None and key is None:
        message = "--user needs --key: a recipe is found by both"
        raise ConfigurationError(message)
    rules = recipe_rules(settings)
    shown: Sequence[RecipeRule | None] = [*rules, None]
    if key is not None:
        shown = [find_rule(rules, user_id=user or _user_in(key, settings), key=key)]
    listed = [_listed(rule, settings) for rule in shown]
    if json:
        output.print_json({"recipes": [each.as_json() for each in listed]})
        return
    rows = [(_name(each), _uploads(each), _sizes(each.recipe), _watermark(each.recipe)) for each in listed]
    output.console().print(
        output.table(("Recipe", "Uploads", "Sizes, the main one first", "Watermark"), rows)
    )


@app.command()
def check(file: FileArgument, *, json: output.JsonOption = False) -> None:
    """
    Check a configuration file: its names, its values, and that each of its recipes can apply.

    Example: image-worker recipes check config/image-worker.toml
    """
    settings = _settings_with(file)
    rules = recipe_rules(settings)
    read = settings.read_file()
    assert read is not None  # noqa: S101 - the settings have just been read from it
    overridden = sorted(variable(name) for name in read.values if variable(name) in os.environ)
    if json:
        output.print_json({"file": file, "recipes": len(rules), "overridden": overridden})
        return
    output.console().print(
        f"{escape(file)} is valid: {len(rules)} recipes, {len(settings.sizes)} sizes of its own",
        soft_wrap=True,
    )
    for name in overridden:
        output.print_note(f"{name} is set in the environment, and overrides the file")


@app.command()
@asynchronous
async def preview(
    file: FileArgument,
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An image file.")],
    *,
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder for the results.")],
    key: Annotated[
        str | None, typer.Option(help="Key that it would be uploaded under; default: that of its name.")
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """
    Make the results of an image file by the recipe of a configuration file, in a folder, without AWS.

    Only a logo in S3 is read from there. Preferences of users are not applied.

    Example: image-worker recipes preview config/image-worker.toml beach.jpg --out results
    """
    settings = _settings_with(file)
    upload_key = key or settings.upload_keys.key(
        user_id=_USER, name=image.stem, extension=image.suffix.removeprefix(".")
    )
    rule = find_rule(recipe_rules(settings), user_id=_user_in(upload_key, settings), key=upload_key)
    recipe = rule.standard if rule else standard_recipe(settings)
    if recipe.logo:
        async with open_client("s3", settings) as s3:
            logos = build_logos(s3, settings)
            recipe = await logos.fill(recipe)
            await logos.close()
    content = await asyncio.to_thread(image.read_bytes)
    elapsed_ms, renditions = 0, list[EncodedRendition]()
    async with (
        build_decoder_pool(settings.model_copy(update={"processes": 1})) as pool,
        aclosing(pool.run(content, recipe, user_id=_USER)) as outputs,
    ):
        async for made in outputs:
            match made:
                case StepReport():
                    elapsed_ms += made.elapsed_ms
                case EncodedRendition():
                    renditions.append(made)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{image.stem}@{each.size}.{EXTENSIONS[each.format]}" for each in renditions]
    for path, rendition in zip(files, renditions, strict=True):
        await asyncio.to_thread(path.write_bytes, rendition.content)
    number = rule.number if rule else 0
    if json:
        results = [
            {
                "file": str(path),
                "size": each.size,
                "format": each.format,
                "width": each.width,
                "height": each.height,
                "bytes": len(each.content),
            }
            for path, each in zip(files, renditions, strict=True)
        ]
        output.print_json({"recipe": number, "key": upload_key, "ms": elapsed_ms, "results": results})
        return
    output.print_note(f"{_number_text(number)} applies to {upload_key}; {elapsed_ms} ms")
    rows = [
        (escape(str(path)), f"{each.width}x{each.height}", human_bytes(len(each.content)))
        for path, each in zip(files, renditions, strict=True)
    ]
    output.console().print(output.table(("Result", "Pixels", "Size"), rows, numeric=("Pixels", "Size")))


def _settings_with(file: str) -> Settings:
    os.environ["WORKER_CONFIG_FILE"] = file
    return start()


def _user_in(key: str, settings: Settings) -> str:
    try:
        return settings.upload_keys.parse_key(key).user_id
    except UnreadableMessageError as error:
        message = f"--key: {error}; write the key of an upload"
        raise ConfigurationError(message) from error


def _listed(rule: RecipeRule | None, settings: Settings) -> ListedRecipe:
    """Return a rule as listed, or the recipe of all other uploads for None."""
    if rule is None:
        return ListedRecipe(number=0, match=(), user=(), preferences=True, recipe=standard_recipe(settings))
    return ListedRecipe(
        number=rule.number,
        match=[pattern.text for pattern in rule.patterns],
        user=sorted(rule.users),
        preferences=rule.has_preferences,
        recipe=rule.standard,
    )


def _number_text(number: int) -> str:
    return f"recipe {number}" if number else "the default recipe"


def _name(listed: ListedRecipe) -> str:
    kept = "" if listed.preferences else "\n[dim]no preferences[/]"
    return f"{listed.number or 'default'}{kept}\n[dim]{listed.recipe.hash}[/]"


def _uploads(listed: ListedRecipe) -> str:
    if not listed.number:
        return "[dim]all others[/]"
    lines = [escape(text) for text in listed.match]
    return "\n".join([*lines, *(f"[dim]of[/] {escape(user)}" for user in listed.user)]) or "all"


def _sizes(recipe: Recipe) -> str:
    return "\n".join(_size(size) for size in recipe.sizes)


def _size(size: Size) -> str:
    quality = f" {size.quality}" if size.quality else ""
    return f"{escape(size.name)} [dim]{size.width}x{size.height} {size.fit} {size.format}{quality}[/]"


def _watermark(recipe: Recipe) -> str:
    if recipe.watermark is None:
        return "[dim]none[/]"
    return escape(recipe.watermark.logo.source if recipe.watermark.logo else recipe.watermark.text)
