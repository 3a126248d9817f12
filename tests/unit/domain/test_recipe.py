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
STANDARD = Recipe(sizes=(SIZES["medium"], SIZES["thumbnail"]), watermark=Watermark(text="Ours"))

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


def wished(standard: Recipe = STANDARD, **wishes: object) -> Recipe:
    return recipe_for(Preferences(**wishes), standard=standard, sizes=SIZES)  # type: ignore[arg-type]


@given(RECIPES)
def test_equal_recipes_have_the_same_hash(recipe: Recipe) -> None:
    again = replace(recipe, sizes=tuple(replace(size) for size in recipe.sizes))

    assert again.hash == recipe.hash
    assert len(recipe.hash) == 16


@given(RECIPES, RECIPES)
def test_different_recipes_have_different_hashes(one: Recipe, other: Recipe) -> None:
    assert (one == other) == (one.hash == other.hash)


LOGO = Logo(source="s3://logos/ours.png", e_tag="etag-1")
MARKED = replace(STANDARD, watermark=Watermark(text="Ours", logo=LOGO))


def another(value: Any) -> Any:  # noqa: ANN401 - whatever a field may hold
    """Return a value of the same kind that is not this one."""
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


def variants(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a dataclass
    """Yield each field's path, with a copy in which that field alone is another, and so for nested ones."""
    for one in fields(value):
        inner = getattr(value, one.name)
        yield one.name, replace(value, **{one.name: another(inner)})
        nested, wrap = (
            (inner[0], lambda it, rest=inner: (it, *rest[1:]))
            if isinstance(inner, tuple)
            else (
                inner,
                lambda it: it,
            )
        )
        if is_dataclass(nested):
            for path, changed in variants(nested):
                yield f"{one.name}.{path}", replace(value, **{one.name: wrap(changed)})


CHANGED = dict(variants(MARKED))


def test_every_field_of_every_part_is_changed_below() -> None:
    assert {"quality", "sizes.width", "watermark.text", "watermark.logo.e_tag"} <= CHANGED.keys()


@pytest.mark.parametrize("path", sorted(CHANGED.keys() - {"watermark.logo.content"}))
def test_the_hash_changes_with_every_field(path: str) -> None:
    assert CHANGED[path].hash != MARKED.hash


def test_the_content_of_a_logo_is_known_by_its_etag() -> None:
    assert CHANGED["watermark.logo.content"].hash == MARKED.hash


def test_the_hash_changes_with_the_order_of_the_sizes_because_the_first_is_the_main_one() -> None:
    assert replace(STANDARD, sizes=STANDARD.sizes[::-1]).hash != STANDARD.hash


def test_the_hash_changes_when_the_code_makes_something_else_of_the_same_recipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = a_recipe().hash
    monkeypatch.setattr(recipe_module, "IMAGING_REVISION", recipe_module.IMAGING_REVISION + 1)

    assert a_recipe().hash != before


def test_the_main_size_is_the_first() -> None:
    assert STANDARD.main == SIZES["medium"]


def test_another_text_leaves_the_rest_of_the_watermark() -> None:
    recipe = replace(STANDARD, watermark=Watermark(text="Ours", opacity=0.2, height_share=0.1))

    assert recipe.with_text("Mine").watermark == Watermark(text="Mine", opacity=0.2, height_share=0.1)


def test_a_text_stands_in_the_place_of_a_logo() -> None:
    assert MARKED.with_text("Mine").watermark == Watermark(text="Mine")


def test_a_text_marks_a_recipe_that_had_no_watermark() -> None:
    assert a_recipe(text=None).with_text("Mine").watermark == Watermark(text="Mine")


def test_a_user_without_wishes_gets_the_standard() -> None:
    assert wished() == STANDARD


def test_a_preferred_size_becomes_the_main_one_beside_the_other_sizes() -> None:
    assert wished(default_image_size="large").sizes == (SIZES["large"], SIZES["thumbnail"])


def test_a_preferred_size_that_is_made_anyway_is_made_once() -> None:
    assert wished(default_image_size="thumbnail").sizes == (SIZES["thumbnail"],)


@pytest.mark.parametrize("size", ["gigantic", "", "MEDIUM"])
def test_a_preferred_size_that_nobody_knows_is_ignored(size: str) -> None:
    assert wished(default_image_size=size) == STANDARD


def test_a_user_may_do_without_a_watermark() -> None:
    assert wished(watermark_enabled=False, watermark_text="Mine").watermark is None


def test_a_user_may_say_what_the_watermark_says() -> None:
    assert wished(watermark_text="Mine").watermark == Watermark(text="Mine")


def test_an_empty_text_is_no_wish() -> None:
    assert wished(watermark_text="") == STANDARD


def test_a_user_may_ask_for_the_watermark_that_the_worker_does_not_set_by_itself() -> None:
    unmarked = replace(STANDARD, watermark=None)

    assert wished(unmarked, watermark_enabled=True).watermark == Watermark(text="Processed by Image Platform")
    assert wished(unmarked, watermark_enabled=True, watermark_text="Mine").watermark == Watermark(text="Mine")


def test_size_and_text_go_together() -> None:
    recipe = wished(default_image_size="large", watermark_text="Mine")

    assert recipe == Recipe(
        sizes=(SIZES["large"], SIZES["thumbnail"]), watermark=Watermark(text="Mine"), quality=STANDARD.quality
    )
