"""The console without a mouse."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.stack import Stack
from tests.browser.watch import Visit

VISIBLE_FOCUS = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
}"""


async def test_slash_goes_to_the_search_and_enter_finds_an_image(visit: Visit) -> None:
    page = await visit("/images")
    await page.keyboard.press("/")
    await page.keyboard.type("mountains-at-dawn")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("mountains-at-dawn")


async def test_a_question_mark_opens_the_help_and_escape_closes_it(visit: Visit) -> None:
    page = await visit("/images")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.parametrize(
    ("key", "path"),
    [("i", "/images"), ("f", "/failures"), ("d", "/dead-letters"), ("q", "/queue"), ("c", "/checks")],
)
async def test_g_and_a_letter_open_a_view(visit: Visit, running: Stack, key: str, path: str) -> None:
    page = await visit("/users")
    await page.keyboard.press("g")
    await page.keyboard.press(key)
    await page.wait_for_url(running.url(path))


async def test_j_k_and_enter_open_an_entry_of_the_list(visit: Visit) -> None:
    page = await visit("/images?user=alice")
    await page.keyboard.press("j")
    first = await focused_row(page)
    await page.keyboard.press("j")
    assert await focused_row(page) != first
    await page.keyboard.press("k")
    assert await focused_row(page) == first
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(r"/images/[^/]+\?user=alice"))


async def focused_row(page: Page) -> str:
    text: str = await page.evaluate("document.activeElement.closest('[data-row]')?.innerText || ''")
    assert text, "no entry of the list has the focus"
    return text


async def test_the_first_tab_stop_skips_to_the_content(visit: Visit) -> None:
    page = await visit("/images")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize("path", ["/try", "/images", "/failures", "/preview"])
async def test_every_tab_stop_is_visible_and_in_the_window(visit: Visit, path: str) -> None:
    page = await visit(path)
    seen: set[str] = set()
    for _ in range(100):
        await page.keyboard.press("Tab")
        element: str = await page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        if element.startswith("<body"):
            break
        if element not in seen:  # the parts of a date follow each other within the same element
            assert await page.evaluate(VISIBLE_FOCUS), f"no visible focus: {element}"
        seen.add(element)
    assert len(seen) > 5
