"""What holds for every page: accessible, sound at every width, complete without JavaScript, and quiet."""

import re
from importlib.resources import files
from typing import Any, Final, Literal

import pytest

from tests.browser.layout import layout_problems
from tests.browser.views import VIEWS, View
from tests.browser.watch import OpenPage

AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES: Final[dict[Literal["light", "dark"], dict[str, Any]]] = {
    "light": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
    "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}
"""Rules that axe-core checks in each theme: in the second one, those that depend on colours."""

WIDTHS_PX: Final = (320, 768, 1440)

each_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)


def texts(text: str) -> str:
    """Return a text in small letters, with single spaces."""
    return re.sub(r"\s+", " ", text).casefold()


@each_view
async def test_a_view_has_no_accessibility_violations_in_either_theme(
    open_page: OpenPage, view: View
) -> None:
    page = await open_page(view.path)
    await page.evaluate(AXE)
    for theme, rules in RULES.items():
        await page.emulate_media(color_scheme=theme)
        result: dict[str, Any] = await page.evaluate("(rules) => axe.run({runOnly: rules})", rules)
        found = [
            f"{theme}: {violation['id']}: {node['target']} {node['html'][:200]} {node['failureSummary']}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]
        assert found == []


@each_view
async def test_nothing_of_a_view_overlaps_is_cut_off_or_needs_a_horizontal_scroll(
    open_page: OpenPage, view: View
) -> None:
    page = await open_page(view.path)
    found = {width_px: await layout_problems(page, width_px=width_px) for width_px in WIDTHS_PX}
    assert found == {width_px: [] for width_px in WIDTHS_PX}


@each_view
@pytest.mark.parametrize("has_javascript", [True, False], ids=["with-javascript", "without-javascript"])
async def test_a_view_has_its_content(open_page: OpenPage, view: View, *, has_javascript: bool) -> None:
    page = await open_page(view.path, java_script_enabled=has_javascript)
    shown = texts(await page.locator("main").inner_text())
    assert [text for text in view.content if texts(text) not in shown] == []
    assert await page.locator("h1").count() == 1
