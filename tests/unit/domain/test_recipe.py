from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import a_recipe
from worker.domain import recipe as recipe_module
from worker.domain.profile import Preferences, recipe_for
from worker.domain.recipe import Logo, Recipe, Size, Watermark

SIZES = {
    name: Size(name=name, width=side, height=side)
    for name, side in {"thumbnail": 150, "small": 400, "medium": 800, "large": 1600}.items()
}
STANDARD = Recipe(sizes=(SIZES["medium"], SIZES["thumbnail"]), watermark=Watermark(text="Standard"))

NUMBERS = st.integers(1, 5000)
RECIPES = st.builds(
    Recipe,
    sizes=st.lists(st.builds(Size, name=st.text(max_size=5), width=NUMBERS, height=NUMBERS), min_size=1).map(
        tuple
    ),
    watermark=st.none()
    | st.builds(Watermark, text=st.text(), opacity=st.floats(0, 1), height_share=st.floats(0.01, 1)),
    quality=st.integers(1, 100),
)


def with_preferences(standard: Recipe = STANDARD, **preferences: Any) -> Recipe:
    return recipe_for(Preferences(**preferences), standard=standard, sizes=SIZES)


@given(RECIPES)
def test_equal_recipes_have_the_same_hash(recipe: Recipe) -> None:
    copy = replace(recipe, sizes=tuple(replace(size) for size in recipe.sizes))

    assert copy.hash == recipe.hash
    assert len(recipe.hash) == 16


@given(RECIPES, RECIPES)
def test_different_recipes_have_different_hashes(left: Recipe, right: Recipe) -> None:
    assert (left == right) == (left.hash == right.hash)


LOGO = Logo(source="s3://logos/standard.png", e_tag="etag-1")
WATERMARKED = replace(STANDARD, watermark=Watermark(text="Standard", logo=LOGO))


def changed(value: Any) -> Any:
    """Return a different value of the same type."""
    match value:
        case None:
            return 1
        case Enum():
            return next(member for member in type(value) if member is not value)
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case bytes():
            return value + b"x"
        case tuple():
            return value[:1]
    return None


def variants(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path of each field, nested ones included, with a copy in which only that field differs."""
    for field in fields(value):
        inner = getattr(value, field.name)
        yield field.name, replace(value, **{field.name: changed(inner)})
        nested, wrap = (
            (inner[0], lambda first, rest=inner: (first, *rest[1:]))
            if isinstance(inner, tuple)
            else (
                inner,
                lambda whole: whole,
            )
        )
        if is_dataclass(nested):
            for path, variant in variants(nested):
                yield f"{field.name}.{path}", replace(value, **{field.name: wrap(variant)})


VARIANTS = dict(variants(WATERMARKED))


def test_the_variants_include_nested_fields() -> None:
    assert {"quality", "sizes.width", "watermark.text", "watermark.logo.e_tag"} <= VARIANTS.keys()


@pytest.mark.parametrize("path", sorted(VARIANTS.keys() - {"watermark.logo.content"}))
def test_the_hash_changes_with_every_field(path: str) -> None:
    assert VARIANTS[path].hash != WATERMARKED.hash


def test_the_hash_does_not_include_the_content_of_a_logo() -> None:
    assert VARIANTS["watermark.logo.content"].hash == WATERMARKED.hash


def test_the_hash_changes_with_the_order_of_the_sizes() -> None:
    assert replace(STANDARD, sizes=STANDARD.sizes[::-1]).hash != STANDARD.hash


def test_the_hash_changes_with_the_imaging_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = a_recipe().hash
    monkeypatch.setattr(recipe_module, "IMAGING_REVISION", recipe_module.IMAGING_REVISION + 1)

    assert a_recipe().hash != before


def test_the_main_size_is_the_first() -> None:
    assert STANDARD.main == SIZES["medium"]


def test_another_text_keeps_the_other_fields_of_the_watermark() -> None:
    recipe = replace(STANDARD, watermark=Watermark(text="Standard", opacity=0.2, height_share=0.1))

    assert recipe.with_text("Mine").watermark == Watermark(text="Mine", opacity=0.2, height_share=0.1)


def test_a_text_replaces_a_logo() -> None:
    assert WATERMARKED.with_text("Mine").watermark == Watermark(text="Mine")


def test_a_text_adds_a_watermark_to_a_recipe_without_one() -> None:
    assert a_recipe(text=None).with_text("Mine").watermark == Watermark(text="Mine")


def test_a_user_without_preferences_gets_the_standard_recipe() -> None:
    assert with_preferences() == STANDARD


def test_a_preferred_size_becomes_the_main_one_and_the_extra_sizes_stay() -> None:
    assert with_preferences(default_image_size="large").sizes == (SIZES["large"], SIZES["thumbnail"])


def test_a_preferred_size_that_is_an_extra_size_is_made_once() -> None:
    assert with_preferences(default_image_size="thumbnail").sizes == (SIZES["thumbnail"],)


@pytest.mark.parametrize("size", ["gigantic", "", "MEDIUM"])
def test_an_unknown_preferred_size_is_ignored(size: str) -> None:
    assert with_preferences(default_image_size=size) == STANDARD


def test_a_user_can_disable_the_watermark() -> None:
    assert with_preferences(watermark_enabled=False, watermark_text="Mine").watermark is None


def test_a_user_can_choose_the_text_of_the_watermark() -> None:
    assert with_preferences(watermark_text="Mine").watermark == Watermark(text="Mine")


def test_an_empty_text_is_not_a_preference() -> None:
    assert with_preferences(watermark_text="") == STANDARD


def test_a_user_can_enable_the_watermark_when_the_worker_does_not() -> None:
    without_watermark = replace(STANDARD, watermark=None)

    assert with_preferences(without_watermark, watermark_enabled=True).watermark == Watermark(
        text="Processed by Image Platform"
    )
    assert with_preferences(
        without_watermark, watermark_enabled=True, watermark_text="Mine"
    ).watermark == Watermark(text="Mine")


def test_size_and_text_can_be_combined() -> None:
    recipe = with_preferences(default_image_size="large", watermark_text="Mine")

    assert recipe == Recipe(
        sizes=(SIZES["large"], SIZES["thumbnail"]), watermark=Watermark(text="Mine"), quality=STANDARD.quality
    )
