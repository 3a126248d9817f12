"""A user's profile, and how its preferences change the recipe of the user's images."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from worker.domain.keys import MAX_KEY_BYTES
from worker.domain.recipe import Logo, Recipe, Size, Watermark
from worker.domain.step import Json

MAX_TEXT_CHARACTERS: Final = 200
"""Maximum length of a watermark text and of the name of a size."""

_UNUSABLE_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories of control characters, surrogates and separators of lines and paragraphs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """
    A user's preferences; None keeps the setting of the worker.

    Attributes:
        default_image_size: Name of the size of the main result.
        watermark_enabled: Whether results are watermarked.
        watermark_text: Text of the watermark.
        watermark_image: Key of the logo, below the prefix of the logos.
        ignored: Name of each stored preference that cannot be used, and why.
    """

    default_image_size: str | None = None
    watermark_enabled: bool | None = None
    watermark_text: str | None = None
    watermark_image: str | None = None
    ignored: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Totals of a user's completed images."""

    total_images: int = 0
    total_storage_used: int = 0
    last_upload_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The `user_profile` item of a user; `personal` holds the rest of its profile map (names, avatar)."""

    user_id: str
    preferences: Preferences = field(default_factory=Preferences)
    statistics: Statistics = field(default_factory=Statistics)
    email: str | None = None
    personal: Mapping[str, Json] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    ttl: int | None = None


def preferences_from(stored: Mapping[str, Json]) -> Preferences:
    """Return the preferences in a profile; those that are too long or of another type are ignored."""
    ignored: dict[str, str] = {}

    def text(name: str, *, max_characters: int) -> str | None:
        value = stored.get(name)
        reason = None if value is None else _why_unusable(value, max_characters)
        if reason is None and isinstance(value, str):
            return value
        if reason is not None:
            ignored[name] = reason
        return None

    enabled = stored.get("watermarkEnabled")
    if not isinstance(enabled, bool | None):
        ignored["watermarkEnabled"] = "it is neither true nor false"
        enabled = None
    return Preferences(
        default_image_size=text("defaultImageSize", max_characters=MAX_TEXT_CHARACTERS),
        watermark_enabled=enabled,
        watermark_text=text("watermarkText", max_characters=MAX_TEXT_CHARACTERS),
        watermark_image=text("watermarkImage", max_characters=MAX_KEY_BYTES),
        ignored=ignored,
    )


def _why_unusable(value: Json, max_characters: int) -> str | None:
    if not isinstance(value, str):
        return "it is not text"
    if len(value) > max_characters:
        return f"it has {len(value):,} characters, above the limit of {max_characters:,}"
    if any(unicodedata.category(character) in _UNUSABLE_CATEGORIES for character in value):
        return "it contains a control character or a line break"
    return None


def usable_preferences(
    preferences: Preferences, *, sizes: Mapping[str, Size], logo_prefix: str
) -> Preferences:
    """
    Return the preferences without a size that does not exist and a logo whose key S3 would reject.

    Args:
        preferences: Preferences of a user.
        sizes: All sizes by name.
        logo_prefix: URL below which users' logos are stored: `s3://bucket/prefix/`.
    """
    size, logo = preferences.default_image_size, preferences.watermark_image
    ignored = dict(preferences.ignored)
    if size and size not in sizes:
        ignored["defaultImageSize"], size = f"there is no size {size!r} to choose", None
    key_bytes = len((logo_prefix.removeprefix("s3://").partition("/")[2] + (logo or "")).encode())
    if logo and key_bytes > MAX_KEY_BYTES:
        ignored["watermarkImage"] = f"its key has {key_bytes:,} bytes, above the limit of {MAX_KEY_BYTES:,}"
        logo = None
    return replace(preferences, default_image_size=size, watermark_image=logo, ignored=ignored)


def recipe_for(
    preferences: Preferences, *, standard: Recipe, sizes: Mapping[str, Size], logo_prefix: str = ""
) -> Recipe:
    """
    Return the standard recipe, changed by a user's preferences.

    Args:
        preferences: Preferences of the user.
        standard: Recipe without preferences.
        sizes: All sizes by name; a preferred size that is not among them is ignored.
        logo_prefix: URL below which users' logos are stored, `s3://bucket/prefix/`; a user cannot name a logo
            elsewhere. Empty if users cannot have logos.
    """
    recipe = standard
    main = sizes.get(preferences.default_image_size or "")
    if main is not None:
        recipe = replace(recipe, sizes=(main, *(size for size in recipe.sizes[1:] if size != main)))
    if preferences.watermark_enabled is False:
        return replace(recipe, watermark=None)
    if preferences.watermark_text:
        recipe = recipe.with_text(preferences.watermark_text)
    if preferences.watermark_image and logo_prefix:
        return recipe.with_logo(Logo(logo_prefix + preferences.watermark_image))
    if preferences.watermark_text:
        return recipe
    if preferences.watermark_enabled and recipe.watermark is None:
        return replace(recipe, watermark=Watermark(text="Processed by Image Platform"))
    return recipe
