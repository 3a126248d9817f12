"""Determine the recipe of each upload: that of the first matching rule, with its owner's preferences."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from worker.delivery.key_pattern import KeyPattern
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRule:
    """
    The recipe of the uploads that it matches.

    Attributes:
        number: Its place among the rules, from 1.
        patterns: Patterns of keys, of which one has to match; every key matches if there are none.
        users: Ids of the owners; every owner if there are none.
        standard: Recipe without preferences.
        build: Returns the recipe for a profile, or the standard recipe for None.
        has_preferences: Whether the preferences of owners apply.
    """

    number: int
    patterns: Sequence[KeyPattern]
    users: frozenset[str]
    standard: Recipe
    build: Callable[[Profile | None], UserRecipe]
    has_preferences: bool

    def matches(self, *, user_id: str, key: str) -> bool:
        """Return whether it applies to an upload."""
        if self.users and user_id not in self.users:
            return False
        return not self.patterns or any(pattern.matches(key) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Recipes:
    """
    Determines the recipe of each upload, for the worker and the repair tools.

    Attributes:
        profiles: User profiles.
        build: Returns the recipe for a profile, or the standard recipe for None, where no rule matches.
        with_logo: Adds the content of its logo to a recipe that names one.
        rules: Recipes for some uploads; the first that matches applies.
    """

    profiles: Profiles
    build: Callable[[Profile | None], UserRecipe]
    with_logo: Callable[[Recipe], Awaitable[Recipe]]
    rules: Sequence[RecipeRule] = ()

    async def for_upload(self, *, user_id: str, key: str) -> UserRecipe:
        """
        Return the current recipe of an upload.

        Raises:
            TransientError: The profile or the logo cannot be read.
        """
        rule = find_rule(self.rules, user_id=user_id, key=key)
        if rule is not None and not rule.has_preferences:
            found = rule.build(None)
        else:
            found = (rule.build if rule else self.build)(await self.profiles.get(user_id))
        return replace(found, recipe=await self.with_logo(found.recipe))


def find_rule(rules: Sequence[RecipeRule], *, user_id: str, key: str) -> RecipeRule | None:
    """Return the first rule that applies to an upload; None if none does."""
    return next((rule for rule in rules if rule.matches(user_id=user_id, key=key)), None)


def recipe_builder(
    standard: Recipe, sizes: Mapping[str, Size], *, logo_prefix: str, is_rule: bool = False
) -> Callable[[Profile | None], UserRecipe]:
    """
    Return a function that returns the recipe for a profile; equal preferences get the identical recipe.

    Args:
        standard: Recipe without preferences.
        sizes: All sizes by name.
        logo_prefix: URL below which users' logos are stored: `s3://bucket/prefix/`.
        is_rule: Whether the standard recipe is that of a rule: users choose which of its sizes is the main
            one, and cannot turn on a watermark that it turns off.
    """

    @lru_cache(_CACHE_SIZE)
    def for_preferences(preferences: Preferences) -> Recipe:
        if is_rule and standard.watermark is None:
            preferences = replace(
                preferences, watermark_enabled=None, watermark_text=None, watermark_image=None
            )
        recipe = recipe_for(preferences, standard=standard, sizes=sizes, logo_prefix=logo_prefix)
        if is_rule:
            recipe = replace(recipe, sizes=tuple(dict.fromkeys((*recipe.sizes, *standard.sizes))))
        return recipe

    def for_profile(profile: Profile | None) -> UserRecipe:
        if profile is None:
            return UserRecipe(standard)
        usable = usable_preferences(profile.preferences, sizes=sizes, logo_prefix=logo_prefix)
        return UserRecipe(for_preferences(usable), usable.ignored)

    return for_profile
