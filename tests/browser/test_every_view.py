"""What holds for every page: accessible, sound at every width, complete without JavaScript, and quiet."""

import re
from importlib.resources import files
from typing import Any, Final, Literal

import pytest
from playwright.async_api import Page

from tests.browser.conftest import DESKTOP
from tests.browser.layout import layout_problems
from tests.browser.views import VIEWS, View
from tests.browser.watch import Visit

AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RULES: Final[dict[Literal["light", "dark"], dict[str, Any]]] = {
    "light": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
    "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}
"""Rules that axe-core checks in each theme: in the second one, those that depend on colours."""

_RUN: Final = """async (rules) => {
  const {violations} = await axe.run({runOnly: rules, resultTypes: ["violations"]});
  return {violations};
}"""

WIDTHS_PX: Final = (320, 768, 1440)

each_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)


def texts(text: str) -> str:
    """Return a text in small letters, with single spaces."""
    return re.sub(r"\s+", " ", text).casefold()


@each_view
async def test_a_view_has_its_content_a_sound_layout_and_no_accessibility_violations(
    visit: Visit, view: View
) -> None:
    page = await visit(view.path)
    await assert_has_its_content(page, view)
    found = {width_px: await layout_problems(page, width_px=width_px) for width_px in WIDTHS_PX}
    assert found == {width_px: [] for width_px in WIDTHS_PX}
    await page.set_viewport_size(DESKTOP)
    assert await accessibility_violations(page) == []


@each_view
async def test_a_view_has_its_content_without_javascript(visit: Visit, view: View) -> None:
    await assert_has_its_content(await visit(view.path, java_script_enabled=False), view)


async def assert_has_its_content(page: Page, view: View) -> None:
    shown = texts(await page.locator("main").inner_text())
    assert [text for text in view.content if texts(text) not in shown] == []
    assert await page.locator("h1").count() == 1


async def accessibility_violations(page: Page) -> list[str]:
    """Return what axe-core finds in either theme, one sentence for each element."""
    await page.evaluate(AXE)
    found = []
    for theme, rules in RULES.items():
        await page.emulate_media(color_scheme=theme)
        result: dict[str, Any] = await page.evaluate(_RUN, rules)
        found += [
            f"{theme}: {violation['id']}: {node['target']} {node['html'][:200]} {node['failureSummary']}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]
    return found
