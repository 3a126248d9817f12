"""A user's profile, and how its preferences change the recipe of the user's images."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from worker.domain.recipe import Logo, Recipe, Size, Watermark
from worker.domain.step import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """A user's preferences; None keeps the setting of the worker."""

    default_image_size: str | None = None
    watermark_enabled: bool | None = None
    watermark_text: str | None = None
    watermark_image: str | None = None


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
