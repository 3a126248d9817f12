"""Build the sizes, the watermark and the standard recipe from the settings."""

import hashlib
from collections.abc import Callable
from typing import Final

from worker.delivery.recipes import UserRecipe, recipe_builder
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
from worker.domain.result_keys import VERSION
from worker.settings import SIZES, Settings, SizeSettings

REVALIDATED: Final = "no-cache"
"""A cache may keep the response, and asks the server before each use whether it has changed."""

IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""A cache may use the response for a year without asking."""


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
    return IMMUTABLE if VERSION in settings.result_key else REVALIDATED


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


def logo_prefix(settings: Settings) -> str:
    """Return the URL below which users' logos are stored: `s3://bucket/prefix/`."""
    return f"s3://{settings.bucket}/{settings.watermark_logos_prefix}"
