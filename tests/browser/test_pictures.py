"""
The screenshots of docs/console.md, which `make docs-pictures` takes, compared with the pages as they are.

The comparison is coarse, because fonts, times and ids differ: it finds pages that look different, and not a
changed word.
"""

import io
import os
import re
from pathlib import Path
from typing import Final, Literal

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.async_api import ViewportSize

from tests.browser.views import VIEWS, View
from tests.browser.watch import Visit

Theme = Literal["light", "dark"]

DOCS: Final = Path(__file__).parents[2] / "docs"
FOLDER: Final = DOCS / "console"
WINDOW: Final[ViewportSize] = {"width": 1120, "height": 760}
IS_UPDATE: Final = "UPDATE_PICTURES" in os.environ

PICTURED: Final = tuple(view for view in VIEWS if view.has_picture)
_COMPARED_SIZE: Final = (56, 38)
_MAX_DIFFERENCE: Final = 15.0
"""Mean difference in levels of 255 between the coarse versions of two screenshots of the same page."""

MODULES: Final = Path(__file__).parents[2] / "worker" / "console" / "views"
NO_PAGES: Final = frozenset({"home", "media", "preview-rendition", "displayable", "placeholder"})
"""Routes of files, and of the redirect to the first page."""

IN_DARK_TOO: Final = frozenset({"image", "failures"})
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
PICTURES: Final = tuple(
    (view, theme) for view in PICTURED for theme in THEMES if theme == "light" or view.name in IN_DARK_TOO
)


@pytest.mark.parametrize(
    ("view", "theme"), PICTURES, ids=[f"{view.name}-{theme}" for view, theme in PICTURES]
)
async def test_the_screenshot_of_a_view_shows_the_page_as_it_is(
    visit: Visit, view: View, theme: Theme
) -> None:
    page = await visit(view.path, color_scheme=theme, viewport=WINDOW)
    await page.evaluate("Promise.all([...document.images].map((image) => image.decode().catch(() => null)))")
    shown = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
    file = FOLDER / f"{view.name}-{theme}.webp"
    if IS_UPDATE:
        FOLDER.mkdir(exist_ok=True)
        shown.save(file, quality=72, method=6)
    assert file.exists(), "run: make docs-pictures"
    with Image.open(file) as stored:
        assert stored.size == shown.size
        difference = ImageChops.difference(coarse(stored), coarse(shown))
    assert ImageStat.Stat(difference).mean[0] < _MAX_DIFFERENCE, "run: make docs-pictures"


def coarse(image: Image.Image) -> Image.Image:
    """Return the image in grey and so small that texts are areas."""
    return image.convert("L").resize(_COMPARED_SIZE, Image.Resampling.BOX)


def test_every_view_has_a_screenshot_on_the_page_about_the_console() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in MODULES.glob("*.py"))
    routes = set(re.findall(r'add_get\(\s*"[^"]+",\s*\w+,\s*name="([^"]+)"', sources))
    assert {"images", "upload", *NO_PAGES} <= routes
    pages = {name for name in routes - NO_PAGES if not name.endswith(("-events", "-progress"))}
    assert pages == {view.route for view in VIEWS}

    text = (DOCS / "console.md").read_text(encoding="utf-8")
    shown = {view.route for view in PICTURED if f"(console/{view.name}-light.webp)" in text}
    assert pages - shown == set()


def test_every_screenshot_belongs_to_a_view() -> None:
    expected = {f"{view.name}-{theme}.webp" for view, theme in PICTURES}
    assert {file.name for file in FOLDER.iterdir()} == expected
