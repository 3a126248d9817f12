"""A user's profile and what it asks of the user's pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from worker.domain.recipe import Logo, Recipe, Size, Watermark
from worker.domain.step import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What the user wishes; None leaves the worker's own setting."""

    default_image_size: str | None = None
    watermark_enabled: bool | None = None
    watermark_text: str | None = None
    watermark_image: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the user's completed images add up to."""

    total_images: int = 0
    total_storage_used: int = 0
    last_upload_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The `user_profile` item of a user; `personal` is what else the profile map holds (names, avatar)."""

    user_id: str
    preferences: Preferences = field(default_factory=Preferences)
    statistics: Statistics = field(default_factory=Statistics)
    email: str | None = None
    personal: Mapping[str, Json] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    ttl: int | None = None


def recipe_for(
    profile: Profile | None, *, standard: Recipe, sizes: Mapping[str, Size], logos: str = ""
) -> Recipe:
    """
    Bend the standard recipe to the owner's preferences.

    Args:
        profile: The owner's; None keeps the standard.
        standard: What the worker makes of a picture nobody has wishes for.
        sizes: All sizes by name; a preferred size that is not among them is ignored.
        logos: Where users' logos lie, `s3://bucket/prefix/`: a user names one below it, and none elsewhere.
    """
    if profile is None:
        return standard
    wishes, recipe = profile.preferences, standard
    main = sizes.get(wishes.default_image_size or "")
    if main is not None:
        recipe = replace(recipe, sizes=(main, *(size for size in recipe.sizes[1:] if size != main)))
    if wishes.watermark_enabled is False:
        return replace(recipe, watermark=None)
    if wishes.watermark_text:
        recipe = recipe.with_text(wishes.watermark_text)
    if wishes.watermark_image and logos:
        return recipe.with_logo(Logo(logos + wishes.watermark_image))
    if wishes.watermark_text:
        return recipe
    if wishes.watermark_enabled and recipe.watermark is None:
        return replace(recipe, watermark=Watermark(text="Processed by Image Platform"))
    return recipe
