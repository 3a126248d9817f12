import json

import pytest

from worker.domain.focus import Focus
from worker.domain.recipe import Effort, Gravity, Limits, Recipe, Size, Subsampling, Watermark
from worker.ipc.messages import (
    Setup,
    focus_from_header,
    image_header,
    max_rendition_bytes,
    recipe_from_header,
    setup_from_header,
    setup_header,
)

MEDIUM = Size("medium", 800, 600)


def test_a_setup_is_parsed_from_its_header() -> None:
    setup = Setup(Limits(max_pixels=5), 512, ("font.ttf", "other.ttf"), 90)
    assert setup_from_header(setup_header(setup)) == setup


@pytest.mark.parametrize("mark", [None, Watermark("hello", opacity=0.3)])
def test_a_recipe_is_parsed_from_its_header(mark: Watermark | None) -> None:
    small = Size("small", 400, 400, gravity=Gravity.SMART, subsampling=Subsampling.FULL, progressive=True)
    recipe = Recipe(sizes=(MEDIUM, small), watermark=mark, quality=70, effort=Effort.HIGH)
    parsed = recipe_from_header(image_header(recipe), {})
    assert parsed == recipe
    assert (parsed.sizes[1].gravity, parsed.effort) == (Gravity.SMART, Effort.HIGH)
    assert isinstance(parsed.sizes[1].gravity, Gravity)


@pytest.mark.parametrize("focus", [None, Focus(0, 0), Focus(0.4, 0.2)])
def test_a_focal_point_is_parsed_from_its_header(focus: Focus | None) -> None:
    recipe = Recipe(sizes=(MEDIUM,), watermark=None)
    header = json.loads(json.dumps(image_header(recipe, focus)))
    assert focus_from_header(header) == focus


def test_the_size_limit_of_a_rendition_exceeds_its_uncompressed_pixels() -> None:
    assert max_rendition_bytes(MEDIUM) > 4 * 800 * 600
