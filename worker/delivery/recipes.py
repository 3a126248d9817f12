"""Determine the recipe of each user's images: the standard recipe, changed by the user's preferences."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from worker.delivery.ports import Profiles
from worker.domain.profile import Preferences, Profile, recipe_for, usable_preferences
from worker.domain.recipe import Recipe, Size

_CACHE_SIZE: Final = 1024
"""Number of different preferences whose recipes are kept: building and hashing one takes 0.25 ms."""


@dataclass(frozen=True, slots=True)
class UserRecipe:
    """
    The recipe of a user's images.

    Attributes:
        recipe: The recipe.
        ignored_preferences: Name of each preference that cannot be used, and why.
    """

    recipe: Recipe
    ignored_preferences: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipes:
    """
    Determines the recipe of each user's images, for the worker and the repair tools.

    Attributes:
        profiles: User profiles.
        build: Returns the recipe for a profile, or the standard recipe for None.
        with_logo: Adds the content of its logo to a recipe that names one.
    """

    profiles: Profiles
    build: Callable[[Profile | None], UserRecipe]
    with_logo: Callable[[Recipe], Awaitable[Recipe]]

    async def for_user(self, user_id: str) -> UserRecipe:
        """
        Return the current recipe of a user's images.

        Raises:
            TransientError: The profile or the logo cannot be read.
        """
        found = self.build(await self.profiles.get(user_id))
        return replace(found, recipe=await self.with_logo(found.recipe))


def recipe_builder(
    standard: Recipe, sizes: Mapping[str, Size], *, logo_prefix: str
) -> Callable[[Profile | None], UserRecipe]:
    """
    Return a function that returns the recipe for a profile; equal preferences get the identical recipe.

    Args:
        standard: Recipe without preferences.
        sizes: All sizes by name.
        logo_prefix: URL below which users' logos are stored: `s3://bucket/prefix/`.
    """

    @lru_cache(_CACHE_SIZE)
    def for_preferences(preferences: Preferences) -> Recipe:
        return recipe_for(preferences, standard=standard, sizes=sizes, logo_prefix=logo_prefix)

    def for_profile(profile: Profile | None) -> UserRecipe:
        if profile is None:
            return UserRecipe(standard)
        usable = usable_preferences(profile.preferences, sizes=sizes, logo_prefix=logo_prefix)
        return UserRecipe(for_preferences(usable), usable.ignored)

    return for_profile
