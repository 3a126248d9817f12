"""What the settings say is made of pictures: sizes, watermark, and how a profile bends them."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from worker.delivery.ports import Profiles
from worker.domain.profile import Preferences, Profile, recipe_for
from worker.domain.recipe import Anchor, Animation, Fit, Logo, OutputFormat, Recipe, Size, Watermark
from worker.settings import SIZES, Settings, SizeSettings

_MOST_WISHES: Final = 1024
"""Of different users, whose recipes are kept: to make one, and its hash, takes a quarter of a millisecond."""


@dataclass(frozen=True, slots=True)
class Recipes:
    """
    What is made of each user's pictures: for the worker and the repair tools alike.

    Attributes:
        profiles: Where the users' wishes come from.
        bend: Bends the standard recipe to a profile; the standard one without.
        with_logo: Puts the content of its logo into a recipe that names one.
    """

    profiles: Profiles
    bend: Callable[[Profile | None], Recipe]
    with_logo: Callable[[Recipe], Awaitable[Recipe]]

    async def for_user(self, user_id: str) -> Recipe:
        """
        Return the recipe of a user's pictures as it is now.

        Raises:
            TransientError: The profile or the logo cannot be read.
        """
        return await self.with_logo(self.bend(await self.profiles.get(user_id)))


def sizes(settings: Settings) -> dict[str, Size]:
    """Return every size that a picture can be made in, by name."""
    boxes = {name: SizeSettings(width=width, height=height) for name, (width, height) in SIZES.items()}
    return {
        name: Size(
            name=name,
            width=one["width"],
            height=one["height"],
            fit=Fit(one.get("fit", Fit.INSIDE)),
            gravity=Anchor(one.get("gravity", Anchor.CENTER)),
            background=one.get("background", "#ffffff"),
            enlarge=one.get("enlarge", False),
            format=OutputFormat(one.get("format", OutputFormat.SOURCE)),
            quality=one.get("quality"),
            target_bytes=one.get("target_bytes"),
        )
        for name, one in (boxes | settings.sizes).items()
    }


def standard_recipe(settings: Settings) -> Recipe:
    """Return what the worker makes of a picture whose owner has no wishes."""
    names, by_name = [settings.default_size, *settings.extra_sizes], sizes(settings)
    return Recipe(
        sizes=tuple(by_name[name] for name in dict.fromkeys(names)),
        watermark=standard_watermark(settings) if settings.watermark_enabled else None,
        quality=settings.quality,
        animation=Animation(settings.animation),
        keep_credits=settings.keep_credits,
        record_location=settings.record_location,
    )


def standard_watermark(settings: Settings) -> Watermark:
    """Return the mark of pictures whose owner has no wishes."""
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


def bending(settings: Settings) -> Callable[[Profile | None], Recipe]:
    """Return what bends the standard recipe to a profile; the same wishes get the very same recipe."""
    standard, by_name = standard_recipe(settings), sizes(settings)
    of_users = f"s3://{settings.bucket}/{settings.watermark_logos_prefix}"

    @lru_cache(_MOST_WISHES)
    def bent(wishes: Preferences) -> Recipe:
        profile = Profile(user_id="", preferences=wishes)  # of whom they are makes no difference
        return recipe_for(profile, standard=standard, sizes=by_name, logos=of_users)

    return lambda profile: bent(profile.preferences) if profile else standard
