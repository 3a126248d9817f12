"""Recipes for some uploads: which one applies, and what preferences of owners change."""

from dataclasses import replace
from typing import Any

import pytest

from worker.delivery.recipes import RecipeRule, find_rule
from worker.domain.errors import ConfigurationError
from worker.domain.profile import Preferences, Profile
from worker.domain.recipe import Animation, Fit, OutputFormat, Recipe
from worker.recipe_settings import recipe_rules, standard_recipe
from worker.settings import Settings


def rules_of(*recipes: dict[str, Any], **settings: Any) -> list[RecipeRule]:
    return recipe_rules(Settings.model_validate({"recipes": list(recipes), **settings}))


def recipe_with(rule: RecipeRule, **preferences: Any) -> Recipe:
    return rule.build(Profile(user_id="al", preferences=Preferences(**preferences))).recipe


def names(recipe: Recipe) -> list[str]:
    return [size.name for size in recipe.sizes]


def test_the_first_rule_that_matches_applies() -> None:
    rules = rules_of(
        {"match": "uploads/*/avatars/**", "sizes": ["small"]},
        {"user": ["al", "bo"], "sizes": ["large"]},
        {"match": ["uploads/cy/*", "uploads/di/*"], "user": "cy"},
    )
    for user_id, name, number in (
        ("al", "avatars/me.jpg", 1),
        ("al", "me.jpg", 2),
        ("bo", "a/b.jpg", 2),
        ("cy", "me.jpg", 3),
        ("di", "me.jpg", None),
        ("eve", "me.jpg", None),
    ):
        rule = find_rule(rules, user_id=user_id, key=f"uploads/{user_id}/{name}")
        assert (rule.number if rule else None) == number


def test_a_rule_changes_what_it_names_and_keeps_the_settings_otherwise() -> None:
    (rule,) = rules_of(
        {"sizes": ["small", "large"], "format": "webp", "fit": "cover", "animation": "keep", "quality": 60},
        record_location=True,
        watermark_text="Mine",
    )
    settings = Settings.model_validate({"record_location": True, "watermark_text": "Mine"})
    standard = standard_recipe(settings)
    assert [(size.name, size.format, size.fit, size.quality) for size in rule.standard.sizes] == [
        ("small", OutputFormat.WEBP, Fit.COVER, 60),
        ("large", OutputFormat.WEBP, Fit.COVER, 60),
    ]
    changed = replace(
        rule.standard, sizes=standard.sizes, animation=Animation.FIRST, quality=standard.quality
    )
    assert changed == standard


@pytest.mark.parametrize(
    ("watermark", "settings", "text"),
    [
        (None, {}, "Processed by Image Platform"),
        (None, {"watermark_enabled": False}, None),
        (True, {"watermark_enabled": False}, "Processed by Image Platform"),
        (False, {}, None),
        ({"text": "Ours"}, {"watermark_enabled": False}, "Ours"),
        ({"enabled": False, "text": "Ours"}, {}, None),
    ],
)
def test_a_rule_turns_the_watermark_on_or_off(
    watermark: object, settings: dict[str, Any], text: str | None
) -> None:
    (rule,) = rules_of({} if watermark is None else {"watermark": watermark}, **settings)
    assert (rule.standard.watermark.text if rule.standard.watermark else None) == text


def test_only_a_change_of_the_matched_rule_changes_the_hash_of_its_recipe() -> None:
    before = rules_of({"match": "uploads/a/**", "sizes": ["small"]}, {"sizes": ["medium"]})
    after = rules_of({"match": "uploads/a/**", "sizes": ["small"], "quality": 50}, {"sizes": ["medium"]})
    assert before[0].standard.hash != after[0].standard.hash
    assert before[1].standard.hash == after[1].standard.hash


def test_owners_choose_among_the_sizes_of_a_rule_and_all_of_them_are_made() -> None:
    (rule,) = rules_of({"sizes": ["medium", "thumbnail"]})
    assert names(recipe_with(rule, default_image_size="thumbnail")) == ["thumbnail", "medium"]
    assert names(recipe_with(rule, default_image_size="large")) == ["medium", "thumbnail"]
    profile = Profile(user_id="al", preferences=Preferences(default_image_size="large"))
    assert rule.build(profile).ignored_preferences == {
        "defaultImageSize": "there is no size 'large' to choose"
    }


def test_owners_can_change_a_watermark_and_turn_it_off_but_not_on() -> None:
    marked, unmarked = rules_of({"match": "uploads/a/**"}, {"watermark": False})
    assert recipe_with(marked, watermark_enabled=False).watermark is None
    text = recipe_with(marked, watermark_text="Mine").watermark
    assert text
    assert text.text == "Mine"
    for preferences in (
        {"watermark_enabled": True},
        {"watermark_text": "Mine"},
        {"watermark_image": "a.png"},
    ):
        assert recipe_with(unmarked, **preferences).watermark is None


def test_without_a_file_an_error_names_the_variable() -> None:
    with pytest.raises(
        ConfigurationError, match=r"WORKER_RECIPES: recipes\[1\].sizes\[1\]: there is no size 'tiny'"
    ):
        rules_of({"sizes": ["tiny"]})
