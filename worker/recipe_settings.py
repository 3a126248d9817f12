"""Build the sizes, the watermark, the standard recipe and the rules from the settings."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from worker.configuration_file import ValuePath, dotted, suggestion
from worker.delivery.key_pattern import MAX_ACROSS_FOLDERS, MAX_PATTERN_CHARACTERS, KeyPattern
from worker.delivery.recipes import RecipeRule, UserRecipe, recipe_builder
from worker.domain.errors import ConfigurationError
from worker.domain.profile import Profile
from worker.domain.recipe import (
    Anchor,
    Animation,
    Effort,
    Fit,
    Gravity,
    Logo,
    OutputFormat,
    Recipe,
    Size,
    Subsampling,
    Watermark,
)
from worker.settings import SIZES, Settings, SizeSettings

REVALIDATED: Final = "no-cache"
"""A cache may keep the response, and asks the server before each use whether it has changed."""

IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""A cache may use the response for a year without asking."""

_SAME_NAMES: Final = ("quality", "animation", "keep_credits", "record_location", "cache_control")
"""Values of a recipe that have the name of a setting."""


def sizes(settings: Settings) -> dict[str, Size]:
    """Return every size that an image can be made in, by name."""
    boxes = {name: SizeSettings(width=width, height=height) for name, (width, height) in SIZES.items()}
    return {
        name: Size(
            name=name,
            width=box["width"],
            height=box["height"],
            fit=Fit(box.get("fit", Fit.INSIDE)),
            gravity=Gravity(box.get("gravity", Gravity.CENTER)),
            background=box.get("background", "#ffffff"),
            enlarge=box.get("enlarge", False),
            format=OutputFormat(box.get("format", OutputFormat.SOURCE)),
            quality=box.get("quality"),
            target_bytes=box.get("target_bytes"),
            progressive=box.get("progressive", False),
            subsampling=Subsampling(box.get("subsampling", Subsampling.AUTO)),
        )
        for name, box in (boxes | settings.sizes).items()
    }


def standard_recipe(settings: Settings) -> Recipe:
    """Return the recipe for images of users without preferences."""
    names, by_name = [settings.default_size, *settings.extra_sizes], sizes(settings)
    return Recipe(
        sizes=tuple(by_name[name] for name in dict.fromkeys(names)),
        watermark=standard_watermark(settings) if settings.watermark_enabled else None,
        quality=settings.quality,
        effort=Effort(settings.encoder_effort),
        animation=Animation(settings.animation),
        keep_credits=settings.keep_credits,
        record_location=settings.record_location,
        cache_control=cache_control(settings),
    )


def cache_control(settings: Settings) -> str:
    """
    Return the `Cache-Control` header of results.

    By default, caches compare a result with the bucket before each use, unless its key changes with its
    content.
    """
    if settings.cache_control is not None:
        return settings.cache_control
    return IMMUTABLE if settings.result_keys.has_version else REVALIDATED


def standard_watermark(settings: Settings) -> Watermark:
    """Return the watermark for images of users without preferences."""
    fonts = hashlib.sha256(b"".join(file.read_bytes() for file in settings.font_files)).hexdigest()
    return Watermark(
        text=settings.watermark_text,
        opacity=settings.watermark_opacity_share,
        height_share=settings.watermark_text_share,
        logo=Logo(settings.watermark_image) if settings.watermark_image else None,
        logo_share=settings.watermark_image_share,
        min_px=settings.watermark_min_px,
        max_px=settings.watermark_max_px,
        min_side_px=settings.watermark_min_side_px,
        position=Anchor(settings.watermark_position),
        tiled=settings.watermark_tiled,
        rotation_deg=settings.watermark_rotation_deg,
        colour=settings.watermark_colour,
        outline=None if settings.watermark_outline == "none" else settings.watermark_outline,
        fonts=fonts[:16] if settings.font_files else "",
    )


def recipe_builder_from(settings: Settings) -> Callable[[Profile | None], UserRecipe]:
    """Return the function that returns the recipe for a profile."""
    return recipe_builder(standard_recipe(settings), sizes(settings), logo_prefix=logo_prefix(settings))


def recipe_rules(settings: Settings) -> list[RecipeRule]:
    """
    Return the recipes for some uploads, in order.

    Raises:
        ConfigurationError: A size is missing, or a rule can never apply; the message has the file and line.
    """
    by_name = sizes(settings)
    rules: list[RecipeRule] = []
    for index, values in enumerate(settings.recipes):
        standard = _recipe_of(values, settings, by_name, index)
        rule = RecipeRule(
            number=index + 1,
            patterns=tuple(_patterns(values, settings, index)),
            users=frozenset(values.get("user", ())),
            standard=standard,
            build=recipe_builder(
                standard,
                {size.name: size for size in standard.sizes},
                logo_prefix=logo_prefix(settings),
                is_rule=True,
            ),
            has_preferences=values.get("preferences", True),
        )
        _require_reachable(rule, rules, settings)
        rules.append(rule)
    return rules


def _recipe_of(
    values: Mapping[str, Any], settings: Settings, by_name: Mapping[str, Size], index: int
) -> Recipe:
    """Return the recipe of a rule: the settings, changed by its values."""
    changes: dict[str, Any] = {name: values[name] for name in _SAME_NAMES if name in values}
    for place, name in enumerate(values.get("sizes", ())):
        if name not in by_name:
            message = f"there is no size {name!r}; {suggestion(name, list(by_name))}"
            raise _error(settings, ("recipes", index, "sizes", place), message)
    if "sizes" in values:
        changes["default_size"], *changes["extra_sizes"] = values["sizes"]
    for name, value in values.get("watermark", {"enabled": settings.watermark_enabled}).items():
        changes[f"watermark_{name}"] = value
    changes.setdefault("watermark_enabled", True)  # a rule that describes a watermark wants one
    own = settings.model_copy(update=changes)
    if own.watermark_min_px > own.watermark_max_px:
        message = (
            f"min_px is {own.watermark_min_px}, above max_px ({own.watermark_max_px}): lower the first or "
            "raise the second"
        )
        raise _error(settings, ("recipes", index, "watermark"), message)
    recipe = standard_recipe(own)
    overrides: dict[str, Any] = {
        name: type_of(values[name])
        for name, type_of in (("format", OutputFormat), ("fit", Fit), ("gravity", Gravity), ("quality", int))
        if name in values
    }
    return replace(recipe, sizes=tuple(replace(size, **overrides) for size in recipe.sizes))


def _patterns(values: Mapping[str, Any], settings: Settings, index: int) -> list[KeyPattern]:
    patterns = [KeyPattern(text) for text in values.get("match", ())]
    for place, pattern in enumerate(patterns):
        path: ValuePath = ("recipes", index, "match", place)
        if len(pattern.text) > MAX_PATTERN_CHARACTERS:
            message = f"it has {len(pattern.text)} characters; use at most {MAX_PATTERN_CHARACTERS}"
            raise _error(settings, path, message)
        if pattern.text.count("**") > MAX_ACROSS_FOLDERS:
            message = (
                f"{pattern.text!r} contains ** more than {MAX_ACROSS_FOLDERS} times, which is slow for long "
                "keys; use * where one folder is meant"
            )
            raise _error(settings, path, message)
        prefix, uploads = pattern.literal_prefix, settings.upload_keys.prefix
        if not prefix.startswith(uploads) and not uploads.startswith(prefix):
            message = (
                f"{pattern.text!r} matches no upload, because all keys of uploads begin with {uploads!r}"
            )
            raise _error(settings, path, message)
    return patterns


def _require_reachable(rule: RecipeRule, earlier_rules: Sequence[RecipeRule], settings: Settings) -> None:
    """Raise an error if one of the earlier rules matches everything that a rule does."""
    everything = KeyPattern("**")
    for earlier in earlier_rules:
        has_all_users = not earlier.users or (rule.users and rule.users <= earlier.users)
        has_all_keys = not earlier.patterns or all(
            any(before.covers(pattern) for before in earlier.patterns)
            for pattern in rule.patterns or (everything,)
        )
        if has_all_users and has_all_keys:
            message = (
                f"it never applies, because recipes[{earlier.number}] matches all of its uploads, and the "
                "first match wins; move it before that one, or remove it"
            )
            raise _error(settings, ("recipes", rule.number - 1), message)


def _error(settings: Settings, path: ValuePath, message: str) -> ConfigurationError:
    """Return the error about a value of the recipes, with its file and line if they are from a file."""
    file = settings.read_file()
    if file is not None and len(file.values.get("recipes", ())) == len(settings.recipes):
        return file.error(path, message)
    return ConfigurationError(f"WORKER_RECIPES: {dotted(path)}: {message}")


def logo_prefix(settings: Settings) -> str:
    """Return the URL below which users' logos are stored: `s3://bucket/prefix/`."""
    return f"s3://{settings.bucket}/{settings.watermark_logos_prefix}"
