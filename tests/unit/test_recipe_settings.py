"""How settings become a recipe."""

from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from pydantic import ValidationError

from worker.domain.profile import Preferences, recipe_for
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
from worker.recipe_settings import sizes, standard_recipe
from worker.settings import FONT, Settings, SizeSettings
from worker.settings import Anchor as AnchorSetting

VERSIONED = "{prefix}{userId}/{imageId}/{version}{@size}.{ext}"


def test_the_default_settings_make_a_medium_size_with_a_text() -> None:
    recipe = standard_recipe(Settings())
    assert recipe == Recipe(
        sizes=(Size("medium", 800, 600),),
        watermark=Watermark("Processed by Image Platform"),
        cache_control="no-cache",
    )


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ({}, "no-cache"),
        ({"result_key": VERSIONED}, "public, max-age=31536000, immutable"),
        ({"result_key": VERSIONED, "cache_control": "private, no-cache"}, "private, no-cache"),
        ({"cache_control": ""}, ""),
    ],
)
def test_the_header_is_sound_for_the_keys_unless_it_is_set(given: dict[str, str], header: str) -> None:
    recipe = standard_recipe(Settings.model_validate(given))
    assert recipe.cache_control == header


def test_another_header_is_another_recipe() -> None:
    another = Settings.model_validate({"cache_control": "max-age=60"})
    assert standard_recipe(another).hash != standard_recipe(Settings()).hash


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"result_key": "{prefix}{userId}/{imageId}"},
            "WORKER_RESULT_KEY is .* neither {@size} nor {size}.*; add one",
        ),
        (
            {"cache_control": "no-cache\nSet-Cookie: a"},
            "WORKER_CACHE_CONTROL is .* not a header value; set directives",
        ),
    ],
)
def test_invalid_keys_and_headers_are_rejected_at_the_start(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings.model_validate(given)


def test_sizes_of_the_settings_are_added_to_the_built_in_ones() -> None:
    settings = Settings.model_validate(
        {
            "sizes": {
                "card": {"width": 600, "height": 400, "fit": "cover", "gravity": "top", "format": "webp"},
                "thumbnail": {"width": 99, "height": 99, "target_bytes": 4000},
                "hero": {"width": 9, "height": 5, "progressive": True, "subsampling": "4:2:2"},
            },
            "default_size": "card",
            "extra_sizes": ["thumbnail", "hero"],
            "encoder_effort": "high",
        }
    )
    recipe = standard_recipe(settings)
    assert recipe.effort is Effort.HIGH
    assert recipe.sizes == (
        Size("card", 600, 400, fit=Fit.COVER, gravity=Gravity.TOP, format=OutputFormat.WEBP),
        Size("thumbnail", 99, 99, target_bytes=4000),
        Size("hero", 9, 5, progressive=True, subsampling=Subsampling.HALF_ACROSS),
    )
    assert sizes(settings).keys() == {"thumbnail", "small", "medium", "large", "card", "hero"}


@pytest.mark.parametrize(
    "invalid",
    [
        {"default_size": "gigantic"},
        {"extra_sizes": ["gigantic"]},
        {"sizes": {"card": {"width": 600}}},
        {"sizes": {"card": {"width": 0, "height": 4}}},
        {"sizes": {"card": {"width": 6, "height": 4, "fit": "squeeze"}}},
        {"sizes": {"card": {"width": 6, "height": 4, "background": "red"}}},
        {"watermark_colour": "white"},
        {"watermark_min_px": 50, "watermark_max_px": 40},
        {"font_files": ["/nonexistent/font.ttf"]},
    ],
)
def test_invalid_settings_are_rejected_at_start(invalid: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(invalid)


def test_the_settings_accept_every_value_that_the_domain_knows() -> None:
    hints = get_type_hints(SizeSettings)
    assert set(get_args(AnchorSetting)) == set(Anchor)
    assert set(get_args(hints["fit"])) == set(Fit)
    assert {value for one in get_args(hints["gravity"]) for value in get_args(one)} == set(Gravity)
    assert set(get_args(hints["subsampling"])) == set(Subsampling)
    assert set(get_args(hints["format"])) == set(OutputFormat)
    assert set(get_args(Settings.model_fields["animation"].annotation)) == set(Animation)
    assert set(get_args(Settings.model_fields["encoder_effort"].annotation)) == set(Effort)
    assert set(hints) | {"name"} == set(Size.__slots__)


def test_the_watermark_settings_are_in_the_recipe() -> None:
    settings = Settings.model_validate(
        {
            "watermark_image": "s3://brand/logo.png",
            "watermark_position": "center",
            "watermark_outline": "none",
            "watermark_tiled": True,
            "watermark_rotation_deg": 30,
        }
    )
    mark = standard_recipe(settings).watermark
    assert mark == Watermark(
        "Processed by Image Platform",
        logo=Logo("s3://brand/logo.png"),
        position=Anchor.CENTER,
        outline=None,
        tiled=True,
        rotation_deg=30,
    )


def test_other_fonts_change_the_hash_of_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "font.ttf"
    file.write_bytes(FONT.read_bytes())
    with_font = standard_recipe(Settings.model_validate({"font_files": [file]}))
    assert with_font.hash != standard_recipe(Settings()).hash


def recipe_with(**preferences: object) -> Recipe:
    return recipe_for(
        Preferences(**preferences),  # type: ignore[arg-type]  # of any preference
        standard=standard_recipe(Settings()),
        sizes={},
        logo_prefix="s3://bucket/logos/",
    )


def test_a_user_can_choose_a_logo_below_the_prefix_and_a_text_as_its_fallback() -> None:
    assert recipe_with(watermark_image="acme.png", watermark_text="Acme").watermark == Watermark(
        "Acme", logo=Logo("s3://bucket/logos/acme.png")
    )
    assert recipe_with(watermark_image="acme.png", watermark_enabled=False).watermark is None


def test_a_user_who_chooses_a_text_gets_no_logo() -> None:
    standard = standard_recipe(Settings.model_validate({"watermark_image": "logo.png"}))
    preferences = Preferences(watermark_text="Mine")
    assert recipe_for(preferences, standard=standard, sizes={}).watermark == Watermark("Mine")
